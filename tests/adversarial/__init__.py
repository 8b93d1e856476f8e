"""Attacks on the verifier: constant answers, changed answers, a search for holes, and the training side.

`pytest tests/adversarial` runs the short form; `python -m tests.adversarial` the long one, and prints the table of
docs/verifier.md. What is attacked is what runs: `pure_rlhf.grading`.
"""
