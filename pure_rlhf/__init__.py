"""PURE (arXiv 2504.15275): process-reward reinforcement learning for language models, on top of OpenRLHF.

Reading order is the path of the data:

    config, validation, data    what the user asked for, checked before anything heavy starts (bounds, placement,
                                model_folder, adapters, user_function: where a setting may lie, what fits this host,
                                is there such a model, can it have such an adapter, is there such a function)
    fit                         does it fit this machine, estimated from the settings and the models' shapes
    ray_runtime, scratch        Ray, and the GPUs that it gives; the temporary folder of a run
    workers.launcher            placement groups, actor groups, trainer
    0 workers.rollout_actor, workers.samples_generator    prompt -> n responses (vLLM)
      algorithm.curriculum      which prompts are trained on, before the PRM is asked
    1 algorithm.step_segmentation                         response tokens -> steps
    2 prm, workers.prm_reader, workers.prm_worker         steps -> step rewards in [-1, 1]
      algorithm.implicit_reward                           or tokens -> log-ratios of two language models (PRIME)
      workers.process_rewards   either of the two, on the driver
      grading                   final answer -> {0, 1} and the rule that accepted it, in processes of its own;
                                program -> {0, 1} or the share of tests that it passes (code_sandbox)
    3 algorithm.credit_assignment                         step rewards -> min-form credit (the paper's contribution)
    4 algorithm.baselines, algorithm.advantages           group baseline, KL, returns, separator mask, normalisation
      workers.experience_maker  runs 1 to 4 on the driver (workers.rollout_parts: 1 and 2 while 0 goes on)
    5 workers.policy_worker     PPO update (OpenRLHF's); workers.lora: of an adapter on a frozen base
      workers.strategy, workers.lean_imports                DeepSpeed, and what a process need not load
      checkpoints               which checkpoints are whole, which a run goes on from
      workers.learning_prm      the PRM's, where it learns too (algorithm.prm_losses; checked by validation.prm)
    6 workers.weight_sources, workers.weight_sync, workers.transports, workers.engine_worker
                                the updated weights into the engines
      workers.gpu_turns         who is on the GPUs meanwhile, where all live on the same ones (workers.host_copy)
      workers.trainer           the loop (OpenRLHF's); workers.greedy_evaluation measures before, meanwhile and after
    7 monitoring                metrics, alarms, the run directory, where metrics go (workers.step_profiler: a trace)
      report                    the pages made of a run directory

Before all of it may come `sft`, a warm-up by examples (prompt_styles: what a model is told before the problem).

Imports go one way, from what is listed in `tests/contract/test_layers.py` last to what is listed first.
"""

__version__ = "0.1.0"
