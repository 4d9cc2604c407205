"""Selective kernel convolution (arXiv 1903.06586, as the reference code has it)."""

from __future__ import annotations

import keras

from simclr_tf2.models.layers import LayerSettings, batch_norm, conv2d

MINIMUM_DIM = 32  # width of the mixing network at least; reference code


def selective_kernel(
    inputs: keras.KerasTensor,
    filters: int,
    *,
    strides: int,
    sk_ratio: float,
    name: str,
    settings: LayerSettings,
) -> keras.KerasTensor:
    """Weigh two 3x3 streams per image and channel; ``[n, h, w, c]`` -> ``filters``.

    One convolution makes both streams. Their sum is pooled to ``[n, 1, 1, filters]``,
    squeezed to ``max(int(filters * sk_ratio), 32)`` and expanded to a logit per stream
    and channel; a softmax over the two streams, in float32, gives the weights.

    Returns:
        ``[n, h / strides, w / strides, filters]``.
    """
    dtype = settings.dtype
    both = conv2d(
        inputs, 2 * filters, 3, strides=strides, name=f"{name}_conv", settings=settings
    )
    both = batch_norm(both, name=f"{name}_batch_normalization", settings=settings)
    streams = keras.ops.split(both, 2, axis=-1)
    pooled = keras.layers.GlobalAveragePooling2D(
        keepdims=True, name=f"{name}_pool", dtype=dtype
    )(keras.layers.Add(name=f"{name}_sum", dtype=dtype)(streams))
    squeezed = conv2d(
        pooled,
        max(int(filters * sk_ratio), MINIMUM_DIM),
        1,
        name=f"{name}_reduce",
        settings=settings,
    )
    squeezed = batch_norm(
        squeezed, name=f"{name}_reduce_batch_normalization", settings=settings
    )
    logits = conv2d(squeezed, 2 * filters, 1, name=f"{name}_expand", settings=settings)
    weights = _softmax_over_streams(logits)
    weighted = [
        keras.layers.Multiply(name=f"{name}_weighted_{i}", dtype=dtype)(
            [stream, weight]
        )
        for i, (stream, weight) in enumerate(zip(streams, weights, strict=True))
    ]
    return keras.layers.Add(name=f"{name}_mix", dtype=dtype)(weighted)


def _softmax_over_streams(logits: keras.KerasTensor) -> list[keras.KerasTensor]:
    """Turn ``[n, 1, 1, 2c]`` into two ``[n, 1, 1, c]`` that sum to one, same dtype."""
    dtype = logits.dtype
    if dtype != "float32":
        logits = keras.ops.cast(logits, "float32")
    stacked = keras.ops.stack(keras.ops.split(logits, 2, axis=-1), axis=1)
    weights = keras.ops.softmax(stacked, axis=1)
    if dtype != "float32":
        weights = keras.ops.cast(weights, dtype)
    return list(keras.ops.unstack(weights, num=2, axis=1))
