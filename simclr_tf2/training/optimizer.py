"""The optimizer of a run with its schedule and exclusions."""

from __future__ import annotations

import keras

from simclr_tf2 import models, optimizers
from simclr_tf2.config import DataConfig, OptimizerConfig, TrainingConfig
from simclr_tf2.data.datasets import Split
from simclr_tf2.training.length import images_per_epoch


def make_optimizer(
    asked: OptimizerConfig,
    training: TrainingConfig,
    data: DataConfig,
    train: Split,
    model: models.SimCLR,
    *,
    total_steps: int,
) -> keras.optimizers.Optimizer:
    """Make the optimizer of a run with schedule and exclusions, not yet built.

    Args:
        asked: Update rule, learning rate and decay.
        training: Batch size and epochs.
        data: Settings of the images, which decide what an epoch is.
        train: The images.
        model: The model to train.
        total_steps: Number of steps of the run.
    """
    schedule = optimizers.warmup_cosine(
        asked.learning_rate,
        scaling=asked.learning_rate_scaling,
        global_batch_size=training.train_batch_size,
        num_examples=images_per_epoch(training, data, train),
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
