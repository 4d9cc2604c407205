"""Fine-tune: train a classifier on h, beside what random weights reach."""

from __future__ import annotations

import logging
from typing import Any

from simclr_tf2 import distribution
from simclr_tf2.config import Config
from simclr_tf2.training import run_folder
from simclr_tf2.workflows import after_training, pixels, precision
from simclr_tf2.workflows.baselines import check_baselines, measure_baseline
from simclr_tf2.workflows.classifier_run import train_classifier
from simclr_tf2.workflows.labelled import open_labelled
from simclr_tf2.workflows.measuring import Measured

logger = logging.getLogger(__name__)


def finetune(config: Config, flagfile: str = "") -> dict[str, Any]:
    """Train the classifier (and what ``--fine_tune_after_block`` leaves trainable).

    Starts from ``--checkpoint``; without one from random weights, which is the
    supervised baseline, and says so. ``--finetune_baselines`` are trained after it on
    the same images and stand beside it in the results.

    Returns:
        What results.json holds.

    Raises:
        ConfigError: A setting, the data or the run folder cannot be.
    """
    check_baselines(config)
    run_folder.check(config)
    done = after_training.finished(config)
    if done is not None:
        after_training.show_finished(config, done)
        return done
    strategy = distribution.shared_strategy(config.distribution)
    config = pixels.recorded(config)
    labelled = open_labelled(config)
    config = pixels.decided(config, labelled.train)
    if not config.training.checkpoint:
        logger.warning("no --checkpoint: training starts from random weights")
    trained = train_classifier(config, strategy, labelled, flagfile=flagfile)
    config = precision.decided(config, strategy)  # as the run folder now says
    results = dict(trained.results)
    for name in config.evaluation.finetune_baselines:
        with after_training.timed(trained.timings, name):
            results |= measure_baseline(config, strategy, labelled, name)
    return after_training.conclude(
        config,
        trained.model,
        Measured(results),
        trained.folder,
        step=trained.step,
        timings=trained.timings,
    )
