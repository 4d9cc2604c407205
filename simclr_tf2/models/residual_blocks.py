"""The two residual blocks, post-activation (arXiv 1512.03385; ResNet-D 1812.01187)."""

from __future__ import annotations

from collections.abc import Callable

import keras

from simclr_tf2.models.layers import LayerSettings, batch_norm, conv2d
from simclr_tf2.models.selective_kernel import selective_kernel
from simclr_tf2.models.squeeze_excite import squeeze_excite

BOTTLENECK_EXPANSION = 4
SHORTCUT_POOL = "_shortcut_pool"  # ends the names of ResNet-D's pooling layers


def basic_block(
    inputs: keras.KerasTensor,
    filters: int,
    *,
    strides: int,
    project: bool,
    sk_ratio: float,
    se_ratio: float,
    name: str,
    settings: LayerSettings,
) -> keras.KerasTensor:
    """Apply two 3x3 convolutions: ``[n, h, w, c]`` -> ``[n, h/s, w/s, filters]``.

    ``sk_ratio`` > 0 only changes the shortcut (ResNet-D), unless ``settings`` decide on
    it; the convolutions stay plain (reference code).
    """
    shortcut = inputs
    if project:
        shortcut = _projection(
            inputs,
            filters,
            strides=strides,
            resnet_d=settings.uses_resnet_d(sk_ratio),
            name=name,
            settings=settings,
        )
    x = conv2d(
        inputs, filters, 3, strides=strides, name=f"{name}_conv_1", settings=settings
    )
    x = batch_norm(x, name=f"{name}_batch_normalization_1", settings=settings)
    x = conv2d(x, filters, 3, name=f"{name}_conv_2", settings=settings)
    x = batch_norm(
        x,
        relu=False,
        zero_init=settings.zero_init_residual,
        settings=settings,
        name=f"{name}_batch_normalization_2",
    )
    return _finish(
        x, shortcut, filters=filters, se_ratio=se_ratio, name=name, settings=settings
    )


def bottleneck_block(
    inputs: keras.KerasTensor,
    filters: int,
    *,
    strides: int,
    project: bool,
    sk_ratio: float,
    se_ratio: float,
    name: str,
    settings: LayerSettings,
) -> keras.KerasTensor:
    """Apply 1x1, strided 3x3 and 1x1: ``[n, h, w, c]`` -> ``[n, h/s, w/s, 4 filters]``.

    ``sk_ratio`` > 0 puts a selective kernel in place of the 3x3 convolution, and
    changes the shortcut (ResNet-D), unless ``settings`` decide on it.
    """
    wide = BOTTLENECK_EXPANSION * filters
    shortcut = inputs
    if project:
        shortcut = _projection(
            inputs,
            wide,
            strides=strides,
            resnet_d=settings.uses_resnet_d(sk_ratio),
            name=name,
            settings=settings,
        )
    x = conv2d(inputs, filters, 1, name=f"{name}_conv_1", settings=settings)
    x = batch_norm(x, name=f"{name}_batch_normalization_1", settings=settings)
    if sk_ratio > 0:
        x = selective_kernel(
            x,
            filters,
            strides=strides,
            sk_ratio=sk_ratio,
            name=f"{name}_sk",
            settings=settings,
        )
    else:
        x = conv2d(
            x, filters, 3, strides=strides, name=f"{name}_conv_2", settings=settings
        )
        x = batch_norm(x, name=f"{name}_batch_normalization_2", settings=settings)
    x = conv2d(x, wide, 1, name=f"{name}_conv_3", settings=settings)
    x = batch_norm(
        x,
        relu=False,
        zero_init=settings.zero_init_residual,
        settings=settings,
        name=f"{name}_batch_normalization_3",
    )
    return _finish(
        x, shortcut, filters=filters, se_ratio=se_ratio, name=name, settings=settings
    )


def _projection(
    inputs: keras.KerasTensor,
    filters: int,
    *,
    strides: int,
    resnet_d: bool,
    name: str,
    settings: LayerSettings,
) -> keras.KerasTensor:
    """Make a shortcut that changes size or width: 1x1 convolution and batch norm.

    ResNet-D pools 2x2 with the stride first. Its padding follows the reference code:
    one zero row and column at the end when strided, 'same' (not counted) otherwise.
    """
    x = inputs
    if resnet_d:
        if strides > 1:
            x = keras.layers.ZeroPadding2D(
                ((0, 1), (0, 1)), name=f"{name}_shortcut_pad", dtype=settings.dtype
            )(x)
        x = keras.layers.AveragePooling2D(
            2,
            strides=strides,
            padding="same" if strides == 1 else "valid",
            name=f"{name}{SHORTCUT_POOL}",
            dtype=settings.dtype,
        )(x)
        strides = 1
    x = conv2d(
        x, filters, 1, strides=strides, name=f"{name}_shortcut_conv", settings=settings
    )
    return batch_norm(
        x, relu=False, settings=settings, name=f"{name}_shortcut_batch_normalization"
    )


def _finish(
    x: keras.KerasTensor,
    shortcut: keras.KerasTensor,
    *,
    filters: int,
    se_ratio: float,
    name: str,
    settings: LayerSettings,
) -> keras.KerasTensor:
    if se_ratio > 0:
        x = squeeze_excite(
            x, filters=filters, se_ratio=se_ratio, name=f"{name}_se", settings=settings
        )
    x = keras.layers.Add(name=f"{name}_add", dtype=settings.dtype)([x, shortcut])
    return keras.layers.ReLU(name=f"{name}_relu", dtype=settings.dtype)(x)


# depth -> (block, blocks per group). 10 is [ours]: a small network for small machines.
DEPTHS: dict[int, tuple[Callable[..., keras.KerasTensor], tuple[int, ...]]] = {
    10: (basic_block, (1, 1, 1, 1)),
    18: (basic_block, (2, 2, 2, 2)),
    34: (basic_block, (3, 4, 6, 3)),
    50: (bottleneck_block, (3, 4, 6, 3)),
    101: (bottleneck_block, (3, 4, 23, 3)),
    152: (bottleneck_block, (3, 8, 36, 3)),
    200: (bottleneck_block, (3, 24, 36, 3)),
}
