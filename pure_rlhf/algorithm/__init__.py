"""Pure functions on tensors: torch and the standard library only, no Ray, no configuration, no I/O."""
