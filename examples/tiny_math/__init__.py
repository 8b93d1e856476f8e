"""The small world: problems, an exact checker of every step, a tokenizer, a base policy and PRM data.

Reading order: `problems` (what is asked), `solutions` (how it is answered, well and badly), `checker` (the
truth of every step), `tokenizer`, `base_policy` (a Qwen2 model trained from nothing), `sampling`, `prm_data` (labelled
answers), `world_files` (what lies in a world's folder), `make_world` (the command that builds it all).
"""
