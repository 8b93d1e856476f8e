"""Runs programs that nobody trusts on inputs, and says whether what came out is right; no root, no Docker, no Ray.

    response -> extraction (the last python block)         label -> problems, data_set_forms (tests, of one schema)
             -> runner (one deadline for a batch) -> worker (one warm interpreter) | -> inside -> lockdown, bpf
             -> judge, compare (outside: the expected output is never in the process that runs the program)

`hostile` is the suite of attacks; `python -m code_sandbox.check` runs it here and prints what is stopped and how fast.
Standard library only; this package imports none of the others.
"""
