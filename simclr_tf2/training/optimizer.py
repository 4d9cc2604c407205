"""The optimizer of a run with its schedule and exclusions."""

from __future__ import annotations

import keras

from simclr_tf2 import models, optimizers
from simclr_tf2.config import Config
from simclr_tf2.data.datasets import Split
from simclr_tf2.training.length import images_per_epoch


def make_optimizer(
    config: Config, split: Split, total_steps: int, model: models.SimCLR
) -> keras.optimizers.Optimizer:
    """Make the optimizer of a run with schedule and exclusions, not yet built."""
    schedule = optimizers.warmup_cosine(
        config.optimizer.learning_rate,
        scaling=config.optimizer.learning_rate_scaling,
        global_batch_size=config.training.train_batch_size,
        num_examples=images_per_epoch(config, split),
        train_epochs=config.training.train_epochs,
        train_steps=total_steps,
        warmup_epochs=config.optimizer.warmup_epochs,
    )
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    return optimizers.build_optimizer(
        config.optimizer,
        learning_rate=schedule,
        exclude=optimizers.exclusions(config.optimizer.optimizer, roles),
    )
