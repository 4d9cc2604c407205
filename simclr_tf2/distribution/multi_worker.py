"""MultiWorkerMirroredStrategy with time limits and errors that name a worker."""

from __future__ import annotations

import logging
import re
import time
import weakref
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2.config import DistributionConfig
from simclr_tf2.distribution.cluster import Cluster
from simclr_tf2.errors import ConfigError, RunFailed

logger = logging.getLogger(__name__)

# TensorFlow asks every worker whether it is alive. A worker that does not answer is
# noticed after at most CHECK_SECONDS + TRIES * ANSWER_SECONDS.
CHECK_SECONDS, ANSWER_SECONDS, TRIES = 5, 6, 2
# The signals that a worker gives when another one ends.
_LOSS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)
_OF_THE_NETWORK = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
_IMPLEMENTATIONS = {"auto": "AUTO", "ring": "RING", "nccl": "NCCL"}
PROBE_SECONDS = 5.0
# Number of the group of all hosts, and of its first exchange; TensorFlow counts the
# groups and operations of a strategy from 1.
GROUP = 1 << 28
_CLUSTERS: weakref.WeakKeyDictionary[tf.distribute.Strategy, Cluster] = (
    weakref.WeakKeyDictionary()
)


def multi_worker_strategy(
    config: DistributionConfig, cluster: Cluster
) -> tf.distribute.Strategy:
    """Join the other workers.

    Raises:
        ConfigError: The port of this worker is in use, or a worker did not come within
            ``--worker_timeout``.
    """
    cluster.check_own_port()
    _prepare_tensorflow(config.worker_timeout)
    gpus = len(tf.config.get_visible_devices("GPU"))  # does not start them
    if not gpus and config.num_virtual_devices > 1:
        _use_virtual_devices(config.num_virtual_devices)
    logger.info(
        "waiting for %s, up to %d seconds",
        cluster.names([i for i in range(len(cluster.addresses)) if i != cluster.index]),
        config.worker_timeout,
    )
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.index,
        num_accelerators={"GPU": gpus},
        rpc_layer="grpc",
    )
    options = tf.distribute.experimental.CommunicationOptions(
        bytes_per_pack=config.gradient_pack_mib << 20,
        implementation=getattr(
            tf.distribute.experimental.CommunicationImplementation,
            _IMPLEMENTATIONS[config.communication],
        ),
    )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(
            cluster_resolver=resolver, communication_options=options
        )
        _require_equal_devices(strategy, cluster, config.worker_timeout)
        strategy.extended._start_check_health_thread()
        # At the end of the process TensorFlow would wait for this thread, which may
        # itself be waiting for a worker that hangs.
        strategy.extended._check_health_thread = None
    except (RuntimeError, tf.errors.OpError) as error:
        raise _nobody_came(cluster, config.worker_timeout, error) from error
    _CLUSTERS[strategy] = cluster
    return strategy


def _require_equal_devices(
    strategy: tf.distribute.Strategy, cluster: Cluster, timeout: int
) -> None:
    """Wait for all workers, and refuse unequal numbers of devices.

    With those, TensorFlow's own operations over devices wait forever.

    Raises:
        ConfigError: Names the numbers of devices.
    """
    own = np.array([len(strategy.extended.worker_devices)], np.int32)
    count = len(cluster.addresses)
    found = gather_on_hosts(own, count, number=0, timeout=timeout)
    if len(set(found)) > 1:
        listed = ", ".join(f"{n} at worker {i}" for i, n in enumerate(found))
        raise ConfigError(
            f"the workers have different numbers of devices: {listed}. Give all of "
            "them the same --visible_devices and --num_virtual_devices"
        )


def gather_on_hosts(
    row: np.ndarray, count: int, *, number: int, timeout: int = 0
) -> np.ndarray:
    """Join arrays ``[n]`` of all workers to ``[workers * n]``, by way of the hosts.

    Args:
        row: The array of this worker; n is the same on all.
        count: Number of workers.
        number: Of this exchange, the same on all workers, each used once.
        timeout: Seconds to wait; 0: no limit.
    """
    with tf.device("/cpu:0"):
        joined: np.ndarray = tf.raw_ops.CollectiveGatherV2(
            input=row,
            group_size=count,
            group_key=GROUP,
            instance_key=GROUP + number,
            ordering_token=[],
            communication_hint="ring",
            timeout_seconds=timeout,
        ).numpy()
    return joined


def cluster_of_strategy(strategy: tf.distribute.Strategy) -> Cluster | None:
    """Return the workers that a strategy joins; None for this machine alone."""
    return _CLUSTERS.get(strategy)


def _prepare_tensorflow(timeout: int) -> None:
    """Set the time limits of TensorFlow, before its server starts.

    Its coordination service is left off: while a worker waits for the others there, no
    signal and no time limit ends it (measured, TensorFlow 2.21), and it takes over
    SIGTERM. Without it TensorFlow checks the health of workers itself.
    """
    from tensorflow.python.distribute import collective_all_reduce_strategy
    from tensorflow.python.eager import context

    context.context().configure_coordination_service(service_type="")
    extended = collective_all_reduce_strategy.CollectiveAllReduceExtended
    extended._enable_check_health = False  # starts when all workers are there
    extended._check_health_initial_timeout = timeout
    extended._check_health_interval = CHECK_SECONDS
    extended._check_health_timeout = ANSWER_SECONDS
    extended._check_health_retry_limit = TRIES
    tf.get_logger().addFilter(_without_health_checks)


def _use_virtual_devices(count: int) -> None:
    """Let a worker use all its logical CPUs, of which TensorFlow takes the first."""
    from tensorflow.python.distribute import collective_all_reduce_strategy

    def local_devices(_: Any, __: Any, worker: str) -> tuple[tuple[str, ...], str]:
        return tuple(f"{worker}/device:CPU:{i}" for i in range(count)), "CPU"

    extended = collective_all_reduce_strategy.CollectiveAllReduceExtended
    extended._initialize_local_devices = local_devices


def _without_health_checks(record: logging.LogRecord) -> bool:
    """Leave out the lines of health checks; ``lost_worker`` says the same once."""
    text = record.getMessage()
    return "seems down, retrying" not in text and "Cluster check alive" not in text


def _nobody_came(cluster: Cluster, timeout: int, error: Exception) -> ConfigError:
    """Return the error of a start at which workers are missing."""
    timed_out = isinstance(error, tf.errors.DeadlineExceededError)
    if not timed_out and "Timeout waiting" not in str(error):
        return ConfigError(
            f"{cluster.title(cluster.index)} cannot join the others: {_reason(error)}"
        )
    missing = cluster.unreachable()
    if missing:
        return ConfigError(
            f"{cluster.names(missing)} did not come within --worker_timeout={timeout} "
            "seconds; start the same command on every worker, and check addresses and "
            "firewall"
        )
    return ConfigError(
        f"the workers did not all join within --worker_timeout={timeout} seconds, and "
        "all of them accept connections: end all of them, look for a worker of an "
        "earlier start that still runs, and start again"
    )


def is_of_workers(error: BaseException) -> bool:
    """Return whether an error of TensorFlow may be due to another worker."""
    return isinstance(error, _LOSS)


def lost_worker(cluster: Cluster, error: BaseException, saved: int) -> RunFailed | None:
    """Return the error of a run that another worker has left, or None if none has.

    Args:
        cluster: The workers.
        error: What TensorFlow raised.
        saved: Step of the last checkpoint; 0: there is none.
    """
    named = re.search(r"task:(\d+) is down", str(error))
    gone = [int(named[1])] if named else _probed(cluster)
    if gone:
        what = f"{cluster.names(gone)} is lost or does not answer: see its log"
    elif isinstance(error, _OF_THE_NETWORK):
        what = f"the workers lost their connection ({_reason(error)})"
    else:
        return None
    remedy = (
        f"step {saved} is saved: start the same command on all workers, and they go on "
        "from there"
        if saved
        else "nothing is saved yet: the same command on all workers starts from step 0"
    )
    return RunFailed(f"{what}. {remedy[0].upper()}{remedy[1:]}")


def _probed(cluster: Cluster) -> list[int]:
    """Return the workers that accept no connection, once one of them does not."""
    end = time.monotonic() + PROBE_SECONDS
    while True:
        gone = cluster.unreachable()
        if gone or time.monotonic() > end:
            return gone
        time.sleep(0.5)


def _reason(error: BaseException) -> str:
    """Return the line of an error that says why, without names of operations."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    names = ("[[{{node", "Detected at", "File ", "Graph execution error", "(0)", "(1)")
    said = [line for line in lines if not line.startswith(names)]
    return (said[-1] if said else type(error).__name__)[:160]
