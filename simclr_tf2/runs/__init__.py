"""The run folder on disk: settings, checkpoints, logs."""
