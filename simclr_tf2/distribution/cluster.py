"""The workers of a run: their addresses, from --cluster or TF_CONFIG."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any

from simclr_tf2.config import DistributionConfig
from simclr_tf2.config.checks import is_address
from simclr_tf2.errors import ConfigError

VARIABLE = "TF_CONFIG"
# Task types that train in MultiWorkerMirroredStrategy; a chief is the first worker.
TRAINING_TASKS = ("chief", "worker")


@dataclass(frozen=True)
class Cluster:
    """The workers that train together, and which of them this process is.

    Attributes:
        addresses: host:port of each worker.
        index: Number of this worker; worker 0 writes the run folder.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes logs, results and exports."""
        return self.index == 0

    @property
    def own_port(self) -> int:
        """Port on which this worker listens."""
        return int(self.addresses[self.index].rpartition(":")[2])

    def title(self, index: int) -> str:
        """Return the name of a worker as messages show it."""
        return f"worker {index} ({self.addresses[index]})"

    def names(self, indices: Sequence[int]) -> str:
        """Return the names of some workers as messages show them."""
        return ", ".join(self.title(index) for index in indices)

    def check_own_port(self) -> None:
        """Refuse a port that another process of this machine listens on.

        Raises:
            ConfigError: The port is in use.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                own.bind(("", self.own_port))
            except OSError as error:
                raise ConfigError(
                    f"{self.title(self.index)}: port {self.own_port} cannot be opened "
                    f"({error.strerror}); end the process that uses it, or choose "
                    "another port on all workers"
                ) from error

    def unreachable(self, *, seconds: float = 2.0) -> list[int]:
        """Return the other workers whose port does not accept a connection.

        Args:
            seconds: Time limit for each of them.
        """
        others = [i for i in range(len(self.addresses)) if i != self.index]
        with futures.ThreadPoolExecutor(max_workers=64) as pool:
            accept = pool.map(lambda i: _accepts(self.addresses[i], seconds), others)
            return [i for i, accepts in zip(others, accept, strict=True) if not accepts]


def cluster_of(config: DistributionConfig) -> Cluster | None:
    """Return the workers of ``--cluster`` or of TF_CONFIG; None if neither is given.

    Raises:
        ConfigError: TF_CONFIG is malformed, or names no training task.
    """
    if config.cluster:
        assert config.task_index is not None
        return Cluster(tuple(config.cluster), config.task_index)
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    return _from_tf_config(text)


def training_cluster(config: DistributionConfig) -> Cluster | None:
    """Return the workers that a training run joins; None if it runs alone.

    It runs alone if the flags ask for devices of this machine or for a TPU, or if no
    other worker is listed.

    Raises:
        ConfigError: As ``cluster_of``.
    """
    asked_for_tpu = config.use_tpu or config.tpu_name or config.master
    joins = config.strategy == "multi_worker" or (
        config.strategy == "auto" and not asked_for_tpu
    )
    cluster = cluster_of(config) if joins else None
    return cluster if cluster is not None and len(cluster.addresses) > 1 else None


def _from_tf_config(text: str) -> Cluster | None:
    """Read TF_CONFIG; None if it lists no workers, as single-machine launchers do."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise _refused(f"it is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise _refused("it must be a JSON object")
    cluster, task = found.get("cluster", {}), found.get("task", {})
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise _refused('"cluster" and "task" must be JSON objects')
    addresses: list[str] = []
    start: dict[str, int] = {}
    for kind in TRAINING_TASKS:
        listed = cluster.get(kind, [])
        if not isinstance(listed, list) or not all(map(is_address, listed)):
            raise _refused(f'"{kind}" must be a list of "host:port"')
        start[kind] = len(addresses)
        addresses += listed
    if not addresses:
        return None
    return Cluster(tuple(addresses), _own_index(task, start, cluster))


def _own_index(
    task: dict[str, Any], start: dict[str, int], cluster: dict[str, Any]
) -> int:
    """Return the number of this worker, counted over chief and workers."""
    kind, index = task.get("type"), task.get("index")
    if kind is None or index is None:
        raise _refused('"task" must have "type" and "index"')
    if kind not in start:
        raise _refused(
            f'a task of type "{kind}" does not train; only {" and ".join(start)} do '
            "(an evaluator runs --mode=eval)"
        )
    count = len(cluster.get(kind, []))
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
        raise _refused(
            f'the index {index!r} of "task" is not one of the {count} of type "{kind}"'
        )
    return start[kind] + index


def _refused(why: str) -> ConfigError:
    return ConfigError(
        f"the environment variable {VARIABLE} cannot be used: {why}. Correct it, unset "
        "it, or name the workers with --cluster=host:port,host:port --task_index=N"
    )


def _accepts(address: str, seconds: float) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=seconds):
            return True
    except OSError:
        return False
