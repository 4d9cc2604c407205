"""Pretrain: learn an encoder without labels, then evaluate, export and report."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2 import distribution, evaluation, losses, models, optimizers
from simclr_tf2.config import Config, ConfigError
from simclr_tf2.data import pipeline
from simclr_tf2.training import checkpoints, loop, run_folder, steps, summaries
from simclr_tf2.workflows import after_training, progress_lines, watching
from simclr_tf2.workflows.splits import Splits, open_splits

logger = logging.getLogger(__name__)


def pretrain(config: Config, flagfile: str = "") -> dict[str, Any]:
    """Train from the newest checkpoint to the last step, then use the encoder.

    Returns:
        What results.json holds.

    Raises:
        ConfigError: A setting, the data or the run folder cannot be; nothing is
            written then.
    """
    started = time.perf_counter()
    run_folder.check(config)
    done = after_training.finished(config)
    if done is not None:
        logger.info("%s is finished at step %s", config.model_dir, done["step"])
        print(evaluation.render(done["results"]), flush=True)
        return done
    strategy = distribution.make_strategy(config.distribution)
    splits = open_splits(config)
    total_steps = check_steps(config, splits, strategy.num_replicas_in_sync)
    folder = run_folder.create(config, flagfile)
    timings = {"start": time.perf_counter() - started}

    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        model, optimizer = build(config, splits, total_steps, strategy)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    start_step = _restore(config, checkpoint, model, folder)

    if start_step < total_steps:
        begun = time.perf_counter()
        _train(
            config,
            splits,
            strategy,
            model,
            optimizer,
            checkpoint,
            folder,
            start_step=start_step,
            total_steps=total_steps,
        )
        timings["training"] = time.perf_counter() - begun
    else:
        logger.info("training is finished: %d of %d steps", start_step, total_steps)
    return after_training.finish(
        config, splits, model, folder, step=total_steps, timings=timings
    )


def check_steps(config: Config, splits: Splits, replicas: int) -> int:
    """The number of steps, once batch, data and replicas are known to fit."""
    batch = config.training.train_batch_size
    distribution.per_replica_batch_size(batch, replicas, "train_batch_size")
    count = splits.train.num_examples
    if count < batch:
        raise ConfigError(
            f"split {splits.train.split!r} of {splits.train.name} has {count} images, "
            f"less than one batch of --train_batch_size={batch}"
        )
    return optimizers.total_steps(
        num_examples=count,
        global_batch_size=batch,
        train_epochs=config.training.train_epochs,
        train_steps=config.training.train_steps,
    )


def build(
    config: Config,
    splits: Splits,
    total_steps: int,
    strategy: tf.distribute.Strategy,
) -> tuple[models.SimCLR, keras.optimizers.Optimizer]:
    """Model and optimizer, with their variables."""
    supervised = config.training.lineareval_while_pretraining
    classes = splits.train.num_classes if splits.train.has_labels else None
    model = models.build_simclr(
        config.model,
        image_size=config.data.image_size,
        num_classes=classes if supervised else None,
        num_replicas=strategy.num_replicas_in_sync,
        dtype={"off": None, "bfloat16": "mixed_bfloat16"}[
            config.training.mixed_precision
        ],
    )
    schedule = optimizers.warmup_cosine(
        config.optimizer.learning_rate,
        scaling=config.optimizer.learning_rate_scaling,
        global_batch_size=config.training.train_batch_size,
        num_examples=splits.train.num_examples,
        train_epochs=config.training.train_epochs,
        train_steps=total_steps,
        warmup_epochs=config.optimizer.warmup_epochs,
    )
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    optimizer = optimizers.build_optimizer(
        config.optimizer,
        learning_rate=schedule,
        exclude=optimizers.exclusions(config.optimizer.optimizer, roles),
    )
    optimizer.build(model.trainable_variables)
    return model, optimizer


def _restore(
    config: Config, checkpoint: tf.train.Checkpoint, model: models.SimCLR, folder: Path
) -> int:
    """Resume from the folder, else start from --checkpoint, else from scratch."""
    step = checkpoints.restore_newest(checkpoint, folder)
    if step is not None:
        logger.info("resuming from %s at step %d", folder / f"ckpt-{step}", step)
        return step
    if (folder / "metrics.jsonl").exists():
        logger.warning(
            "%s was started before but holds no checkpoint yet: starting from step 0",
            folder,
        )
    if config.training.checkpoint:
        checkpoints.initialize_weights(model, config.training.checkpoint)
        logger.info("weights initialised from %s", config.training.checkpoint)
    return 0


def _train(
    config: Config,
    splits: Splits,
    strategy: tf.distribute.Strategy,
    model: models.SimCLR,
    optimizer: keras.optimizers.Optimizer,
    checkpoint: tf.train.Checkpoint,
    folder: Path,
    *,
    start_step: int,
    total_steps: int,
) -> None:
    """The training phase: data, step, cadence and hooks, handed to the loop."""
    training = config.training
    batch = training.train_batch_size
    steps_per_epoch = splits.train.num_examples // batch
    dataset = strategy.distribute_datasets_from_function(
        lambda context: pipeline.make_pretrain_dataset(
            splits.train,
            global_batch_size=batch,
            image_size=config.data.image_size,
            strength=config.augmentation.color_jitter_strength,
            use_blur=config.augmentation.use_blur,
            seed=config.seed,
            start_step=start_step,
            num_workers=context.num_input_pipelines,
            worker_index=context.input_pipeline_id,
            replicas_per_worker=context.num_replicas_in_sync
            // context.num_input_pipelines,
            cache=config.data.cache_dataset,
        )
    )
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    decayed = optimizers.decayed_in_loss(
        model.trainable_variables, roles, optimizer=config.optimizer.optimizer
    )
    step = steps.pretrain_step(
        model,
        optimizer,
        losses.build_loss(config.loss),
        decayed_variables=decayed,
        weight_decay=config.optimizer.weight_decay,
        supervised=model.supervised_head is not None,
    )
    describe = progress_lines.PretrainLines(
        batch=batch,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        chance=math.log(2 * batch - 1) if batch > 1 else 0.0,
    )
    watch = watching.make_watch(config, splits, model)
    log = summaries.MetricsLog(folder, start_step=start_step)
    progress = summaries.Progress(
        training.progress,
        total_steps=total_steps,
        start_step=start_step,
        describe=describe,
    )

    def on_log(now: int, scalars: dict[str, float]) -> None:
        scalars = {
            **scalars,
            "epoch": now / steps_per_epoch,
            "learning_rate": float(optimizer.learning_rate),
        }
        log.write(now, scalars)
        progress.show(now, scalars)

    def on_save(now: int) -> None:
        checkpoints.save(
            checkpoint,
            folder,
            step=now,
            config_json=run_folder.config_json(config),
            keep=training.keep_checkpoint_max,
        )

    def on_monitor(now: int) -> None:
        scalars = watch()
        log.write(now, scalars)
        progress.show(now, scalars)

    try:
        loop.train(
            step,
            dataset,
            strategy=strategy,
            cadence=loop.Cadence(
                total_steps=total_steps,
                log_every=training.log_steps,
                checkpoint_every=training.checkpoint_steps
                or round(training.checkpoint_epochs * steps_per_epoch),
                monitor_every=round(training.monitor_epochs * steps_per_epoch),
            ),
            hooks=loop.Hooks(log=on_log, save=on_save, monitor=on_monitor),
            examples_per_step=batch,
            start_step=start_step,
            jit_compile=training.jit_compile,
        )
    finally:
        log.close()
        progress.close()
