"""The training phase every story shares: data, cadence, hooks, and the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from simclr_tf2 import distribution
from simclr_tf2.config import Config, ConfigError
from simclr_tf2.data.datasets import Split
from simclr_tf2.optimizers import loss_scale, total_steps
from simclr_tf2.training import checkpoints, loop, run_folder, summaries
from simclr_tf2.training.errors import RunFailed
from simclr_tf2.training.steps import Step

logger = logging.getLogger(__name__)

Scalars = dict[str, float]


def check_steps(config: Config, split: Split, replicas: int) -> int:
    """The number of steps, once batch, data and replicas are known to fit.

    Raises:
        ConfigError: The batch does not divide, or the split is smaller than one batch.
    """
    batch = config.training.train_batch_size
    distribution.per_replica_batch_size(batch, replicas, "train_batch_size")
    if split.num_examples < batch:
        raise ConfigError(
            f"split {split.split!r} of {split.name} has {split.num_examples} images, "
            f"less than one batch of --train_batch_size={batch}"
        )
    return steps_of(config, split)


def check_compile(config: Config, strategy: tf.distribute.Strategy) -> None:
    """Refuse XLA where replicas have to meet inside the step.

    Raises:
        ConfigError: ``--jit_compile`` with several replicas that are no TPU's.
    """
    several = strategy.num_replicas_in_sync > 1
    if (
        config.training.jit_compile
        and several
        and not isinstance(strategy, tf.distribute.TPUStrategy)
    ):
        raise ConfigError(
            "--jit_compile compiles the step of one device and there are "
            f"{strategy.num_replicas_in_sync} replicas; drop it or pass "
            "--strategy=one_device"
        )


def steps_of(config: Config, split: Split) -> int:
    """Steps of a run on ``split``."""
    return total_steps(
        num_examples=split.num_examples,
        global_batch_size=config.training.train_batch_size,
        train_epochs=config.training.train_epochs,
        train_steps=config.training.train_steps,
    )


def cache_of(config: Config) -> str:
    """What of the images is held in memory; ``--cache_dataset`` is the older word."""
    data = config.data
    return "encoded" if data.cache_dataset and data.cache == "auto" else data.cache


def input_share(context: tf.distribute.InputContext) -> dict[str, int]:
    """Arguments of a training pipeline that say which rows this worker reads."""
    workers = context.num_input_pipelines
    return {
        "num_workers": workers,
        "worker_index": context.input_pipeline_id,
        "replicas_per_worker": context.num_replicas_in_sync // workers,
    }


def fit(
    config: Config,
    step: Step,
    dataset: tf.distribute.DistributedDataset,
    *,
    split: Split,
    strategy: tf.distribute.Strategy,
    optimizer: keras.optimizers.Optimizer,
    checkpoint: tf.train.Checkpoint,
    folder: Path,
    steps_per_epoch: int,
    start_step: int,
    total_steps: int,
    describe: Callable[[int, Scalars], str],
    look: Callable[[], Scalars],
) -> None:
    """Train to ``total_steps``; logs, checkpoints and looks go to the run folder.

    Args:
        config: Whole config; cadence comes from its training section.
        step: What one replica does with one element of ``dataset``.
        dataset: Elements in the order of steps, from ``start_step`` on.
        split: Where they come from; a file of it that broke is named.
        strategy: Where it runs.
        optimizer: Read for the learning rate of the log.
        checkpoint: What is saved.
        folder: The run folder.
        steps_per_epoch: Steps in one pass.
        start_step: Steps done before.
        total_steps: Steps in all.
        describe: Text of a log line.
        look: Measures the model as it is, at ``--monitor_epochs``.
    """
    training = config.training
    log = summaries.MetricsLog(folder, start_step=start_step)
    progress = summaries.Progress(
        training.progress,
        total_steps=total_steps,
        start_step=start_step,
        describe=describe,
    )

    def show(now: int, scalars: Scalars) -> None:
        log.write(now, scalars)
        progress.show(now, scalars)

    def on_log(now: int, scalars: Scalars) -> None:
        rate = float(optimizer.learning_rate)
        show(
            now,
            {
                **scalars,
                "epoch": now / steps_per_epoch,
                "learning_rate": rate,
                **loss_scale.scalars(optimizer, now),
            },
        )

    def on_save(now: int) -> None:
        checkpoints.save(
            checkpoint,
            folder,
            step=now,
            config_json=run_folder.config_json(config),
            keep=training.keep_checkpoint_max,
        )

    try:
        loop.train(
            step,
            dataset,
            strategy=strategy,
            cadence=loop.Cadence(
                total_steps=total_steps,
                log_every=training.log_steps,
                checkpoint_every=training.checkpoint_steps
                or _steps(training.checkpoint_epochs, steps_per_epoch)
                or total_steps,  # 0 epochs: only the last step
                monitor_every=_steps(training.monitor_epochs, steps_per_epoch),
            ),
            hooks=loop.Hooks(
                log=on_log, save=on_save, monitor=lambda now: show(now, look())
            ),
            examples_per_step=training.train_batch_size,
            start_step=start_step,
            jit_compile=training.jit_compile,
            steps_per_loop=_steps_per_loop(training.steps_per_loop, strategy),
        )
    except tf.errors.OpError as error:
        _name_broken_file(split, error)
        raise
    finally:
        log.close()
        progress.close()


def _name_broken_file(split: Split, error: tf.errors.OpError) -> None:
    """Raise a RunFailed if an image file can no longer be read or decoded."""
    logger.info("the input failed; looking for a file that cannot be read any more")
    broken = split.source.first_broken()
    if broken:
        raise RunFailed(
            f"{broken} cannot be read any more; fix or remove it and start the same "
            "command again: it goes on from the last checkpoint"
        ) from error


def _steps_per_loop(steps: str | int, strategy: tf.distribute.Strategy) -> int:
    """As the loop takes it; auto is 1 on a CPU, where Python's share is small."""
    if steps != "auto":
        return int(steps)
    tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    return 0 if tpu or tf.config.list_logical_devices("GPU") else 1


def _steps(epochs: float, steps_per_epoch: int) -> int:
    """Whole steps of some epochs: 0 for 0, else at least 1."""
    return max(1, round(epochs * steps_per_epoch)) if epochs else 0
