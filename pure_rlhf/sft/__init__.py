"""SFT warm-up: a language model learns a form of answers before RL, on OpenRLHF's SFT trainer.

    settings -> rows (token ids and loss masks, prompts as RL renders them) -> trainer (OpenRLHF's, with metrics,
             held-out loss and resume) -> report (curves, and what the model says before and after)

`cli/train_sft.py` is the command line, `examples/scripts/train_sft.sh` what users type; docs/sft.md says what is what.
"""
