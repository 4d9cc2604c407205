"""Tensors that cross replicas, and the share of a batch that each replica has."""

from __future__ import annotations

import tensorflow as tf

from simclr_tf2.errors import ConfigError


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
