"""The optimizer of a run with its schedule and exclusions."""

from __future__ import annotations

import keras

from simclr_tf2 import models, optimizers
from simclr_tf2.config import OptimizerConfig, TrainingConfig


def make_optimizer(
    asked: OptimizerConfig,
    training: TrainingConfig,
    model: models.SimCLR,
    *,
    total_steps: int,
    images_per_epoch: int,
) -> keras.optimizers.Optimizer:
    """Make the optimizer of a run with schedule and exclusions, not yet built.

    Args:
        asked: Update rule, learning rate and decay.
        training: Batch and epochs.
        model: What is trained.
        total_steps: Steps of the run.
        images_per_epoch: Images in an epoch of the schedule.
    """
    schedule = optimizers.warmup_cosine(
        asked.learning_rate,
        scaling=asked.learning_rate_scaling,
        global_batch_size=training.train_batch_size,
        num_examples=images_per_epoch,
        train_epochs=training.train_epochs,
        train_steps=total_steps,
        warmup_epochs=asked.warmup_epochs,
    )
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    return optimizers.build_optimizer(
        asked,
        learning_rate=schedule,
        exclude=optimizers.exclusions(asked.optimizer, roles),
    )
