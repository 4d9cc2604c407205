"""The training loop: steps, cadence, averages. It knows no word of SimCLR."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from simclr_tf2.training.errors import NotFinite, Stopped
from simclr_tf2.training.steps import Step

logger = logging.getLogger(__name__)

Scalars = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """Steps in all, and steps between events (0: never)."""

    total_steps: int
    log_every: int
    checkpoint_every: int
    monitor_every: int = 0

    def due(self, every: int, step: int) -> bool:
        """Whether an event is due after ``step`` steps; the last step counts."""
        return every > 0 and (step % every == 0 or step == self.total_steps)


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the loop calls: at a log line, a checkpoint and a look at the model."""

    log: Callable[[int, Scalars], None]
    save: Callable[[int], None]
    monitor: Callable[[int], None]


def train(
    step: Step,
    dataset: tf.distribute.DistributedDataset,
    *,
    strategy: tf.distribute.Strategy,
    cadence: Cadence,
    hooks: Hooks,
    examples_per_step: int,
    start_step: int = 0,
    jit_compile: bool = False,
) -> None:
    """Run steps ``start_step + 1 .. total_steps``, each exactly once.

    Scalars are averaged over replicas and over the steps since the last log line; they
    stay on the device until then. Time in hooks does not count as training time.

    Raises:
        NotFinite: A logged or about-to-be-saved loss is NaN or infinite.
        Stopped: A signal asked to stop; ``hooks.save`` has been called.
    """
    run_step = _distributed(step, strategy, jit_compile=jit_compile)
    iterator = iter(dataset)
    window: list[dict[str, tf.Tensor]] = []
    trained, since = start_step, time.perf_counter()
    with _stop_signals() as stopped:
        for now in range(start_step + 1, cadence.total_steps + 1):
            window.append(run_step(iterator))
            log_due = cadence.due(cadence.log_every, now)
            stopping = stopped.is_set()  # read once: what stops here is saved here
            save_due = cadence.due(cadence.checkpoint_every, now) or stopping
            if log_due or save_due:
                means = _means(window, now)
            if log_due:
                seconds = time.perf_counter() - since
                rate = (now - trained) * examples_per_step / max(seconds, 1e-9)
                hooks.log(now, {**means, "images_per_second": rate})
                window.clear()
                trained = now
            if save_due:
                hooks.save(now)
            if cadence.due(cadence.monitor_every, now):
                hooks.monitor(now)
            if log_due:
                since = time.perf_counter()
            if stopping and now < cadence.total_steps:
                raise Stopped(
                    f"stopped by a signal at step {now} and saved; "
                    "the same command goes on from there"
                )


def _distributed(
    step: Step, strategy: tf.distribute.Strategy, *, jit_compile: bool
) -> Callable[[Iterator], dict[str, tf.Tensor]]:
    """``step`` on every replica, its scalars averaged, as one graph call."""
    names: list[str] = []
    compiled = (
        tf.function(step, jit_compile=True, autograph=False) if jit_compile else step
    )

    def replica_step(batch):
        scalars = compiled(batch)
        names[:] = sorted(scalars)
        return tf.stack([tf.cast(scalars[name], tf.float32) for name in names])

    @tf.function(autograph=False)
    def run_step(iterator):
        values = strategy.run(replica_step, args=(next(iterator),))
        mean = strategy.reduce(tf.distribute.ReduceOp.MEAN, values, axis=None)
        return dict(zip(names, tf.unstack(mean), strict=True))

    return run_step


def _means(window: list[dict[str, tf.Tensor]], step: int) -> Scalars:
    """Average over the window; refuses what is not finite."""
    means = {k: float(np.mean([float(s[k]) for s in window])) for k in window[0]}
    bad = [name for name, value in means.items() if not math.isfinite(value)]
    if bad:
        raise NotFinite(
            f"{', '.join(bad)} not finite at or before step {step}; the last "
            "checkpoint is intact. Try a lower --learning_rate, a longer "
            "--warmup_epochs or --mixed_precision=off"
        )
    return means


@contextmanager
def _stop_signals():
    """An event that SIGTERM or Ctrl-C sets; a second Ctrl-C interrupts at once."""
    stopped = threading.Event()

    def ask(number, _frame):
        if stopped.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        logger.warning("signal %d: finishing this step and saving", number)
        stopped.set()

    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
