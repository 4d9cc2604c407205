"""A run that trains a classifier on h, with the network behind it or frozen."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf

from simclr_tf2 import distribution, models, optimizers, startup, stopping
from simclr_tf2.config import Config
from simclr_tf2.data import pipeline
from simclr_tf2.data.datasets import Split
from simclr_tf2.errors import ConfigError
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import history as run_history
from simclr_tf2.runs.timing import timed
from simclr_tf2.training import (
    chance,
    joint_start,
    length,
    precision,
    progress,
    session,
    steps,
)
from simclr_tf2.training.labelled import Labelled, save_choice
from simclr_tf2.training.optimizer import make_optimizer

logger = logging.getLogger(__name__)

STEM_FILTERS = 64  # of the first layers at width 1

Measure = Callable[[], dict[str, float]]
# (config, images that are held out, model, strategy) -> what measures the model.
Monitor = Callable[
    [Config, Split | None, models.SimCLR, tf.distribute.Strategy], Measure | None
]


@dataclass(frozen=True)
class Trained:
    """A classifier at its last step.

    Attributes:
        model: The network with it, with the weights that are evaluated.
        folder: Of the run.
        step: The last one.
        timings: Seconds by phase.
        warned: Whether the log has reported that the loss is at chance.
    """

    model: models.SimCLR
    folder: RunFolder
    step: int
    timings: dict[str, float]
    warned: bool


def train_classifier(
    config: Config,
    strategy: tf.distribute.Strategy,
    labelled: Labelled,
    *,
    asked: Config | None = None,
    initial: models.SimCLR | None = None,
    monitor: Monitor | None = None,
) -> Trained:
    """Train to the last step in ``model_dir``, or go on there.

    Args:
        config: Whole config.
        strategy: Where it runs.
        labelled: The images.
        asked: The settings as they were given, for flags.txt; None: ``config``.
        initial: Network whose weights are the start, in place of ``--checkpoint``.
        monitor: Makes what measures the model while it trains; None: nothing does.

    Raises:
        ConfigError: A setting, the data or the run folder cannot be.
    """
    started = time.perf_counter()
    train, team = labelled.train, distribution.workers(strategy)
    config, total_steps = team.together(lambda: _prepared(config, strategy, labelled))
    config = joint_start.agree(team, config, train, total_steps=total_steps)
    distribution.log_devices(strategy)
    startup.log_kernels()
    timings = {"start": time.perf_counter() - started}
    opened = session.open_session(
        config,
        train,
        strategy,
        lambda: _build(config, train, total_steps, strategy),
        total_steps=total_steps,
        classes=train.class_names,
        asked=asked,
        initial=initial,
        with_head=False,
    )
    team.by_chief(lambda: save_choice(config, opened.folder, labelled))
    warned = False
    if not opened.is_complete:
        measures = (
            monitor(config, labelled.watched, opened.model, strategy)
            if monitor
            else None
        )
        with timed(timings, "training"):
            warned = _train(opened, measures)
    step = opened.last_step
    stopping.saved(f"step {step} is saved; the same command goes on from there")
    return Trained(opened.trained_model(), opened.folder, step, timings, warned)


def _prepared(
    config: Config, strategy: tf.distribute.Strategy, labelled: Labelled
) -> tuple[Config, int]:
    """Check the settings of the training; return them and the number of steps."""
    train = labelled.train
    total_steps = length.check_steps(
        config.training, config.data, train, strategy.num_replicas_in_sync
    )
    length.check_compile(config.training, strategy)
    _check_odd_share(config, strategy)
    run_history.check(
        config,
        train,
        classes=train.class_names,
        total_steps=total_steps,
        fixed=labelled.chosen is not None,
    )
    if distribution.workers(strategy).is_chief:  # the others take its choice
        config = precision.resolve(config, strategy)
    return config, total_steps


def _check_odd_share(config: Config, strategy: tf.distribute.Strategy) -> None:
    """Refuse a batch with which oneDNN (TensorFlow 2.21) writes out of bounds on a CPU.

    Seen with 25, 27 and 31 images and 8 channels, not with 26 or 16 channels; stock
    Keras layers do the same. Pretraining's rows, two views each, are even.

    Raises:
        ConfigError: An odd share of a batch on a CPU, and fewer than 16 channels.
    """
    share = config.training.train_batch_size // strategy.num_replicas_in_sync
    narrow = round(STEM_FILTERS * config.model.width_multiplier) < 16
    on_cpu = not tf.config.list_logical_devices("GPU")
    if on_cpu and narrow and share > 1 and share % 2:
        raise ConfigError(
            f"{share} images on a device, an odd number, crash TensorFlow on a CPU "
            "with layers of less than 16 channels; use an even --train_batch_size"
        )


def _build(
    config: Config, train: Split, total_steps: int, strategy: tf.distribute.Strategy
) -> tuple[models.SimCLR, keras.optimizers.Optimizer]:
    model = models.build_simclr(
        config.model,
        image_size=config.data.image_size,
        channels=config.data.image_channels,
        num_classes=train.num_classes,
        num_replicas=strategy.num_replicas_in_sync,
        dtype=precision.layer_dtype(config.training),
    )
    models.freeze_up_to_block(model.backbone, config.model.fine_tune_after_block)
    variables = model.finetune_trainable_variables
    models.recompute(model, config.training.remat)
    optimizer = optimizers.with_loss_scale(
        optimizers.with_multipliers(
            make_optimizer(
                config.optimizer,
                config.training,
                config.data,
                train,
                model,
                total_steps=total_steps,
            ),
            _multipliers(config, model, variables),
        ),
        config.training.mixed_precision,
    )
    optimizer.build(variables)
    return model, optimizer


def _multipliers(
    config: Config, model: models.SimCLR, variables: list[keras.Variable]
) -> dict[str, float]:
    """Map each path to its factor of the learning rate."""
    assert model.supervised_head is not None
    head = {variable.path for variable in model.supervised_head.variables}
    settings = config.optimizer
    return {
        variable.path: (
            settings.head_lr_multiplier
            if variable.path in head
            else settings.backbone_lr_multiplier
        )
        for variable in variables
    }


def _train(opened: session.Session, monitor: Measure | None) -> bool:
    """Train to the last step; whether a loss at chance was warned of."""
    config, model, train = opened.config, opened.model, opened.train
    dataset = opened.strategy.distribute_datasets_from_function(
        lambda context: pipeline.make_supervised_dataset(
            train,
            pipeline.plan_batches(train, config.training.train_batch_size, context),
            image_size=config.data.image_size,
            seed=config.seed,
            start_step=opened.start_step,
            cache=config.data.cache_mode,
            service=config.data.data_service,
        )
    )
    variables = model.finetune_trainable_variables
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    step = steps.finetune_step(
        model,
        opened.optimizer,
        variables,
        decayed_variables=optimizers.decayed_in_loss(
            variables, roles, optimizer=config.optimizer.optimizer
        ),
        weight_decay=config.optimizer.weight_decay,
    )

    assert train.num_classes is not None
    lines = progress.TrainingLines(
        total_steps=opened.total_steps,
        steps_per_epoch=opened.epoch_length,
        chance=math.log(train.num_classes),
        accuracy="supervised_accuracy",
        chance_formula="ln(classes)",
        advice=chance.ADVICE,
    )
    session.run(opened, step, dataset, describe=lines, monitor=monitor)
    return lines.warned
