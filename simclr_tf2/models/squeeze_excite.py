"""Squeeze-and-excite channel gate (arXiv 1709.01507, as the reference code has it)."""

from __future__ import annotations

import keras

from simclr_tf2.models.layers import LayerSettings, conv2d


def squeeze_excite(
    inputs: keras.KerasTensor,
    *,
    filters: int,
    se_ratio: float,
    name: str,
    settings: LayerSettings,
) -> keras.KerasTensor:
    """Scale each channel of ``[n, h, w, c]`` by a gate in (0, 1) read from the image.

    Args:
        inputs: A block's output before the addition.
        filters: The block's narrow width; the gate's hidden layer has
            ``max(1, int(filters * se_ratio))`` channels, whatever ``c`` is.
        se_ratio: Share of ``filters`` in the hidden layer, in (0, 1].
        name: Prefix of the layer names.
        settings: Shared layer settings.

    Returns:
        ``[n, h, w, c]``.
    """
    dtype = settings.dtype
    gate = keras.layers.GlobalAveragePooling2D(
        keepdims=True, name=f"{name}_pool", dtype=dtype
    )(inputs)
    gate = conv2d(
        gate,
        max(1, int(filters * se_ratio)),
        1,
        use_bias=True,
        name=f"{name}_reduce",
        settings=settings,
    )
    gate = keras.layers.ReLU(name=f"{name}_relu", dtype=dtype)(gate)
    gate = conv2d(
        gate,
        inputs.shape[-1],
        1,
        use_bias=True,
        name=f"{name}_expand",
        settings=settings,
    )
    gate = keras.layers.Activation("sigmoid", name=f"{name}_sigmoid", dtype=dtype)(gate)
    return keras.layers.Multiply(name=f"{name}_scale", dtype=dtype)([inputs, gate])
