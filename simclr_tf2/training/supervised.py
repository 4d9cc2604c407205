"""A run that trains a classifier on h, with the network behind it or frozen."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2 import models, optimizers, startup, stopping
from simclr_tf2.config import Config, ConfigError
from simclr_tf2.data import pipeline
from simclr_tf2.data.datasets import Split
from simclr_tf2.evaluation import classifier_accuracy
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.evaluation.features.extraction import collect, make_runner
from simclr_tf2.evaluation.runner import (
    FINETUNED_ROW,
    Measured,
    classify,
    results_document,
)
from simclr_tf2.runs import checkpoints
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs import history as run_history
from simclr_tf2.training import chance, precision, progress, session, steps
from simclr_tf2.training.labelled import Labelled, save_choice
from simclr_tf2.workflows import conclusion, pretrain
from simclr_tf2.workflows.scan import record

logger = logging.getLogger(__name__)

STEM_FILTERS = 64  # of the first layers at width 1

ROW = FINETUNED_ROW


@dataclass(frozen=True)
class Trained:
    """A classifier at its last step.

    Attributes:
        model: The network with it, in export form: float32.
        measured: Its accuracy and what it predicted.
        folder: Of the run.
        step: The last one.
        timings: Seconds by phase.
    """

    model: models.SimCLR
    measured: Measured
    folder: Path
    step: int
    timings: dict[str, float]

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """A record of its accuracy, by name."""
        return self.measured.results


def train_classifier(
    config: Config,
    strategy: tf.distribute.Strategy,
    labelled: Labelled,
    *,
    flagfile: str = "",
    row: str = ROW,
    initial: models.SimCLR | None = None,
) -> Trained:
    """Train to the last step in ``model_dir``, or go on there, and score.

    Args:
        config: Whole config.
        strategy: Where it runs.
        labelled: The images.
        flagfile: What is kept as flags.txt.
        row: Name of the result.
        initial: Network whose weights are the start, in place of ``--checkpoint``.

    Raises:
        ConfigError: A setting, the data or the run folder cannot be.
    """
    started = time.perf_counter()
    train = labelled.train
    total_steps = session.check_steps(config, train, strategy.num_replicas_in_sync)
    session.check_compile(config, strategy)
    _check_odd_share(config, strategy)
    run_history.check(
        config,
        train,
        classes=train.class_names,
        total_steps=total_steps,
        fixed=labelled.chosen is not None,
    )
    config = precision.decided(config, strategy)
    startup.log_kernels()
    timings = {"start": time.perf_counter() - started}
    assert config.model_dir is not None
    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        model, optimizer = _build(config, train, total_steps, strategy)
    if initial is not None:
        models.copy_weights(initial.backbone, model.backbone)
        models.copy_weights(initial.projection_head, model.projection_head)
    checkpoint = checkpoints.of_run(model, optimizer)
    start_step = pretrain.restore(
        config,
        checkpoint,
        model,
        Path(config.model_dir),
        with_head=False,
        source=initial is None,
    )
    # Here, where nothing is refused any more, the first file is written.
    folder = run_folder.create(config, flagfile)
    record(config, folder)
    run_history.write(
        folder,
        train,
        classes=train.class_names,
        start_step=start_step,
        total_steps=total_steps,
    )
    save_choice(config, folder, labelled)
    warned = False
    if start_step < total_steps:
        with conclusion.timed(timings, "training"):
            warned = _train(
                config,
                labelled,
                strategy,
                model,
                optimizer,
                checkpoint,
                folder,
                start_step=start_step,
                total_steps=total_steps,
            )
    total_steps = max(start_step, total_steps)
    stopping.saved(f"step {total_steps} is saved; the same command goes on from there")
    with conclusion.timed(timings, "evaluation"):
        exported = models.export_copy(model)
        measured = Measured().joined(
            *classify(config, labelled.test, exported, row=row)
        )
    assert train.num_classes is not None
    chance.complete(
        measured.results.values(),
        folder,
        step=total_steps,
        classes=train.num_classes,
        quiet=warned,
    )
    return Trained(exported, measured, folder, total_steps, timings)


def train_beside(
    config: Config,
    strategy: tf.distribute.Strategy,
    labelled: Labelled,
    *,
    row: str,
    initial: models.SimCLR | None = None,
) -> dict[str, Any]:
    """``train_classifier`` in a folder within a run; a finished one is read from it.

    Returns:
        The record of its accuracy.
    """
    run_folder.check(config)
    document = conclusion.finished(config)
    if document is None:
        trained = train_classifier(config, strategy, labelled, row=row, initial=initial)
        document = results_document(config, trained.results, step=trained.step)
        document |= {"timings": trained.timings, "finished": True}
        run_folder.write_json(trained.folder / "results.json", document)
    else:
        logger.info("%s is finished: its results are used", config.model_dir)
    return document["results"][f"{row}/supervised"]


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
        dtype=pretrain.layer_dtype(config),
    )
    models.freeze_up_to_block(model.backbone, config.model.fine_tune_after_block)
    variables = model.finetune_trainable_variables
    models.recompute(model, config.training.remat)
    optimizer = optimizers.with_loss_scale(
        optimizers.with_multipliers(
            pretrain.make_optimizer(config, train, total_steps, model),
            _multipliers(config, model, variables),
        ),
        config.training.mixed_precision,
    )
    optimizer.build(variables)
    return model, optimizer


def _multipliers(
    config: Config, model: models.SimCLR, variables: list[keras.Variable]
) -> dict[str, float]:
    """Path -> factor of the learning rate."""
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


def _train(
    config: Config,
    labelled: Labelled,
    strategy: tf.distribute.Strategy,
    model: models.SimCLR,
    optimizer: keras.optimizers.Optimizer,
    checkpoint: tf.train.Checkpoint,
    folder: Path,
    *,
    start_step: int,
    total_steps: int,
) -> bool:
    """Train to the last step; whether a loss at chance was warned of."""
    train, batch = labelled.train, config.training.train_batch_size
    steps_per_epoch = train.num_examples // batch
    dataset = strategy.distribute_datasets_from_function(
        lambda context: pipeline.make_supervised_dataset(
            train,
            global_batch_size=batch,
            image_size=config.data.image_size,
            seed=config.seed,
            start_step=start_step,
            cache=session.cache_of(config),
            service=config.data.data_service,
            **session.input_share(context),
        )
    )
    variables = model.finetune_trainable_variables
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    step = steps.finetune_step(
        model,
        optimizer,
        variables,
        decayed_variables=optimizers.decayed_in_loss(
            variables, roles, optimizer=config.optimizer.optimizer
        ),
        weight_decay=config.optimizer.weight_decay,
    )

    assert train.num_classes is not None
    lines = progress.TrainingLines(
        total_steps=total_steps,
        steps_per_epoch=session.epoch_length(config, total_steps, steps_per_epoch),
        chance=math.log(train.num_classes),
        accuracy="supervised_accuracy",
        chance_formula="ln(classes)",
        advice=chance.ADVICE,
    )
    session.fit(
        config,
        step,
        dataset,
        split=train,
        strategy=strategy,
        optimizer=optimizer,
        checkpoint=checkpoint,
        folder=folder,
        steps_per_epoch=steps_per_epoch,
        start_step=start_step,
        total_steps=total_steps,
        describe=lines,
        look=make_look(config, labelled.watched, model, strategy),
    )
    return lines.warned


def make_look(
    config: Config,
    watched: Split | None,
    model: models.SimCLR,
    strategy: tf.distribute.Strategy,
) -> Callable[[], dict[str, float]] | None:
    """A function that scores ``model`` as it is on images it does not train on.

    Traced once, on all replicas of this machine, in float32 as the results are.

    Returns:
        None where nothing is held out, or no look was asked for.
    """
    if watched is None or not config.training.monitor_epochs:
        return None
    in_float32 = model
    if config.training.mixed_precision != "off":
        with strategy.scope():
            in_float32 = models.export_copy(model)
    shared = extractor.replicas(config)
    runner = make_runner(
        lambda images: in_float32.finetune_logits(images, training=False), shared
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
