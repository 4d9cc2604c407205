"""The training loop: steps, cadence, averages. It is independent of SimCLR."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2 import stopping
from simclr_tf2.distribution import workers
from simclr_tf2.errors import NotFinite, Stopped
from simclr_tf2.training.agreement import Agreement
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
class Stage:
    """Steps whose elements have other shapes than those of the steps before.

    Attributes:
        start: Number of steps before the stage.
        make: Makes its elements in the order of steps, from ``start`` on.
    """

    start: int
    make: Callable[[], tf.distribute.DistributedDataset]


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
    variables: Sequence[tf.Variable] = (),
    measure_input: bool = True,
    later: Sequence[Stage] = (),
) -> None:
    """Run steps ``start_step + 1 .. total_steps``, each exactly once.

    Steps are run in chunks, each one call of a graph that loops; a chunk ends where a
    hook is due, so that its length shows in nothing but speed. Scalars are averaged
    over replicas and over the steps since the last log line. Time in hooks does not
    count as training time, nor does the first chunk, in which the graph is made: until
    there is another one, "images_per_second" is not among the scalars.

    The data may come in stages of other shapes. Each stage has a graph of its own, and
    its first chunk does not count as training time either. A chunk ends where a stage
    ends, so that stages show in nothing but their data.

    Several workers run chunks of the same length and stop at the same step
    (``agreement.py``). All of them save; worker 0 alone logs and monitors.

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
        variables: Weights that several workers must have in common.
        measure_input: Measure how long steps wait for their batch. Deterministic
            operations of TensorFlow exclude a clock.
        later: Stages after ``start_step``, ascending. Steps before the first of them
            take their elements from ``dataset``.

    Raises:
        NotFinite: A logged or about-to-be-saved loss is NaN or infinite.
        Stopped: A signal asked to stop; ``hooks.save`` has been called.
    """
    pace = _Pace(steps_per_loop)
    with stopping.StopRequest() as stopped:
        agreement = Agreement(strategy, workers(strategy), pace, stopped, variables)
        chunks = _Chunks(
            step,
            strategy,
            agreement,
            jit_compile=jit_compile,
            looped=steps_per_loop != 1,
            measure_input=measure_input,
        )
        window = _Window(chunks.names, examples_per_step, start_step)
        data, schedule = _Data(dataset, later), Schedule(cadence)
        now = start_step
        while now < cadence.total_steps:
            began = time.perf_counter()
            is_new = data.enter_stage(now)
            steps = min(agreement.steps, data.end(cadence.next_event(now)) - now)
            window.add(*chunks(data.iterator, steps))
            stopped.listen()  # from the first step on there is something to save
            window.settle()
            now += steps
            pace.ran(steps)
            hooks.ran(now)
            if is_new:
                window.leave_out(steps, began)
            stop_now = agreement.stops  # read once: what stops here is saved here
            if _call_hooks(hooks, schedule, window, now, stop=stop_now):
                pace.skip()
            if stop_now and now < cadence.total_steps:
                raise _stopped(now)
        if agreement.ends_with_stop():
            raise _stopped(now)


def _call_hooks(
    hooks: Hooks, schedule: Schedule, window: _Window, now: int, *, stop: bool
) -> bool:
    """Log, save and monitor, if due at step ``now``; return whether anything was due.

    Raises:
        NotFinite: A loss that is logged or would be saved is NaN or infinite.
    """
    log_due = schedule.log(now)
    save_due = schedule.save(now) or stop
    monitor_due = schedule.monitor(now)
    means = window.means(now) if log_due or save_due else {}
    began = time.perf_counter()
    if log_due:
        hooks.log(now, means | window.rates(now, began))
    if save_due:
        with schedule.saving():
            hooks.save(now)
    if monitor_due:
        with schedule.looking():
            hooks.monitor(now)
    window.called(now, began, logged=log_due)
    return log_due or save_due or monitor_due


def _stopped(step: int) -> Stopped:
    return Stopped(
        f"stopped by a signal at step {step} and saved; the same command goes on from "
        "there"
    )


class _Data:
    """The elements of the stage that is being trained.

    Attributes:
        iterator: The elements, in the order of steps.
    """

    def __init__(
        self, dataset: tf.distribute.DistributedDataset, later: Sequence[Stage]
    ) -> None:
        self.iterator: Iterator = iter(dataset)
        self._later = list(later)

    def end(self, at_most: int) -> int:
        """Return the last step of the stage, or ``at_most`` if that comes first."""
        return min([at_most, *(stage.start for stage in self._later)])

    def enter_stage(self, now: int) -> bool:
        """Go to the stage that begins after ``now`` steps; return whether one does."""
        if not self._later or now < self._later[0].start:
            return False
        del self.iterator  # so that its batches are freed before there are others
        self.iterator = iter(self._later.pop(0).make())
        return True


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
        agreement: Agreement,
        *,
        jit_compile: bool,
        looped: bool,
        measure_input: bool,
    ) -> None:
        self.names: list[str] = []
        self._strategy, self._agreement = strategy, agreement
        self._measures_input = measure_input
        if jit_compile and not isinstance(strategy, tf.distribute.TPUStrategy):
            step = tf.function(step, jit_compile=True, autograph=False)
        self._step = step  # on a TPU everything is compiled
        rows = self._loop if looped else self._once
        self._run = tf.function(
            lambda iterator, steps, signals: (
                *rows(iterator, steps),
                agreement.summed(signals),
            ),
            autograph=False,
        )

    def __call__(self, iterator: Iterator, steps: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Run a chunk of steps.

        Returns:
            Scalars ``[steps, names]``, float32, means over replicas; and the seconds
            that each step waited for its batch on this worker, float32 ``[steps]``.
        """
        # A tensor: another number of steps is not another graph.
        signals = self._agreement.signals()
        rows, waits, sums = self._run(iterator, tf.constant(steps), signals)
        self._agreement.launched(sums)
        return rows, waits

    def _once(self, iterator: Iterator, steps: tf.Tensor) -> tuple:
        row, wait = self._row(iterator)
        return row[tf.newaxis], wait[tf.newaxis]

    def _row(self, iterator: Iterator) -> tuple[tf.Tensor, tf.Tensor]:
        batch, wait = self._awaited(iterator)
        values = self._strategy.run(self._replica_step, args=(batch,))
        row = self._strategy.reduce(tf.distribute.ReduceOp.MEAN, values, axis=None)
        return row, wait

    def _awaited(self, iterator: Iterator) -> tuple[Any, tf.Tensor]:
        """Return the next batch, and the seconds until it came; NaN: not measured."""
        if not self._measures_input:
            return next(iterator), tf.constant(math.nan)
        began = tf.timestamp()
        with tf.control_dependencies([began]):
            batch = next(iterator)
        leaves = tf.nest.flatten(self._strategy.experimental_local_results(batch))
        with tf.control_dependencies(leaves):
            return batch, tf.cast(tf.timestamp() - began, tf.float32)

    def _loop(self, iterator: Iterator, steps: tf.Tensor) -> tuple:
        def body(
            index: tf.Tensor, rows: tf.TensorArray, waits: tf.TensorArray
        ) -> tuple:
            row, wait = self._row(iterator)
            return index + 1, rows.write(index, row), waits.write(index, wait)

        rows = tf.TensorArray(tf.float32, size=steps)
        waits = tf.TensorArray(tf.float32, size=steps, element_shape=[])
        _, rows, waits = tf.while_loop(
            lambda index, *_: index < steps,
            body,
            (tf.constant(0), rows, waits),
            parallel_iterations=1,
        )
        return rows.stack(), waits.stack()

    def _replica_step(self, batch: Any) -> tf.Tensor:
        scalars = self._step(batch)
        self.names[:] = sorted(scalars)
        return tf.stack([tf.cast(scalars[name], tf.float32) for name in self.names])


class _Window:
    """The results of the chunks since the last log line, and their times.

    Args:
        names: Of the columns, known once there is a chunk.
        examples_per_step: For the rate.
        start_step: Steps done before.
    """

    def __init__(
        self, names: list[str], examples_per_step: int, start_step: int
    ) -> None:
        self._names, self._examples = names, examples_per_step
        self._rows: list[Any] = []
        self._waits: list[Any] = []
        self._trained = start_step
        # The rate is counted from the end of the first chunk, which makes the graph.
        self._since: float | None = None

    def add(self, rows: tf.Tensor, waits: tf.Tensor) -> None:
        """Add the results of a chunk that was launched."""
        self._rows.append(rows)
        self._waits.append(waits)

    def settle(self) -> None:
        """Wait for the chunk before the last, while the last runs."""
        if len(self._rows) > 1:
            self._rows[-2] = np.asarray(self._rows[-2])

    def means(self, step: int) -> Scalars:
        """Return the averages of the scalars; wait for all chunks.

        Raises:
            NotFinite: One of them is NaN or infinite.
        """
        return _means(self._names, self._rows, step)

    def rates(self, step: int, now: float) -> Scalars:
        """Return images per second, and the share of the time that input was awaited.

        Empty if all chunks were such in which a graph is made.
        """
        if self._since is None or step == self._trained:
            return {}
        seconds = max(now - self._since, 1e-9)
        waited = sum(float(np.sum(waits)) for waits in self._waits)
        found = {"images_per_second": (step - self._trained) * self._examples / seconds}
        if math.isfinite(waited):
            found["input_wait"] = min(1.0, waited / seconds)
        return found

    def leave_out(self, steps: int, began: float) -> None:
        """Leave the last chunk out of the rates, which began to be made at ``began``.

        Its ``steps`` include the time in which a graph is made.
        """
        if self._since is None:  # nothing is measured yet
            return
        self._since += time.perf_counter() - began
        self._trained += steps
        self._waits.pop()

    def called(self, step: int, began: float, *, logged: bool) -> None:
        """Leave the time of hooks, which began at ``began``, out of the rates."""
        if logged:
            self._rows.clear()
        if logged or self._since is None:
            self._since, self._trained = time.perf_counter(), step
            self._waits.clear()
        else:
            self._since += time.perf_counter() - began


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
