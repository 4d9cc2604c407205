"""Train: the step (where SimCLR happens), the loop, and one phase on a run folder."""
