"""Worked examples that run on any machine: `small_world` has problems, models and their exact truth."""
