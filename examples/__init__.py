"""Worked examples that run from nothing: `tiny_math` is the small world of the embedded default."""
