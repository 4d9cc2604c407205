"""What the workers of a run tell one another: agreed values, refusals, the end."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from simclr_tf2.config import DistributionConfig
from simclr_tf2.distribution.cluster import Cluster, training_cluster
from simclr_tf2.distribution.multi_worker import (
    cluster_of_strategy,
    gather_on_hosts,
    is_of_workers,
    lost_worker,
)
from simclr_tf2.distribution.strategies import training_strategy
from simclr_tf2.errors import ConfigError, NotFinite, RunFailed, Stopped

T = TypeVar("T")
_ERRORS = {kind.__name__: kind for kind in (ConfigError, RunFailed, NotFinite, Stopped)}
MOST_NAMED = 3  # differences in one message
_TEAMS: dict[tf.distribute.Strategy, Workers] = {}


def workers(strategy: tf.distribute.Strategy) -> Workers:
    """Return the workers of a strategy: one, or those of its cluster.

    The same strategy has the same object, which counts what was exchanged.
    """
    if strategy not in _TEAMS:
        _TEAMS[strategy] = Workers(strategy, cluster_of_strategy(strategy))
    return _TEAMS[strategy]


def joined(config: DistributionConfig) -> Workers:
    """Join the workers of a training run; make no strategy if it runs alone.

    Raises:
        ConfigError: The other workers cannot be used.
    """
    if training_cluster(config) is None:
        return Workers(None, None)
    return workers(training_strategy(config))


class Workers:
    """The processes that train together under one strategy.

    With one worker nothing is sent, and every method returns at once.

    Args:
        strategy: The strategy of the training; None only with one worker.
        cluster: Its workers; None: this process alone.
    """

    def __init__(
        self, strategy: tf.distribute.Strategy | None, cluster: Cluster | None
    ) -> None:
        self._strategy, self._cluster = strategy, cluster
        self._exchanges = 0
        self.saved = 0  # step of the last checkpoint, for the message about a loss

    @property
    def count(self) -> int:
        """Number of workers."""
        return len(self._cluster.addresses) if self._cluster else 1

    @property
    def index(self) -> int:
        """Number of this worker, from 0."""
        return self._cluster.index if self._cluster else 0

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes logs, results and exports."""
        return self.index == 0

    def exchange(self, value: Any) -> list[Any]:
        """Send a value to all workers; return the values of all, by worker.

        Every worker must call this the same number of times. It returns when the
        slowest has come.

        Args:
            value: Anything that JSON can hold.

        Raises:
            RunFailed: A worker is lost.
        """
        if self.count == 1:
            return [value]
        with self.explaining():
            return [json.loads(text) for text in self._gathered(json.dumps(value))]

    def together(self, make: Callable[[], T]) -> T:
        """Call ``make`` on every worker; raise on all of them if it fails on one.

        Returns:
            What ``make`` returns here.

        Raises:
            ConfigError, RunFailed, NotFinite: As one of the workers did.
        """
        if self.count == 1:
            return make()
        try:
            made = make()
        except Exception as error:
            self.exchange({"kind": type(error).__name__, "text": str(error)})
            raise
        self._raise_theirs(self.exchange(None))
        return made

    def by_chief(self, make: Callable[[], T]) -> T | None:
        """Call ``make`` on worker 0 while the others wait.

        Returns:
            What ``make`` returns; None on the other workers.
        """
        return self.together(make if self.is_chief else lambda: None)

    def of_chief(self, value: Any) -> Any:
        """Return the value of worker 0 on every worker; JSON must hold it."""
        return self.exchange(value)[0]

    def require_equal(self, facts: Mapping[str, Any]) -> None:
        """Raise on every worker unless all have the same facts.

        Args:
            facts: Name -> value, as it is shown if workers differ.

        Raises:
            ConfigError: Names what differs, and the values by worker.
        """
        found = self.exchange(dict(facts))
        names = dict.fromkeys(name for one in found for name in one)
        first = found[0]
        different = [
            name
            for name in names
            if any(one.get(name) != first.get(name) for one in found)
        ]
        if not different:
            return
        listed = [_difference(name, found) for name in different[:MOST_NAMED]]
        if len(different) > MOST_NAMED:
            listed.append(f"and {len(different) - MOST_NAMED} more")
        raise ConfigError(
            f"the workers do not agree: {'; '.join(listed)}. Start all workers with "
            "the same flags, program and data"
        )

    def devices(self) -> dict[str, Any]:
        """Return the kind and the number of the devices of this worker, as facts."""
        assert self._strategy is not None
        devices = self._strategy.extended.worker_devices
        kind = tf.DeviceSpec.from_string(devices[0]).device_type
        return {"kind of devices": kind, "number of devices": len(devices)}

    def names(self, indices: Sequence[int]) -> str:
        """Return the names of some workers as messages show them."""
        return self._cluster.names(indices) if self._cluster else "this worker"

    @contextlib.contextmanager
    def explaining(self) -> Iterator[None]:
        """Raise an error that names the lost worker for TensorFlow's own.

        Raises:
            RunFailed: A worker is lost.
        """
        try:
            yield
        except tf.errors.OpError as error:
            explained = self._explained(error)
            if explained is None:
                raise
            raise explained from error

    def _explained(self, error: tf.errors.OpError) -> Exception | None:
        if self._cluster is None or not is_of_workers(error):
            return None
        return lost_worker(self._cluster, error, self.saved)

    def _raise_theirs(self, answers: Sequence[dict[str, str] | None]) -> None:
        for index, answer in enumerate(answers):
            if answer is not None:
                assert self._cluster is not None
                kind = _ERRORS.get(answer["kind"], RunFailed)
                text = answer["text"] or answer["kind"]
                raise kind(f"{self._cluster.title(index)}: {text}")

    def _gathered(self, text: str) -> list[str]:
        """Gather a text of each worker: first its length, then its bytes."""
        own = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
        lengths = self._gather(np.array([len(own)], np.int32))
        padded = np.pad(own, (0, int(lengths.max()) - len(own)))
        rows = self._gather(padded).reshape(self.count, -1)
        return [
            row[:length].astype(np.uint8).tobytes().decode()
            for row, length in zip(rows, lengths, strict=True)
        ]

    def _gather(self, row: np.ndarray) -> np.ndarray:
        """Join arrays ``[n]`` of all workers to ``[workers * n]``."""
        self._exchanges += 1
        return gather_on_hosts(row, self.count, number=self._exchanges)


def _difference(name: str, found: Sequence[Mapping[str, Any]]) -> str:
    """Return "train_batch_size is 64 on worker 0, 32 on worker 1"."""
    by_value: dict[str, list[int]] = {}
    for index, facts in enumerate(found):
        by_value.setdefault(str(facts.get(name, "not set")), []).append(index)
    parts = [
        f"{value} on worker{'s' if len(indices) > 1 else ''} "
        f"{', '.join(map(str, indices))}"
        for value, indices in by_value.items()
    ]
    return f"{name} is {', '.join(parts)}"
