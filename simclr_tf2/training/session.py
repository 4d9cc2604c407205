"""The training phase every story shares: data, cadence, hooks, and the loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from simclr_tf2 import config as config_lib
from simclr_tf2 import distribution, stopping
from simclr_tf2.config import Config, ConfigError
from simclr_tf2.data.datasets import Split
from simclr_tf2.optimizers import loss_scale, total_steps
from simclr_tf2.runs import checkpoints, logs
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs.best_checkpoint import VALID_LOSS, BestCheckpoint
from simclr_tf2.training import cadence, input_failures, loop
from simclr_tf2.training.steps import Step

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
    """Steps of a run on ``split``.

    Of a data set by name as in the reference code, which rounds up. Of the user's own
    images so many passes of whole batches, so that ``--train_epochs=20`` ends at 20.
    """
    training = config.training
    if training.train_steps or config.data.by_name:
        return total_steps(
            num_examples=split.num_examples,
            global_batch_size=training.train_batch_size,
            train_epochs=training.train_epochs,
            train_steps=training.train_steps,
        )
    whole_batches = split.num_examples // training.train_batch_size
    return max(1, round(whole_batches * training.train_epochs))


def images_per_epoch(config: Config, split: Split) -> int:
    """Images that an epoch of the schedule has: of own images those that are seen."""
    batch = config.training.train_batch_size
    if config.data.by_name:
        return split.num_examples
    return split.num_examples // batch * batch


def epoch_length(config: Config, total_steps: int, steps_per_epoch: int) -> float:
    """Steps of an epoch as it is shown: the last step is at ``--train_epochs``."""
    if config.training.train_steps:
        return steps_per_epoch
    return total_steps / config.training.train_epochs


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
    describe: Callable[[int, Scalars, int | None], str],
    look: Callable[[], Scalars] | None,
    best: BestCheckpoint | None = None,
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
        describe: Text of a log line, and for a terminal's width.
        look: Measures the model as it is, at ``--monitor_epochs``; None: never.
        best: Keeps the checkpoint with the lowest held-out loss, if that is asked for.
    """
    training = config.training
    log = logs.MetricsLog(folder, start_step=start_step)
    progress = logs.Progress(
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
                "epoch": now / epoch_length(config, total_steps, steps_per_epoch),
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
        stopping.saved(f"step {now} is saved; the same command goes on from there")

    def on_look(now: int) -> None:
        found = look() if look is not None else {}
        if found:
            show(now, found)
        value = found.get(VALID_LOSS, math.nan)
        if best is not None and best.improves(value):
            if not (folder / f"ckpt-{now}.index").exists():
                on_save(now)
            with best.holding(now):
                best.offer(now, {}, {"held_out": {VALID_LOSS: value}})

    try:
        loop.train(
            step,
            dataset,
            strategy=strategy,
            cadence=cadence_of(
                config,
                total_steps=total_steps,
                steps_per_epoch=steps_per_epoch,
                several_workers=isinstance(
                    strategy, tf.distribute.MultiWorkerMirroredStrategy
                ),
                looks=look is not None,
            ),
            hooks=loop.Hooks(
                log=on_log, save=on_save, monitor=on_look, ran=progress.move
            ),
            examples_per_step=training.train_batch_size,
            start_step=start_step,
            jit_compile=training.jit_compile,
            steps_per_loop=_steps_per_loop(training.steps_per_loop, strategy),
        )
    except tf.errors.OpError as error:
        if input_failures.is_of_the_input(error):
            input_failures.name_broken_file(split, error)
        input_failures.name_lack_of_memory(error)
        raise
    finally:
        log.close()
        progress.close()


def cadence_of(
    config: Config,
    *,
    total_steps: int,
    steps_per_epoch: int,
    several_workers: bool,
    looks: bool = True,
) -> cadence.Cadence:
    """When the run logs, saves and looks: exactly as asked, else as it is worth.

    Where nothing was asked, the first steps are logged and a line comes every few
    seconds; of the user's own images, whose epochs may be short, checkpoints and looks
    are left out that come too soon after the last one. Several workers must agree
    without a clock: they go by steps alone.
    """
    training, given = config.training, config_lib.given_settings(config)
    timed_logs = "log_steps" not in given
    by_worth = not (config.data.by_name or several_workers)
    save_asked = {"checkpoint_steps", "checkpoint_epochs"} & given
    look_asked = "monitor_epochs" in given
    return cadence.Cadence(
        total_steps=total_steps,
        log_every=training.log_steps,
        checkpoint_every=training.checkpoint_steps
        or _steps(training.checkpoint_epochs, steps_per_epoch)
        or total_steps,  # 0 epochs: only the last step
        monitor_every=_steps(training.monitor_epochs, steps_per_epoch) if looks else 0,
        first_logs=cadence.FIRST_LOGS if timed_logs else (),
        log_seconds=cadence.LOG_SECONDS if timed_logs and not several_workers else 0.0,
        checkpoint_spacing=cadence.CHECKPOINTS if by_worth and not save_asked else None,
        monitor_spacing=cadence.LOOKS if by_worth and not look_asked else None,
    )


def _steps_per_loop(steps: str | int, strategy: tf.distribute.Strategy) -> int:
    """As the loop takes it; auto is 1 on a CPU, where Python's share is small."""
    if steps != "auto":
        return int(steps)
    tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    return 0 if tpu or tf.config.list_logical_devices("GPU") else 1


def _steps(epochs: float, steps_per_epoch: int) -> int:
    """Whole steps of some epochs: 0 for 0, else at least 1."""
    return max(1, round(epochs * steps_per_epoch)) if epochs else 0
