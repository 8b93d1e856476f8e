"""What is watched in a run, and where it goes.

    metric_table      every metric: unit, meaning, what a rise means
    rollout_metrics   the metrics of a batch of responses, from its tensors
    alarms            detectors of collapse and reward hacking on the history of metrics
    alarm_watch       what follows from an alarm: warn, stop, go back
    records           what stands in a run's files, typed
    run_directory     the files that a run leaves
    sinks, progress   Prometheus, MLflow; the terminal

No OpenRLHF; Ray only to show its metrics and to ask the trainer how far it is.
"""
