"""What is watched in a run, and where it goes.

metric_table      every metric: unit, meaning, what a rise means
rollout_metrics   the metrics of a batch of responses, from its tensors
alarms            detectors of collapse and reward hacking on the history of metrics
run_directory     the files that a run leaves
sinks, progress   Prometheus, MLflow; the terminal
"""
