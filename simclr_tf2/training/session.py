"""A training phase, for all workflows: data, cadence, hooks and the loop."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from simclr_tf2 import config as config_lib
from simclr_tf2 import models, stopping
from simclr_tf2.config import Config
from simclr_tf2.data.datasets import Split
from simclr_tf2.distribution import Workers, workers
from simclr_tf2.optimizers import loss_scale
from simclr_tf2.protocols import VALID_LOSS
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import checkpoints, images, logs, remote
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs import history as run_history
from simclr_tf2.runs.best_checkpoint import BestCheckpoint
from simclr_tf2.training import cadence, initialization, input_failures, length, loop
from simclr_tf2.training.loop import Step
from simclr_tf2.training.weight_average import WeightAverage, averaging

logger = logging.getLogger(__name__)

Scalars = dict[str, float]
Build = Callable[[], tuple[models.SimCLR, keras.optimizers.Optimizer]]


@dataclass(frozen=True)
class Session:
    """One training phase of a run.

    Attributes:
        config: The whole config.
        train: The training images.
        strategy: The devices.
        model: The network that is trained.
        optimizer: The optimizer of its variables.
        average: The averages of its weights; None without ``--weights_ema``.
        checkpoint: The variables that are saved.
        folder: The run folder.
        start_step: Number of steps done by earlier starts.
        total_steps: Number of steps in all.
        workers: The processes that train together.
    """

    config: Config
    train: Split
    strategy: tf.distribute.Strategy
    model: models.SimCLR
    optimizer: keras.optimizers.Optimizer
    average: WeightAverage | None
    checkpoint: tf.train.Checkpoint
    folder: RunFolder
    start_step: int
    total_steps: int
    workers: Workers

    @property
    def steps_per_epoch(self) -> int:
        """Number of whole batches in one pass over the images."""
        return self.train.num_examples // self.config.training.train_batch_size

    @property
    def epoch_length(self) -> float:
        """Number of steps per epoch that the log shows; it need not be whole."""
        return length.epoch_length(
            self.config.training, self.total_steps, self.steps_per_epoch
        )

    @property
    def is_complete(self) -> bool:
        """Whether an earlier start did the last step."""
        return self.start_step >= self.total_steps

    @property
    def last_step(self) -> int:
        """The step at which the session ends."""
        return max(self.start_step, self.total_steps)

    def trained_model(self) -> models.SimCLR:
        """Return the network with the weights that are evaluated and exported.

        Call it after the last step: with ``--weights_ema`` the weights of ``model`` are
        replaced by their averages.
        """
        if self.average is not None:
            self.average.assign_to_model()
        return self.model

    def evaluated(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which ``model`` has these weights while it trains."""
        average = self.average
        return contextlib.nullcontext() if average is None else average.in_model()


def open_session(
    config: Config,
    train: Split,
    strategy: tf.distribute.Strategy,
    build: Build,
    *,
    total_steps: int,
    classes: Sequence[str],
    asked: Config | None = None,
    initial: models.SimCLR | None = None,
    with_head: bool = True,
) -> Session:
    """Build model and optimizer, restore them, and write the first files of the run.

    All refusals come before the first file is written.

    Args:
        config: The whole config.
        train: The training images.
        strategy: The devices; ``build`` is called in its scope.
        build: Function that makes the model and the optimizer with their variables.
        total_steps: Number of steps in all.
        classes: Names of the classes, which are recorded with the run.
        asked: The settings as they were given, for flags.txt; None: ``config``.
        initial: Network with the initial weights, instead of ``--checkpoint``.
        with_head: Whether ``--checkpoint`` must contain the supervised head.

    Raises:
        ConfigError: ``--checkpoint`` or the checkpoints of the run cannot be read.
    """
    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        model, optimizer = build()
        average = _make_average(config, model)
    if initial is not None:
        models.copy_weights(initial.backbone, model.backbone)
        models.copy_weights(initial.projection_head, model.projection_head)
    checkpoint = _make_checkpoint(model, optimizer, average)
    team = workers(strategy)
    start_step = team.together(
        lambda: initialization.restore(
            None if initial is not None else config.training.checkpoint,
            checkpoint,
            model,
            run_folder.of(config),
            with_head=with_head,
        )
    )
    if average is not None and not start_step:
        average.restart()  # from the weights that training starts from
    _require_same_start(team, start_step, [*model.variables, *optimizer.variables])

    def write_first_files() -> None:
        folder = run_folder.create(config, asked)
        images.record(config, folder)
        run_history.write(
            folder,
            train,
            classes=classes,
            start_step=start_step,
            total_steps=total_steps,
        )

    team.by_chief(write_first_files)
    folder = run_folder.of(config)
    return Session(
        config,
        train,
        strategy,
        model,
        optimizer,
        average,
        checkpoint,
        folder,
        start_step,
        total_steps,
        team,
    )


def _make_average(config: Config, model: models.SimCLR) -> WeightAverage | None:
    decay = config.training.weights_ema
    if not decay:
        return None
    logger.info(
        "evaluations and exports use averages of the weights (--weights_ema=%g)", decay
    )
    return WeightAverage(model, decay)


def _make_checkpoint(
    model: models.SimCLR,
    optimizer: keras.optimizers.Optimizer,
    average: WeightAverage | None,
) -> tf.train.Checkpoint:
    return checkpoints.run_checkpoint(
        model,
        optimizer,
        averages=average.variables if average else None,
        updates=average.updates if average else None,
    )


def _require_same_start(
    team: Workers, start_step: int, variables: list[keras.Variable]
) -> None:
    """Refuse workers that start from other steps or weights.

    Raises:
        ConfigError: Names what differs.
    """
    if team.count > 1:
        team.require_equal(
            {
                "step of the newest checkpoint": start_step,
                "digest of the first weights": checkpoints.digest(variables),
            }
        )


def run(
    session: Session,
    step: Step,
    dataset: tf.distribute.DistributedDataset,
    *,
    describe: Callable[[int, Scalars, int | None], str],
    monitor: Callable[[], Scalars] | None,
    best: BestCheckpoint | None = None,
    later: Sequence[loop.Stage] = (),
) -> None:
    """Train to the last step; log, save and evaluate online in the run folder.

    Args:
        session: The training phase.
        step: Function of one replica for one element of ``dataset``.
        dataset: Elements in the order of steps, from the start step on.
        describe: ``(step, scalars, columns) -> text`` of a log line; ``columns`` is
            the width of the terminal or None.
        monitor: Function that measures the current model, called every
            ``--monitor_epochs``; None: there is no online evaluation.
        best: Keeps the checkpoint with the lowest held-out loss; None: none is kept.
        later: Stages of the data after ``dataset``.
    """
    config, training = session.config, session.config.training
    start_step, team = session.start_step, session.workers
    team.saved = start_step
    log = logs.MetricsLog(session.folder, start_step=start_step, write=team.is_chief)
    progress = logs.Progress(
        training.progress if team.is_chief else "none",
        total_steps=session.total_steps,
        start_step=start_step,
        describe=describe,
    )
    rhythm = cadence_of(
        config,
        total_steps=session.total_steps,
        steps_per_epoch=session.steps_per_epoch,
        several_workers=team.count > 1,
        looks=monitor is not None,
    )
    try:
        loop.train(
            averaging(step, session.average),
            dataset,
            strategy=session.strategy,
            cadence=rhythm,
            hooks=_hooks(session, log, progress, monitor, best),
            examples_per_step=training.train_batch_size,
            start_step=start_step,
            jit_compile=training.jit_compile,
            steps_per_loop=_steps_per_loop(training.steps_per_loop, session.strategy),
            variables=[variable.value for variable in session.model.variables],
            measure_input=not training.deterministic,
            later=later,
        )
    except tf.errors.OpError as error:
        if input_failures.is_of_the_input(error):
            input_failures.name_broken_file(session.train, error, alone=team.count == 1)
        input_failures.name_lack_of_memory(error)
        raise
    finally:
        log.close()
        progress.close()


def _hooks(
    session: Session,
    log: logs.MetricsLog,
    progress: logs.Progress,
    monitor: Callable[[], Scalars] | None,
    best: BestCheckpoint | None,
) -> loop.Hooks:
    """Make the functions that the loop calls to log, show, save and measure."""
    optimizer, keep = session.optimizer, _Keeper(session)
    is_chief = session.workers.is_chief

    def show(now: int, scalars: Scalars) -> None:
        log.write(now, scalars)
        progress.show(now, scalars)

    def on_log(now: int, scalars: Scalars) -> None:
        if not is_chief:
            return
        facts = {
            "epoch": now / session.epoch_length,
            "learning_rate": float(optimizer.learning_rate),
            **loss_scale.scalars(optimizer, now),
        }
        show(now, {**scalars, **facts})

    def on_monitor(now: int) -> None:
        found = {}
        if monitor is not None and is_chief:
            with session.evaluated():
                found = monitor()
        if found:
            show(now, found)
        if best is not None:
            keep.best(best, now, found.get(VALID_LOSS, math.nan))

    return loop.Hooks(log=on_log, save=keep.save, monitor=on_monitor, ran=progress.move)


class _Keeper:
    """Saves the checkpoints of a session, and keeps the best one."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def save(self, now: int) -> None:
        """Write a checkpoint of step ``now``."""
        session = self._session

        def write() -> None:
            if not session.workers.is_chief:
                checkpoints.take_part(session.checkpoint)
                return
            checkpoints.save(
                session.checkpoint,
                session.folder,
                step=now,
                config_json=run_folder.config_json(session.config),
                keep=session.config.training.keep_checkpoint_max,
            )

        session.workers.together(write)
        remote.changed(session.folder, at_once=True)  # the others do not wait for it
        session.workers.saved = now
        stopping.saved(f"step {now} is saved; the same command goes on from there")

    def best(self, best: BestCheckpoint, now: int, value: float) -> None:
        """Keep step ``now`` if its held-out loss is the lowest so far."""
        team, folder = self._session.workers, self._session.folder
        improves, exists = team.of_chief(
            [best.improves(value), folder.checkpoint_index(now).exists()]
        )
        if not improves:
            return
        if not exists:
            self.save(now)

        def offer() -> None:
            with best.holding(now):
                best.offer(now, value)

        team.by_chief(offer)


def cadence_of(
    config: Config,
    *,
    total_steps: int,
    steps_per_epoch: int,
    several_workers: bool,
    looks: bool = True,
) -> cadence.Cadence:
    """Return when the run logs, saves and evaluates online.

    Flags that were given are followed. Without such a flag, the first steps are logged
    and a line comes every few seconds. With the user's own images, whose epochs may be
    short, checkpoints and online evaluations that come too soon after the last one are
    left out. With several workers only steps count, because their clocks differ.
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
    """Return the number for the loop; auto is 1 on a CPU, where Python costs little."""
    if steps != "auto":
        return int(steps)
    tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    return 0 if tpu or tf.config.list_logical_devices("GPU") else 1


def _steps(epochs: float, steps_per_epoch: int) -> int:
    """Return the number of steps in ``epochs``: 0 for 0, else at least 1."""
    return max(1, round(epochs * steps_per_epoch)) if epochs else 0
