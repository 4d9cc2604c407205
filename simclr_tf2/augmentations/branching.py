"""Choose one of several functions at run time, and pay for that one only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf


def trace(
    function: Callable, *shapes: Sequence[int | None], jit_compile: bool = False
) -> Callable:
    """Make a concrete function of float32 arguments of these shapes.

    Keep the result (``functools.cache``): tracing costs milliseconds.

    Args:
        function: what to trace.
        *shapes: of its arguments.
        jit_compile: whether XLA compiles it when it first runs, in some seconds.
    """
    signature = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    with tf.init_scope(), tf.device(None):  # wherever the caller happens to be
        traced = tf.function(function, autograph=False, jit_compile=jit_compile)
        concrete: Callable = traced.get_concrete_function(*signature)
        return concrete


def call(branches: Sequence, index: tf.Tensor, *arguments: tf.Tensor) -> tf.Tensor:
    """Call ``branches[index]``, as ``tf.switch_case`` would, with less overhead.

    ``tf.switch_case`` merges all branches into the caller's graph: each operation of
    those not taken costs a little, and the one taken cannot work in place. With 24
    branches that more than doubles the time of a small image.

    Args:
        branches: concrete functions of ``trace`` with one result of one shape.
        index: int32 scalar.
        *arguments: of the chosen function.

    Returns:
        The result of the chosen function.
    """
    if tf.executing_eagerly():
        return branches[int(index)](*arguments)
    (output,) = branches[0].outputs
    (result,) = tf.raw_ops.StatelessCase(
        branch_index=index,
        input=list(arguments),
        Tout=[output.dtype],
        branches=list(branches),
        output_shapes=[output.shape],
    )
    return tf.ensure_shape(result, output.shape)
