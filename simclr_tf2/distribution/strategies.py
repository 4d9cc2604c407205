"""The choice of a strategy: which devices a run uses, and how they are joined."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import importlib.util
import logging
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from simclr_tf2.config import DistributionConfig
from simclr_tf2.distribution.cluster import (
    VARIABLE,
    Cluster,
    cluster_of,
    training_cluster,
)
from simclr_tf2.distribution.multi_worker import multi_worker_strategy
from simclr_tf2.errors import ConfigError

logger = logging.getLogger(__name__)

_SHARED: dict[tuple[DistributionConfig, Cluster | None], tf.distribute.Strategy] = {}
_DESCRIBED: dict[tf.distribute.Strategy, str] = {}
_BESIDE: dict[tf.distribute.Strategy, tf.distribute.Strategy] = {}
# Device files of the TPU chips of a TPU VM: v2 to v4, and later ones.
_TPU_FILES = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")


def set_virtual_devices(count: int) -> None:
    """Split the CPU into ``count`` logical devices, before TensorFlow has started.

    Args:
        count: Number of logical CPU devices; 0 or 1 leaves the CPU whole.

    Raises:
        ConfigError: TensorFlow already runs with another number of devices.
    """
    if count < 2:
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    have = tf.config.get_logical_device_configuration(cpu)
    if have is not None and len(have) == count:
        return
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        )
    except RuntimeError as error:
        raise ConfigError(
            f"--num_virtual_devices={count} must be set before TensorFlow starts; "
            "use a new process"
        ) from error


def set_gpus(config: DistributionConfig) -> None:
    """Choose the GPUs to use, and how their memory is taken, before they are started.

    Raises:
        ConfigError: There is no GPU of a given number, or the GPUs run already.
    """
    gpus = tf.config.list_physical_devices("GPU")
    numbers = [int(number) for number in config.visible_devices]
    if not all(number < len(gpus) for number in numbers):
        raise ConfigError(
            f"--visible_devices={','.join(config.visible_devices)}: this machine has "
            f"{len(gpus)} GPUs" + (f", 0 to {len(gpus) - 1}" if gpus else "")
        )
    chosen = [gpus[number] for number in numbers] if numbers else gpus
    try:
        if numbers:
            tf.config.set_visible_devices(chosen, "GPU")
        if config.memory_growth:
            for gpu in chosen:
                tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError as error:
        raise ConfigError(
            "--visible_devices and --memory_growth must be set before TensorFlow "
            "starts; use a new process"
        ) from error


def make_strategy(
    config: DistributionConfig, cluster: Cluster | None = None
) -> tf.distribute.Strategy:
    """Make the strategy that the flags and the machine call for.

    ``auto`` takes several workers if a cluster is given, else the TPU if one is asked
    for or this machine has one, else all GPUs, else the CPU.

    Args:
        config: Settings of the devices.
        cluster: The workers to train with; None: this machine alone.

    Raises:
        ConfigError: The devices or the other workers cannot be used.
    """
    set_virtual_devices(config.num_virtual_devices)
    set_gpus(config)
    kind, why = config.strategy, f"--strategy={config.strategy}"
    if kind == "auto":
        kind, why = _detect(config, cluster)
    if kind == "tpu":
        strategy = _tpu_strategy(config)
    elif kind == "multi_worker":
        if cluster is None:
            raise _no_workers()
        strategy = multi_worker_strategy(config, cluster)
    elif kind == "mirrored":
        with _alone():
            strategy = tf.distribute.MirroredStrategy(_local_devices())
    else:
        strategy = tf.distribute.OneDeviceStrategy(_local_devices()[0])
    _DESCRIBED[strategy] = f"{_described(strategy, cluster)}, {kind} ({why})"
    return strategy


def log_devices(strategy: tf.distribute.Strategy) -> None:
    """Log once which devices a strategy has, and why they were chosen."""
    text = _DESCRIBED.pop(strategy, None)
    if text:
        logger.info("devices: %s", text)


def training_strategy(config: DistributionConfig) -> tf.distribute.Strategy:
    """Return the strategy of a training run: all devices, of all workers.

    It is made once in a process for the same settings, because TensorFlow does not
    support a second mirrored strategy well.

    Raises:
        ConfigError: The devices or the other workers cannot be used.
    """
    cluster = training_cluster(config)
    if cluster is not None:
        return _shared(config, cluster)
    if config.strategy == "multi_worker" and cluster_of(config) is None:
        raise _no_workers()
    return local_strategy(config)


def local_strategy(config: DistributionConfig) -> tf.distribute.Strategy:
    """Return the strategy of this machine alone, for everything but training.

    Evaluation and export run on one machine. If the process trains with others, the
    strategy is a second one that never communicates with them.

    Raises:
        ConfigError: The devices cannot be used.
    """
    joined = [s for (_, cluster), s in _SHARED.items() if cluster is not None]
    if joined:
        return _beside(joined[0])
    if config.strategy == "multi_worker":
        config = dataclasses.replace(config, strategy="auto")
    return _shared(config, None)


def _shared(
    config: DistributionConfig, cluster: Cluster | None
) -> tf.distribute.Strategy:
    key = (config, cluster)
    if key not in _SHARED:
        _SHARED[key] = make_strategy(config, cluster)
    return _SHARED[key]


def _beside(joined: tf.distribute.Strategy) -> tf.distribute.Strategy:
    """Return a strategy of the devices that this worker has in ``joined``."""
    if joined not in _BESIDE:
        devices = list(joined.extended.worker_devices)
        if len(devices) == 1:
            _BESIDE[joined] = tf.distribute.OneDeviceStrategy(devices[0])
        else:
            with _alone():
                _BESIDE[joined] = tf.distribute.MirroredStrategy(
                    devices,
                    # The default would communicate as that of all workers does.
                    cross_device_ops=tf.distribute.ReductionToOneDevice(),
                )
    return _BESIDE[joined]


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hide TF_CONFIG, which MirroredStrategy reads as well, within the block."""
    text = os.environ.pop(VARIABLE, None)
    try:
        yield
    finally:
        if text is not None:
            os.environ[VARIABLE] = text


def _no_workers() -> ConfigError:
    return ConfigError(
        "--strategy=multi_worker needs the addresses of the workers: "
        "--cluster=host:port,host:port --task_index=N, or the environment variable "
        f"{VARIABLE}"
    )


def _detect(config: DistributionConfig, cluster: Cluster | None) -> tuple[str, str]:
    """Choose a strategy for ``auto``, and say why."""
    if cluster is not None:
        source = "--cluster" if config.cluster else VARIABLE
        return "multi_worker", f"{source} lists {len(cluster.addresses)} workers"
    named = bool(config.tpu_name or config.master)
    if config.use_tpu or (named and config.use_tpu is None):
        return "tpu", "a TPU is asked for"
    if config.use_tpu is None and has_local_tpu():
        return "tpu", "this machine has a TPU"
    devices = _local_devices()
    kind = "mirrored" if len(devices) > 1 else "one_device"
    if devices[0].startswith("/gpu"):
        return kind, "no TPU"
    return kind, "no TPU and no GPU"


def device_kind(strategy: tf.distribute.Strategy | None = None) -> str:
    """Return ``cpu``, ``gpu`` or ``tpu``: of a strategy, or of this machine."""
    if strategy is None:
        devices = ["tpu"] if has_local_tpu() else _local_devices()
    elif isinstance(strategy, tf.distribute.TPUStrategy):
        devices = ["tpu"]
    else:
        devices = list(strategy.extended.worker_devices)
    text = " ".join(devices).lower()
    return next((kind for kind in ("tpu", "gpu") if kind in text), "cpu")


def has_local_tpu() -> bool:
    """Return whether this machine is a TPU VM with the TPU library installed."""
    if importlib.util.find_spec("libtpu") is None:
        return False
    return any(glob.glob(pattern) for pattern in _TPU_FILES)


def _local_devices() -> list[str]:
    """List GPUs if there are any, else the (logical) CPUs, as short device names."""
    for kind in ("GPU", "CPU"):
        devices = tf.config.list_logical_devices(kind)
        if devices:
            return [f"/{kind.lower()}:{i}" for i in range(len(devices))]
    raise ConfigError("TensorFlow sees no device")


def _described(strategy: tf.distribute.Strategy, cluster: Cluster | None) -> str:
    """Return the devices of a strategy as text: "2 GPUs"."""
    replicas = strategy.num_replicas_in_sync
    device = tf.DeviceSpec.from_string(strategy.extended.worker_devices[0])
    text = f"{replicas} {device.device_type}{'s' if replicas > 1 else ''}"
    if cluster is None:
        return text
    return f"{text} of {len(cluster.addresses)} workers"


def _tpu_strategy(config: DistributionConfig) -> tf.distribute.Strategy:
    address = config.tpu_name or config.master or ("local" if has_local_tpu() else "")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            address, zone=config.tpu_zone, project=config.gcp_project
        )
        if address != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except Exception as error:  # the remedy is the same for every resolver error
        raise ConfigError(
            f"no TPU found (--tpu_name={config.tpu_name or ''}); start on a TPU VM "
            f"with tensorflow-tpu installed, or pass --use_tpu=False. Cause: {error}"
        ) from error
    _log_topology(resolver)
    return tf.distribute.TPUStrategy(resolver)


def _log_topology(resolver: Any) -> None:
    """Log hosts and cores of a TPU, as its metadata lists them."""
    try:
        found = resolver.get_tpu_system_metadata()
    except Exception as error:  # a local TPU may have no metadata
        logger.info("TPU topology: not known (%s)", str(error).splitlines()[0][:80])
        return
    logger.info(
        "TPU topology: %d cores, %d hosts with %d cores each",
        found.num_cores,
        found.num_hosts,
        found.num_of_cores_per_host,
    )


def uses_tensor_float_32() -> bool:
    """Return whether this machine's GPUs round float32 products to 10 bits first."""
    enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    return bool(enabled and tf.config.list_logical_devices("GPU"))
