"""Fine-tuning within a run: train and score a classifier, and its baselines."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from simclr_tf2 import distribution, models
from simclr_tf2.config import Config
from simclr_tf2.data import pipeline
from simclr_tf2.data.datasets import Split
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.classifier import classify
from simclr_tf2.evaluation.features.extraction import collect, make_runner
from simclr_tf2.evaluation.inputs import Splits
from simclr_tf2.evaluation.measured import Measured
from simclr_tf2.evaluation.provenance import provenance
from simclr_tf2.evaluation.scoring import classifier_accuracy
from simclr_tf2.evaluation.subject import Conditions
from simclr_tf2.results import document
from simclr_tf2.results.rows import FINETUNED_ROW
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs.timing import timed
from simclr_tf2.training import chance
from simclr_tf2.training.labelled import Labelled
from simclr_tf2.training.supervised import train_classifier

logger = logging.getLogger(__name__)

BASELINE_ROWS = {
    "random_init": "Random init, same settings",
    "supervised": "Supervised baseline",
}
# From random weights the paper trains twice as long (appendix B.8.1).
LONGER = 2


def check_baselines(config: Config) -> None:
    """Refuse baselines for a run that itself starts from random weights."""
    names = config.evaluation.finetune_baselines
    if names and not config.training.checkpoint:
        raise ConfigError(
            f"--finetune_baselines={','.join(names)} stand beside fine-tuning from a "
            "--checkpoint; pass one, or drop the baselines"
        )


def measure_baseline(
    config: Config, strategy: tf.distribute.Strategy, labelled: Labelled, name: str
) -> dict[str, dict[str, Any]]:
    """Train one of ``BASELINE_ROWS`` in ``baselines/NAME`` of the run, and score it.

    Returns:
        A record as ``classify`` makes it, without predictions.
    """
    row = BASELINE_ROWS[name]
    logger.info("%s: %s", name, row)
    record = train_beside(baseline_config(config, name), strategy, labelled, row=row)
    return {f"{row}/supervised": record}


def baseline_config(config: Config, name: str) -> Config:
    """Return the config of the same run from random weights.

    ``random_init`` changes nothing else, so frozen layers stay random. ``supervised``
    trains every layer, with one learning rate, for twice as long.
    """
    assert config.model_dir is not None
    training = dataclasses.replace(config.training, checkpoint=None, monitor_epochs=0)
    model, optimizer = config.model, config.optimizer
    if name == "supervised":
        training = dataclasses.replace(
            training,
            train_epochs=LONGER * training.train_epochs,
            train_steps=LONGER * training.train_steps,
        )
        model = dataclasses.replace(model, fine_tune_after_block=-1)
        optimizer = dataclasses.replace(
            optimizer, head_lr_multiplier=1.0, backbone_lr_multiplier=1.0
        )
    return dataclasses.replace(
        config,
        model_dir=str(RunFolder.at(config.model_dir).baseline(name)),
        training=training,
        model=model,
        optimizer=optimizer,
        evaluation=dataclasses.replace(
            config.evaluation, finetune_baselines=(), eval_name=None
        ),
        export=dataclasses.replace(config.export, export_formats=()),
    )


@dataclass(frozen=True)
class Finetuned:
    """A trained classifier and its accuracy.

    Attributes:
        model: The network with the classifier, in export form: float32.
        measured: Its accuracy and predictions.
        folder: The run folder.
        step: The last training step.
        timings: Phase -> seconds.
    """

    model: models.SimCLR
    measured: Measured
    folder: RunFolder
    step: int
    timings: dict[str, float]


def train_and_score(
    config: Config,
    strategy: tf.distribute.Strategy,
    labelled: Labelled,
    *,
    asked: Config | None = None,
    row: str = FINETUNED_ROW,
    initial: models.SimCLR | None = None,
) -> Finetuned:
    """Train a classifier to its last step, or resume its training, and score it.

    Args:
        config: The whole config.
        strategy: The devices.
        labelled: The images.
        asked: The settings as they were given, for flags.txt; None: ``config``.
        row: Name of the row in the table.
        initial: Network with the initial weights, instead of ``--checkpoint``.

    Raises:
        ConfigError: A setting, the data or the run folder cannot be used.
    """
    trained = train_classifier(
        config,
        strategy,
        labelled,
        asked=asked,
        initial=initial,
        monitor=make_validation_monitor,
    )
    exported = models.export_copy(trained.model)

    def score() -> Measured:
        with timed(trained.timings, "evaluation"):
            images = Splits(labelled.train, labelled.train, labelled.test)
            conditions = Conditions.of(config, images)
            measured = Measured().joined(
                *classify(conditions, labelled.test, exported, row=row)
            )
        chance.complete(
            measured.results.values(),
            trained.folder.path,
            step=trained.step,
            classes=labelled.train.num_classes,
            quiet=trained.warned,
        )
        return measured

    measured = distribution.workers(strategy).by_chief(score) or Measured()
    return Finetuned(exported, measured, trained.folder, trained.step, trained.timings)


def train_beside(
    config: Config,
    strategy: tf.distribute.Strategy,
    labelled: Labelled,
    *,
    row: str,
    initial: models.SimCLR | None = None,
) -> dict[str, Any]:
    """Call ``train_and_score`` in a folder within a run; if finished, read its results.

    Returns:
        The record of the classifier's accuracy.
    """
    run_folder.check(config)
    found = run_folder.completed_results(config)
    if found is None:
        trained = train_and_score(config, strategy, labelled, row=row, initial=initial)
        found = document.make_document(
            provenance(config.data, seed=config.seed, strategy=strategy),
            trained.measured.results,
            step=trained.step,
            timings=trained.timings,
            finished=True,
        )
        document.write(trained.folder.results, found)
    else:
        logger.info("%s is finished: its results are used", config.model_dir)
    record: dict[str, Any] = found["results"][f"{row}/supervised"]
    return record


def make_validation_monitor(
    config: Config,
    watched: Split | None,
    model: models.SimCLR,
    strategy: tf.distribute.Strategy,
) -> Callable[[], dict[str, float]] | None:
    """Build a function that scores ``model`` on held-out images.

    It is traced once and runs on all replicas of this machine, in float32 like the
    evaluation of the results.

    Args:
        config: The whole config.
        watched: The held-out images.
        model: The network that is trained.
        strategy: The strategy in whose scope ``model`` was made.

    Returns:
        The function; None if no image is held out or online evaluation is off.
    """
    if watched is None or not config.training.monitor_epochs:
        return None
    in_float32 = model
    if config.training.mixed_precision != "off":
        with strategy.scope():
            in_float32 = models.export_copy(model)
    runner = make_runner(
        lambda images: in_float32.finetune_logits(images, training=False), strategy
    )
    batch = min(config.evaluation.eval_batch_size, watched.num_examples)
    images = pipeline.make_eval_dataset(
        watched, batch_size=batch, image_size=config.data.image_size
    )

    def look() -> dict[str, float]:
        if in_float32 is not model:
            models.copy_weights(model, in_float32)
        logits = collect(runner, images, limit=None, name=watched.split)
        found = classifier_accuracy(logits)
        return {f"validation_{k}": found[k] for k in ("top1", "top5") if k in found}

    return look
