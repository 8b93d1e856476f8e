"""The small world to come: harder than `tiny_math`, with room to learn and a PRM of known quality.

The scripts use `tiny_math` until this one's models are trained and come with the repository, in `world/`; then it takes
its place. It can be made now: `python -m examples.small_world.make_world --output_dir DIR`, an hour on two cores, then
`train_prm.sh`. Reading order: `problems` (what is asked), `solutions` (how it is answered, well and badly), `checker`
(the truth of every step), `pretraining` with `base_policy` (a Qwen2 model trained from nothing) and `prm_backbone`
(that model, taught to judge), `prm_data` (labelled answers), `make_world` (the command that makes it all),
`train_prm.sh` (the PRM in its two stages, and PRMs with a blind spot), `shipped_world` (what of it comes with the
repository), `world.sh` (which world a script uses).
"""
