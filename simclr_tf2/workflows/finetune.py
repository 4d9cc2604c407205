"""Fine-tune: train a classifier on h, with the network behind it or frozen."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from simclr_tf2 import distribution, evaluation, models, optimizers
from simclr_tf2.config import Config
from simclr_tf2.data import datasets, pipeline, subset
from simclr_tf2.data.datasets import Split
from simclr_tf2.evaluation import semi_supervised
from simclr_tf2.training import checkpoints, run_folder, steps
from simclr_tf2.workflows import after_training, fit, pretrain, progress_lines
from simclr_tf2.workflows.evaluate import Measured, classify
from simclr_tf2.workflows.scan import record
from simclr_tf2.workflows.splits import open_split

logger = logging.getLogger(__name__)


def finetune(config: Config, flagfile: str = "") -> dict[str, Any]:
    """Train the classifier (and what ``--fine_tune_after_block`` leaves trainable).

    Starts from ``--checkpoint``; without one from random weights, which is the
    supervised baseline, and says so.

    Returns:
        What results.json holds.

    Raises:
        ConfigError: A setting, the data or the run folder cannot be.
    """
    started = time.perf_counter()
    run_folder.check(config)
    done = after_training.finished(config)
    if done is not None:
        logger.info("%s is finished at step %s", config.model_dir, done["step"])
        print(evaluation.render(done["results"]), flush=True)
        return done
    strategy = distribution.make_strategy(config.distribution)
    train = open_split(config, config.data.train_split)
    test = open_split(config, config.evaluation.eval_split)
    for split in (train, test):
        datasets.require_labels(split)
    whole, chosen = train, _labelled_part(config, train)
    if chosen is not None:
        train = subset.take(train, chosen, name=f"{train.split}, {len(chosen)} labels")
    total_steps = fit.check_steps(config, train, strategy.num_replicas_in_sync)
    folder = run_folder.create(config, flagfile)
    record(config, folder, train)
    if chosen is not None:
        _save_choice(config, folder, whole, chosen)
    timings = {"start": time.perf_counter() - started}

    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        model, optimizer = _build(config, train, total_steps, strategy)
    checkpoint = checkpoints.of_run(model, optimizer)
    if not config.training.checkpoint:
        logger.warning("no --checkpoint: training starts from random weights")
    start_step = pretrain.restore(config, checkpoint, model, folder, with_head=False)
    if start_step < total_steps:
        with after_training.timed(timings, "training"):
            _train(
                config,
                train,
                strategy,
                model,
                optimizer,
                checkpoint,
                folder,
                test=test,
                start_step=start_step,
                total_steps=total_steps,
            )
    with after_training.timed(timings, "evaluation"):
        results = classify(config, test, model)
    return after_training.conclude(
        config,
        models.export_copy(model),
        Measured(results),
        folder,
        step=total_steps,
        timings=timings,
    )


def _labelled_part(config: Config, train: Split) -> np.ndarray | None:
    """The images whose labels may be used, None for all (paper, appendix B.5)."""
    data = config.data
    if data.label_fraction == 1 and not data.labels_per_class:
        return None
    return semi_supervised.balanced_subset(
        subset.labels_of(train),
        seed=config.seed,
        **_share(config),
        num_classes=train.num_classes,
    )


def _share(config: Config) -> dict[str, Any]:
    """How many labels are asked for, as the functions of the choice take it."""
    count = config.data.labels_per_class
    return {"count": count} if count else {"fraction": config.data.label_fraction}


def _save_choice(
    config: Config, folder: Path, whole: Split, chosen: np.ndarray
) -> None:
    """Keep which labels are used; a run that goes on must use the same."""
    path, labels = folder / "labelled_subset.json", subset.labels_of(whole)
    settings = {"seed": config.seed, **_share(config)}
    if path.exists():
        before = semi_supervised.load_subset(path, labels, **settings)
        assert np.array_equal(before, chosen), "one seed, one choice"
    else:
        semi_supervised.save_subset(path, chosen, labels, **settings)
    logger.info("%d of %d labels are used: %s", len(chosen), len(labels), path)


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
    optimizer = pretrain.make_optimizer(config, train, total_steps, model)
    optimizer.build(model.finetune_trainable_variables)
    return model, optimizer


def _train(
    config: Config,
    train: Split,
    strategy: tf.distribute.Strategy,
    model: models.SimCLR,
    optimizer: keras.optimizers.Optimizer,
    checkpoint: tf.train.Checkpoint,
    folder: Path,
    *,
    test: Split,
    start_step: int,
    total_steps: int,
) -> None:
    batch = config.training.train_batch_size
    steps_per_epoch = train.num_examples // batch
    dataset = strategy.distribute_datasets_from_function(
        lambda context: pipeline.make_supervised_dataset(
            train,
            global_batch_size=batch,
            image_size=config.data.image_size,
            seed=config.seed,
            start_step=start_step,
            cache=fit.cache_of(config),
            service=config.data.data_service,
            **fit.input_share(context),
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

    def look() -> dict[str, float]:
        record = classify(config, test, model)["Fine-tuned network/supervised"]
        return {f"eval_{k}": record[k] for k in ("top1", "top5") if k in record}

    assert train.num_classes is not None
    fit.fit(
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
        describe=progress_lines.TrainingLines(
            total_steps=total_steps,
            steps_per_epoch=steps_per_epoch,
            chance=math.log(train.num_classes),
            accuracy="supervised_accuracy",
            chance_formula="ln(classes)",
        ),
        look=look,
    )
