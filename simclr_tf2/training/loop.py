"""The training loop: steps, cadence, averages. It is independent of SimCLR."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2 import stopping
from simclr_tf2.errors import NotFinite, Stopped
from simclr_tf2.training.cadence import Cadence, Schedule

logger = logging.getLogger(__name__)

Scalars = dict[str, float]
# What one replica does with one element of the data: scalars to average.
Step = Callable[[dict[str, Any]], dict[str, tf.Tensor]]
# A signal waits for the end of a chunk, so it is short; what the host does between two
# of them takes about a millisecond.
CHUNK_SECONDS = 1.0
MOST_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Callbacks of the loop: log line, checkpoint and online evaluation.

    ``ran`` is called after each chunk of steps; it must not wait for a device.
    """

    log: Callable[[int, Scalars], None]
    save: Callable[[int], None]
    monitor: Callable[[int], None]
    ran: Callable[[int], None] = lambda _: None


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
    steps_per_loop: int = 0,
) -> None:
    """Run steps ``start_step + 1 .. total_steps``, each exactly once.

    Steps are run in chunks, each one call of a graph that loops; a chunk ends where a
    hook is due, so that its length shows in nothing but speed. Scalars are averaged
    over replicas and over the steps since the last log line. Time in hooks does not
    count as training time, nor does the first chunk, in which the graph is made: until
    there is another one, "images_per_second" is not among the scalars.

    Args:
        step: What one replica does with one element.
        dataset: Elements in the order of steps, from ``start_step`` on.
        strategy: Where it runs.
        cadence: When hooks are due.
        hooks: What they are.
        examples_per_step: For the rate in the log.
        start_step: Steps done before.
        jit_compile: Let XLA compile the step.
        steps_per_loop: Steps of a chunk at most; 0: as many as last ``CHUNK_SECONDS``,
            up to ``MOST_STEPS``. A signal is heard at the end of a chunk.

    Raises:
        NotFinite: A logged or about-to-be-saved loss is NaN or infinite.
        Stopped: A signal asked to stop; ``hooks.save`` has been called.
    """
    chunk = _Chunks(step, strategy, jit_compile=jit_compile, looped=steps_per_loop != 1)
    pace = _Pace(steps_per_loop)
    iterator = iter(dataset)
    window: list[Any] = []
    now = trained = start_step
    schedule = Schedule(cadence)
    since: float | None = None  # the rate is counted from the end of the first chunk
    with stopping.StopRequest() as stopped:
        while now < cadence.total_steps:
            steps = min(pace.steps(), cadence.next_event(now) - now)
            window.append(chunk(iterator, steps))
            stopped.listen()  # from the first step on there is something to save
            if len(window) > 1:  # waits for the chunk before, while this one runs
                window[-2] = np.asarray(window[-2])
            now += steps
            pace.ran(steps)
            hooks.ran(now)
            log_due = schedule.log(now)
            stop_now = stopped.is_set()  # read once: what stops here is saved here
            save_due = schedule.save(now) or stop_now
            monitor_due = schedule.monitor(now)
            if log_due or save_due:
                means = _means(chunk.names, window, now)
            hooks_began = time.perf_counter()
            if log_due:
                if since is not None:
                    seconds = hooks_began - since
                    rate = (now - trained) * examples_per_step / max(seconds, 1e-9)
                    means["images_per_second"] = rate
                hooks.log(now, means)
                window.clear()
            if save_due:
                with schedule.saving():
                    hooks.save(now)
            if monitor_due:
                with schedule.looking():
                    hooks.monitor(now)
            if log_due or since is None:
                since, trained = time.perf_counter(), now
            else:
                since += time.perf_counter() - hooks_began
            if log_due or save_due or monitor_due:
                pace.skip()
            if stop_now and now < cadence.total_steps:
                raise _stopped(now)
    if stopped.is_set():
        raise _stopped(now)


def _stopped(step: int) -> Stopped:
    return Stopped(
        f"stopped by a signal at step {step} and saved; the same command goes on from "
        "there"
    )


class _Pace:
    """The number of steps that the next chunk should have."""

    def __init__(self, fixed: int) -> None:
        self._fixed, self._steps = fixed, fixed or 1
        self._since = time.perf_counter()

    def steps(self) -> int:
        """Return the maximum number of steps of the next chunk."""
        return self._steps

    def ran(self, steps: int) -> None:
        """Learn from a chunk that was just run; it may have been shorter than asked."""
        seconds = time.perf_counter() - self._since
        if not self._fixed:
            fitting = int(steps * CHUNK_SECONDS / max(seconds, 1e-9))
            # Doubling at most: the first chunks run ahead of a device and look fast.
            self._steps = max(1, min(fitting, 2 * self._steps, MOST_STEPS))
        self.skip()

    def skip(self) -> None:
        """Leave the time since the last chunk out of the measurement."""
        self._since = time.perf_counter()


class _Chunks:
    """``step`` on every replica, several times, as one graph call that is traced once.

    Without ``looped`` a chunk is one step, and its graph has no loop around it, which
    takes less time to trace and to optimise. Both graphs are the same mathematics,
    rounded in places differently.

    Attributes:
        names: Of the scalars, in the order of columns; known after the first call.
    """

    def __init__(
        self,
        step: Step,
        strategy: tf.distribute.Strategy,
        *,
        jit_compile: bool,
        looped: bool,
    ) -> None:
        self.names: list[str] = []
        self._strategy = strategy
        if jit_compile and not isinstance(strategy, tf.distribute.TPUStrategy):
            step = tf.function(step, jit_compile=True, autograph=False)
        self._step = step  # on a TPU everything is compiled
        self._run = tf.function(self._loop if looped else self._once, autograph=False)

    def __call__(self, iterator: Iterator, steps: int) -> tf.Tensor:
        """Return scalars ``[steps, names]``, float32, means over replicas."""
        # A tensor: another number of steps is not another graph.
        return self._run(iterator, tf.constant(steps))

    def _once(self, iterator: Iterator, steps: tf.Tensor) -> tf.Tensor:
        return self._row(iterator)[tf.newaxis]

    def _row(self, iterator: Iterator) -> tf.Tensor:
        values = self._strategy.run(self._replica_step, args=(next(iterator),))
        return self._strategy.reduce(tf.distribute.ReduceOp.MEAN, values, axis=None)

    def _loop(self, iterator: Iterator, steps: tf.Tensor) -> tf.Tensor:
        def body(index: tf.Tensor, rows: tf.TensorArray) -> tuple:
            return index + 1, rows.write(index, self._row(iterator))

        rows = tf.TensorArray(tf.float32, size=steps)
        _, rows = tf.while_loop(
            lambda index, _: index < steps,
            body,
            (tf.constant(0), rows),
            parallel_iterations=1,
        )
        return rows.stack()

    def _replica_step(self, batch: Any) -> tf.Tensor:
        scalars = self._step(batch)
        self.names[:] = sorted(scalars)
        return tf.stack([tf.cast(scalars[name], tf.float32) for name in self.names])


def _means(names: list[str], window: list[Any], step: int) -> Scalars:
    """Return the average over the window; refuse what is not finite."""
    rows = np.concatenate([np.asarray(chunk) for chunk in window]).astype(np.float64)
    means = {name: float(np.mean(rows[:, i])) for i, name in enumerate(names)}
    bad = [name for name, value in means.items() if not math.isfinite(value)]
    if bad:
        raise NotFinite(
            f"{', '.join(bad)} not finite at or before step {step}; the last "
            "checkpoint is intact. Try a lower --learning_rate, a longer "
            "--warmup_epochs or --mixed_precision=off"
        )
    return means
