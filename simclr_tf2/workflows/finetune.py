"""Fine-tune: train a classifier on h, and compare it with random weights."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import tensorflow as tf

from simclr_tf2 import distribution
from simclr_tf2.config import Config
from simclr_tf2.data import array_files, image_sets, overlap
from simclr_tf2.data.datasets import Split
from simclr_tf2.evaluation.finetuning import (
    Finetuned,
    check_baselines,
    measure_baseline,
    train_and_score,
)
from simclr_tf2.evaluation.inputs import Splits
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs import pixels
from simclr_tf2.runs.timing import timed
from simclr_tf2.training import finetune_settings, precision
from simclr_tf2.training.labelled import Labelled, open_labelled, require_classes
from simclr_tf2.workflows import conclusion

logger = logging.getLogger(__name__)

FEW = 100  # [ours] test images, below which one of them moves the result by a point


def finetune(config: Config) -> dict[str, Any]:
    """Train the classifier (and what ``--fine_tune_after_block`` leaves trainable).

    Starts from ``--checkpoint``, whose network it has; without one from random weights,
    which is the supervised baseline, and says so. ``--finetune_baselines`` are trained
    after it on the same images and stand beside it in the results.

    Returns:
        What results.json holds.

    Raises:
        ConfigError: A setting, the data or the run folder cannot be; nothing is
            written then.
    """
    asked = config
    check_baselines(config)
    team = distribution.joined(config.distribution)
    with team.explaining():
        config, done = conclusion.finished_together(team, config, _checked)
        if done is not None:
            return done
        strategy = distribution.training_strategy(config.distribution)
        config, labelled = team.together(lambda: _prepared(config, strategy))
        trained = train_and_score(config, strategy, labelled, asked=asked)
        return conclusion.by_chief(
            team,
            trained.step,
            lambda: _conclude(config, labelled, trained),
        )


def _checked(config: Config) -> Config:
    """Take network and images of ``--checkpoint``, and check the run folder."""
    config = finetune_settings.from_checkpoint(config)
    run_folder.check(config)
    return config


def _prepared(
    config: Config, strategy: tf.distribute.Strategy
) -> tuple[Config, Labelled]:
    """Open the labelled images and make the choices that depend on them."""
    config = pixels.recorded(config)
    require_classes(config)
    config = finetune_settings.with_eval_split(config)
    labelled = open_labelled(config)
    config = pixels.resolve(config, labelled.train)
    replicas = strategy.num_replicas_in_sync
    config = finetune_settings.fitted(config, labelled.train, replicas)
    if not config.training.checkpoint:
        logger.warning("no --checkpoint: training starts from random weights")
    _warn_of_test(config, labelled)
    return config, labelled


def _conclude(config: Config, labelled: Labelled, trained: Finetuned) -> dict[str, Any]:
    """Train the baselines on this machine, and conclude the run."""
    strategy = distribution.local_strategy(config.distribution)
    config = precision.resolve(config, strategy)  # as the run folder now says
    results = dict(trained.measured.results)
    for name in config.evaluation.finetune_baselines:
        with timed(trained.timings, name):
            results |= measure_baseline(config, strategy, labelled, name)
    return conclusion.conclude(
        config,
        Splits(labelled.train, labelled.train, labelled.test),
        trained.model,
        dataclasses.replace(trained.measured, results=results),
        trained.folder,
        step=trained.step,
        timings=trained.timings,
    )


def _warn_of_test(config: Config, labelled: Labelled) -> None:
    """Say what keeps the result from being a good estimate."""
    train, test = labelled.train, labelled.test
    shared = overlap.shared_images(train, test)
    if shared:
        logger.warning(
            "%d of the %d images of --eval_split=%s are trained on: the result says "
            "nothing about new images",
            shared,
            test.num_examples,
            test.split,
        )
    if test.num_examples < FEW and _holds_out_itself(config, test):
        logger.warning(
            "%s is only %d images, a tenth of %s: each moves the accuracy by "
            "%.1f points. For a number to rely on label more images, or name larger "
            "parts: --train_split=all[:70%%] --eval_split=all[70%%:]",
            test.split,
            test.num_examples,
            config.data.source,
            100 / test.num_examples,
        )


def _holds_out_itself(config: Config, test: Split) -> bool:
    """Return whether a tenth of the images became the split that is scored."""
    if config.evaluation.eval_split != "validation":
        return False
    if config.data.array_file:
        return array_files.is_part_of_train(test)
    if not (config.data.image_dir or config.data.manifest):
        return False
    return image_sets.open_image_set(config.data).holds_out
