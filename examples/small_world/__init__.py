"""The small world: problems, an exact checker of every step, a policy and PRMs of known quality, for a CPU.

It comes with the repository, in `world/`; `python -m examples.small_world.make_world --output_dir DIR` and
`train_prm.sh` make it from nothing, in an hour on two cores. Reading order: `problems` (what is asked), `solutions`
(how it is answered, well and badly), `checker` (the truth of every step), `tokenizer`, `pretraining` with `base_policy`
(a Qwen2 model trained from nothing) and `prm_backbone` (that model, taught to judge), `sampling`, `prm_data` (labelled
answers), `world_files` (what lies in a world's folder), `make_world` (the command that makes it all), `train_prm.sh`
(the PRM in its two stages, and PRMs with a blind spot), `shipped_world` (what of it comes with the repository),
`world.sh` (which world a script uses); `histories` (what a run was in truth), `compare` (runs side by side), `claim`
(the paper's claim: events and tests).
"""
