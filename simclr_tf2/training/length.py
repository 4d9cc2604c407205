"""The step at which a run ends, also where its images are no longer there."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import tensorflow as tf

from simclr_tf2 import distribution
from simclr_tf2.config import DataConfig, TrainingConfig
from simclr_tf2.data.datasets import Split
from simclr_tf2.errors import ConfigError
from simclr_tf2.optimizers import total_steps
from simclr_tf2.results import document
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs.eval_settings import Merged
from simclr_tf2.training.labelled import training_images
from simclr_tf2.training.splits import open_split

logger = logging.getLogger(__name__)


def last_step(merged: Merged, folder: Path, train: Split) -> int | None:
    """Return the last step of the run; None if it is unknown.

    Args:
        merged: Settings of the evaluation.
        folder: The run folder.
        train: The training split of what is measured: of the run's own data set, or
            of another.
    """
    trained = merged.trained
    if trained.training.train_steps:
        return trained.training.train_steps
    data = merged.config.data
    if merged.same_data and data.train_split == trained.data.train_split:
        return steps_of(trained.training, trained.data, training_images(trained, train))
    finished = _finished_step(folder)
    if finished is not None:
        return finished
    place = data.data_dir if "data_dir" in merged.asked else trained.data.data_dir
    there = dataclasses.replace(
        trained,
        data=dataclasses.replace(trained.data, data_dir=place, download=False),
    )
    try:
        images = open_split(there.data, there.evaluation, trained.data.train_split)
    except ConfigError as error:
        logger.warning(
            "measuring the newest checkpoint once: cannot determine the run's last "
            "step without its training data (%s)",
            error,
        )
        return None
    return steps_of(trained.training, trained.data, training_images(trained, images))


def _finished_step(folder: Path) -> int | None:
    """Return the step of a run that has ended, as it wrote it down."""
    found = document.read(RunFolder(folder).results)
    step = found.get("step")
    return step if found.get("finished") and isinstance(step, int) else None


def check_steps(
    training: TrainingConfig, data: DataConfig, split: Split, replicas: int
) -> int:
    """Check that batch, data and replicas fit, and return the number of steps.

    Raises:
        ConfigError: The batch does not divide, or the split is smaller than one batch.
    """
    batch = training.train_batch_size
    distribution.per_replica_batch_size(batch, replicas, "train_batch_size")
    if split.num_examples < batch:
        raise ConfigError(
            f"split {split.split!r} of {split.name} has {split.num_examples} images, "
            f"less than one batch of --train_batch_size={batch}"
        )
    return steps_of(training, data, split)


def check_compile(training: TrainingConfig, strategy: tf.distribute.Strategy) -> None:
    """Refuse XLA where replicas have to meet inside the step.

    Raises:
        ConfigError: ``--jit_compile`` with several replicas that are no TPU's.
    """
    several = strategy.num_replicas_in_sync > 1
    if (
        training.jit_compile
        and several
        and not isinstance(strategy, tf.distribute.TPUStrategy)
    ):
        raise ConfigError(
            "--jit_compile compiles the step of one device and there are "
            f"{strategy.num_replicas_in_sync} replicas; drop it or pass "
            "--strategy=one_device"
        )


def steps_of(training: TrainingConfig, data: DataConfig, split: Split) -> int:
    """Return the number of steps of a run on ``split``.

    For a data set by name this is as in the reference code, which rounds up. For the
    user's own images a pass has whole batches, so that ``--train_epochs=20`` ends at
    20.
    """
    return steps_for(training, data, split.num_examples)


def steps_for(training: TrainingConfig, data: DataConfig, images: int) -> int:
    """Return ``steps_of`` a split with this number of images."""
    if training.train_steps or data.by_name:
        return total_steps(
            num_examples=images,
            global_batch_size=training.train_batch_size,
            train_epochs=training.train_epochs,
            train_steps=training.train_steps,
        )
    whole_batches = images // training.train_batch_size
    return max(1, round(whole_batches * training.train_epochs))


def images_per_epoch(training: TrainingConfig, data: DataConfig, split: Split) -> int:
    """Return the images in an epoch of the schedule; of own images those seen."""
    batch = training.train_batch_size
    if data.by_name:
        return split.num_examples
    return split.num_examples // batch * batch


def epoch_length(
    training: TrainingConfig, total_steps: int, steps_per_epoch: int
) -> float:
    """Return the shown steps of an epoch: the last step is at ``--train_epochs``."""
    if training.train_steps:
        return steps_per_epoch
    return total_steps / training.train_epochs
