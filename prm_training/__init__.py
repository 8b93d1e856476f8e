"""Training of process reward models on step labels, in two stages: the score head alone, then everything.

Reading order: `sources` (public data to one record), `selection` (which labels are trained on), `data` (rows to token
ids), `settings` and `prepare` (the command line, and what is found wrong), `train_prm` (the command), `trainer`,
`features` (stage 1 runs the frozen backbone once), `evaluation` (held-out numbers), `model_card` (what is written
beside the weights).
"""
