"""Training: steps (where SimCLR happens), loop, checkpoints, logs, run folder."""
