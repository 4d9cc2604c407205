"""Strategies, workers, and all communication between replicas and between hosts."""

from simclr_tf2.distribution.cluster import Cluster, cluster_of, training_cluster
from simclr_tf2.distribution.replicas import (
    all_gather,
    all_reduce_mean,
    per_replica_batch_size,
    replica_count,
    replica_id,
)
from simclr_tf2.distribution.strategies import (
    device_kind,
    local_strategy,
    log_devices,
    make_strategy,
    set_virtual_devices,
    training_strategy,
    uses_tensor_float_32,
)
from simclr_tf2.distribution.workers import Workers, joined, workers

__all__ = [
    "Cluster",
    "Workers",
    "all_gather",
    "all_reduce_mean",
    "cluster_of",
    "device_kind",
    "joined",
    "local_strategy",
    "log_devices",
    "make_strategy",
    "per_replica_batch_size",
    "replica_count",
    "replica_id",
    "set_virtual_devices",
    "training_cluster",
    "training_strategy",
    "uses_tensor_float_32",
    "workers",
]
