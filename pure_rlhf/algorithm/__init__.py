"""The mathematics of PURE on tensors: torch and the standard library only, no Ray, no I/O.

    settings             every setting of this package, with bounds and the published conventions
    step_segmentation    response tokens -> steps
    implicit_reward      log-ratios of two language models -> rewards of tokens, steps or responses (PRIME)
    prm_losses           what a PRM that learns during RL is trained with
    credit_assignment    step rewards -> credit per step (the paper's contribution)
    baselines            what is subtracted, and who is compared with whom
    advantages           credit, verifiable reward and KL -> the advantage of every token
    curriculum           which groups of responses are trained on

Axes and the index convention are in `pure_rlhf/types.py`.
"""
