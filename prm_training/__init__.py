"""Training of process reward models on step labels, in two stages: the score head alone, then everything.

Reading order: `data` (rows to token ids), `train_prm` (the command), `evaluation` (held-out numbers),
`model_card` (what is written beside the weights).
"""
