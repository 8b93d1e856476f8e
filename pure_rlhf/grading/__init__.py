"""From a response to a verdict: the one definition of a correct answer, for RL and for evaluation.

    response -> final_answer (extraction) -> notation (one form) -> readings (which kind; expressions: what it is worth)
             -> equality (which rule, if any, says yes) -> pool (in processes with time limits)

No Ray, no OpenRLHF, no torch. Everything here reads what a model wrote: a policy under reinforcement learning finds
what the grader pays for. docs/verifier.md has the rules, and what was tried against them.
"""

MAX_TIMEOUT_SECONDS = 3600.0
"""The longest time limit of an answer or a batch; here, so that the settings need not load the verifier."""
