"""Strategies and all that crosses replicas; the only file that talks to peers."""

from __future__ import annotations

import logging
import os

import tensorflow as tf

from simclr_tf2.config import DistributionConfig
from simclr_tf2.errors import ConfigError

logger = logging.getLogger(__name__)

_SHARED: dict[tuple[DistributionConfig, str | None], tf.distribute.Strategy] = {}


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


def make_strategy(config: DistributionConfig) -> tf.distribute.Strategy:
    """Make the strategy that the flags and the machine call for.

    ``auto``: TPU when ``use_tpu`` or a TPU name is given, multi-worker when TF_CONFIG
    names workers, mirrored when there are several GPUs or virtual devices, else one
    device (the first GPU, or the CPU).
    """
    set_virtual_devices(config.num_virtual_devices)
    kind = config.strategy if config.strategy != "auto" else _detect(config)
    if kind == "tpu":
        return _tpu_strategy(config)
    if kind == "multi_worker":
        if not os.environ.get("TF_CONFIG"):
            raise ConfigError(
                "--strategy=multi_worker needs the TF_CONFIG environment variable that "
                "lists the workers; see tf.distribute.MultiWorkerMirroredStrategy"
            )
        return tf.distribute.MultiWorkerMirroredStrategy(
            communication_options=tf.distribute.experimental.CommunicationOptions(
                bytes_per_pack=config.gradient_pack_mib << 20
            )
        )
    if kind == "mirrored":
        return tf.distribute.MirroredStrategy(_local_devices())
    return tf.distribute.OneDeviceStrategy(_local_devices()[0])


def shared_strategy(config: DistributionConfig) -> tf.distribute.Strategy:
    """Make the strategy of ``make_strategy`` once in a process for the same settings.

    A run that is measured by training others uses one strategy for all: TensorFlow does
    not take a second mirrored one well.
    """
    key = (config, os.environ.get("TF_CONFIG"))
    if key not in _SHARED:
        _SHARED[key] = make_strategy(config)
    return _SHARED[key]


def _detect(config: DistributionConfig) -> str:
    named = bool(config.tpu_name or config.master)
    if config.use_tpu or (named and config.use_tpu is None):
        return "tpu"
    if os.environ.get("TF_CONFIG"):
        return "multi_worker"
    return "mirrored" if len(_local_devices()) > 1 else "one_device"


def _local_devices() -> list[str]:
    """List GPUs if there are any, else the (logical) CPUs, as short device names."""
    for kind in ("GPU", "CPU"):
        devices = tf.config.list_logical_devices(kind)
        if devices:
            return [f"/{kind.lower()}:{i}" for i in range(len(devices))]
    raise ConfigError("TensorFlow sees no device")


def _tpu_strategy(config: DistributionConfig) -> tf.distribute.Strategy:
    address = config.tpu_name or config.master or ""
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            address, zone=config.tpu_zone, project=config.gcp_project
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except Exception as error:  # the remedy is the same for every resolver error
        raise ConfigError(
            f"no TPU found (--tpu_name={config.tpu_name or ''}); start on a TPU VM "
            f"with tensorflow-tpu installed, or pass --use_tpu=False. Cause: {error}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def uses_tensor_float_32() -> bool:
    """Return whether this machine's GPUs round float32 products to 10 bits first."""
    enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    return bool(enabled and tf.config.list_logical_devices("GPU"))


def per_replica_batch_size(global_batch_size: int, replicas: int, flag: str) -> int:
    """Divide ``global_batch_size / replicas``, or raise an error that names ``flag``.

    The error is a ``ConfigError``.
    """
    if global_batch_size % replicas:
        lower = global_batch_size // replicas * replicas
        near = " or ".join(str(n) for n in (lower, lower + replicas) if n)
        raise ConfigError(
            f"--{flag}={global_batch_size} must be divisible by the {replicas} "
            f"replicas; use {near}"
        )
    return global_batch_size // replicas


def replica_count() -> int:
    """Return the number of replicas in sync: 1 outside a strategy."""
    count: int = tf.distribute.get_strategy().num_replicas_in_sync
    return count


def _in_many_replicas() -> tf.distribute.ReplicaContext | None:
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context


def replica_id() -> tf.Tensor | int:
    """Return this replica's index in sync group order; 0 with one replica."""
    context = _in_many_replicas()
    return 0 if context is None else context.replica_id_in_sync_group


def all_gather(tensor: tf.Tensor) -> tf.Tensor:
    """Concatenate ``[n, ...]`` of all replicas along axis 0, in replica order.

    Differentiable: the gradient of every replica's use flows back. One replica: the
    tensor itself.
    """
    context = _in_many_replicas()
    return tensor if context is None else context.all_gather(tensor, axis=0)


def all_reduce_mean(tensor: tf.Tensor) -> tf.Tensor:
    """Average over replicas; one replica: return the tensor itself."""
    context = _in_many_replicas()
    if context is None:
        return tensor
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, tensor)
