"""PURE (arXiv 2504.15275): process-reward reinforcement learning for language models, on top of OpenRLHF.

Reading order is the path of the data:

    config, validation, data          what the user asked for, checked before anything heavy starts
    workers.launcher                  placement groups, actor groups, trainer
    0 workers.rollout_actor, workers.samples_generator     prompt -> n answers (vLLM)
      algorithm.curriculum            which prompts are trained on, before the PRM is asked
    1 algorithm.step_segmentation     answer tokens -> steps
    2 algorithm.prm_scoring, workers.prm_worker            steps -> step rewards in [-1, 1]
      algorithm.prm_conventions, prm_models, prm_scorer    the same for PRMs of other families, and without Ray
    2b grading                        final answer -> {0, 1} and the rule that accepted it, in processes of its own
    3 algorithm.credit_assignment     step rewards -> min-form credit (the paper's contribution)
    4 algorithm.advantages            group baseline, KL, returns, separator mask, normalisation
      workers.experience_maker        runs 1 to 4 on the driver
    5 workers.policy_worker           PPO update (OpenRLHF's) and
    6 workers.weight_sync, workers.engine_worker           the updated weights into the engines
      workers.trainer                 the loop (OpenRLHF's), evaluation, metrics.jsonl, rollouts
    7 algorithm.metrics, algorithm.rollout_metrics, algorithm.alarms, metric_sinks    what is watched, and where it goes
      run_directory, report           what a run leaves, and the pages made of it
"""

__version__ = "0.1.0"
