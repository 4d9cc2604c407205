"""What several workers agree on at each chunk of steps: its length, and the stop.

Every worker sends a few numbers with a chunk. They are summed in the graph of the chunk
and read while the next one runs, so that agreeing costs no waiting. All workers read
the same sums after the same chunk, and so do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from simclr_tf2.distribution import Workers
from simclr_tf2.errors import RunFailed

# Numbers that a worker sends: whether it was asked to stop, whether its weights differ,
# and, from worker 0, the length of chunks.
STOP, DIFFERS, LENGTH = range(3)
SIGNALS = 3
PARTS = 4  # of the weights, whose norms are compared
# [ours] Relative difference of a norm between workers. LARS and batch norm round
# differently on processors of different types; that stays below. Smaller differences
# are not found here: digests are compared before the first step.
TOLERANCE = 1e-4


class StopRequest(Protocol):
    """A request to stop, from a signal."""

    def is_set(self) -> bool:
        """Return whether to stop."""


class Pace(Protocol):
    """What chooses the length of a chunk."""

    def steps(self) -> int:
        """Return the maximum number of steps of the next chunk."""


class Agreement:
    """The length of the next chunk and the stop, the same on all workers.

    Args:
        strategy: The strategy of the training.
        workers: Its workers.
        pace: Chooses the length of chunks from the times of this worker.
        stop: The request to stop that this worker got.
        variables: Weights that all workers must have in common.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        workers: Workers,
        pace: Pace,
        stop: StopRequest,
        variables: Sequence[tf.Variable] = (),
    ) -> None:
        self._strategy, self._workers = strategy, workers
        self._pace, self._stop = pace, stop
        self._variables = [v for v in variables if v.dtype.is_floating]
        self._length = pace.steps()
        self._stops = self._differs = False
        self._unread: tf.Tensor | None = None
        self._norms = np.zeros(PARTS, np.float32)

    @property
    def steps(self) -> int:
        """Maximum number of steps of the next chunk."""
        return self._pace.steps() if self._workers.count == 1 else self._length

    @property
    def stops(self) -> bool:
        """Whether to save and stop after the chunk that was launched last."""
        return self._stop.is_set() if self._workers.count == 1 else self._stops

    def signals(self) -> tf.Tensor:
        """Return what this worker sends with the next chunk, float32 [SIGNALS]."""
        length = self._pace.steps() if self._workers.is_chief else 0
        return tf.constant(
            [float(self._stop.is_set()), float(self._differs), float(length)]
        )

    def summed(self, signals: tf.Tensor) -> tf.Tensor:
        """Sum signals and norms over replicas, at the end of a chunk and in its graph.

        Returns:
            float32 [SIGNALS + 2 * PARTS]: sums of the signals, sums of the norms, and
            the norms of this worker. Empty with one worker.
        """
        if self._workers.count == 1:
            return tf.zeros([0])

        def replica() -> tf.Tensor:
            norms = [self._norm(self._variables[i::PARTS]) for i in range(PARTS)]
            return tf.concat([signals, tf.stack(norms)], axis=0)

        each = self._strategy.run(replica)
        sums = self._strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None)
        own = self._strategy.experimental_local_results(each)[0]
        return tf.concat([sums, own[SIGNALS:]], axis=0)

    def launched(self, sums: tf.Tensor) -> None:
        """Read the sums of the chunk before the one that was just launched.

        Args:
            sums: Result of ``summed`` in the chunk that was just launched.

        Raises:
            RunFailed: A worker trains other weights than the rest.
        """
        if self._workers.count == 1:
            return
        before, self._unread = self._unread, sums
        if before is not None:
            self._read(before.numpy())

    def ends_with_stop(self) -> bool:
        """Return whether any worker was asked to stop by the last step.

        Raises:
            RunFailed: A worker has trained other weights than the rest.
        """
        if self._workers.count == 1:
            return self._stop.is_set()
        if self._unread is not None:
            self._read(self._unread.numpy())
        self._require_equal_norms()
        return any(self._workers.exchange(self._stop.is_set()))

    def _read(self, sums: np.ndarray) -> None:
        replicas = self._strategy.num_replicas_in_sync
        share = replicas // self._workers.count
        self._norms = sums[SIGNALS + PARTS :]
        if sums[DIFFERS]:
            self._require_equal_norms()
        self._stops = bool(sums[STOP])
        self._length = max(1, round(float(sums[LENGTH]) / share))
        mean = sums[SIGNALS : SIGNALS + PARTS] / replicas
        self._differs = _differ(self._norms, mean)

    def _require_equal_norms(self) -> None:
        """Raise if the last norms of a worker differ from those of the middle one."""
        each = np.array(self._workers.exchange([float(x) for x in self._norms]))
        middle = np.sort(each, axis=0)[len(each) // 2]
        others = [i for i, norms in enumerate(each) if _differ(norms, middle)]
        if others:
            raise RunFailed(
                f"{self._workers.names(others)} trains other weights than the rest; "
                "start the same command again on all workers: they go on from the last "
                "checkpoint"
            )

    @staticmethod
    def _norm(variables: Sequence[tf.Variable]) -> tf.Tensor:
        """Return the sum of absolute values, float32; 0 without variables."""
        sums = [tf.reduce_sum(tf.abs(tf.cast(v, tf.float32))) for v in variables]
        return tf.add_n(sums) if sums else tf.constant(0.0)


def _differ(norms: np.ndarray, usual: np.ndarray) -> bool:
    """Return whether norms differ; one that is not finite is reported with the loss."""
    return bool(np.any(np.abs(norms - usual) > TOLERANCE * np.abs(usual)))
