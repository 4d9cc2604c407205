"""ResNet backbones f as functional graphs of stock Keras layers.

The networks of the reference code (google-research/simclr, tf2): ResNet v1 with the
stride in the 3x3 convolution, optional selective kernels with ResNet-D, optional
squeeze-excite, width multiplier. Layer names are part of the interface: they say where
a layer sits (``group2_block1_conv_1``), and ``freeze_up_to_block`` and
``reference_names`` read them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from simclr_tf2.config import NETWORK_STEMS
from simclr_tf2.errors import ConfigError
from simclr_tf2.models.layers import LayerSettings, batch_norm, conv2d
from simclr_tf2.models.residual_blocks import DEPTHS

Normalization = tuple[Sequence[float], Sequence[float]]  # means, deviations
GROUP_FILTERS = (64, 128, 256, 512)


def build_resnet(
    depth: int = 50,
    *,
    width_multiplier: float = 1,
    sk_ratio: float = 0.0,
    se_ratio: float = 0.0,
    resnet_d: bool | None = None,
    zero_init_residual: bool = True,
    cifar_stem: bool = False,
    stem: str | None = None,
    image_size: int | tuple[int, int] | None = 224,
    channels: int = 3,
    normalization: Normalization | None = None,
    batch_norm_momentum: float = 0.9,
    synchronized_batch_norm: bool = False,
    fused_batch_norm: bool = False,
    dtype: str | None = None,
) -> keras.Model:
    """Build a residual network that maps images to named endpoints.

    Args:
        depth: 18, 34 (basic blocks), 50, 101, 152, 200 (bottleneck), or 10 [ours].
        width_multiplier: Scales all widths; the paper has 1, 2, 4. Fractions [ours] are
            rounded to the nearest whole number of filters.
        sk_ratio: > 0: ResNet-D stem and shortcuts everywhere and, in bottleneck blocks,
            selective kernels; SimCLRv2 uses 0.0625.
        se_ratio: > 0: squeeze-excite in every block.
        resnet_d: ResNet-D stem (of "imagenet") and shortcuts; None: where ``sk_ratio``
            is greater than 0 (reference code).
        zero_init_residual: The last batch-norm gamma of each residual block starts at
            0, so that the block starts as its shortcut (reference code); else at 1.
        cifar_stem: One 3x3 convolution of stride 1 and no max pool, for small images.
        stem: "imagenet", "cifar" or "stride2" ([ours]: one 3x3 convolution of stride 2,
            no max pool); overrides ``cifar_stem``.
        image_size: Side of the images, or (height, width); None: any size, decided at
            each call.
        channels: Channels of the images.
        normalization: Means and standard deviations, for each channel or one for all,
            by which the first layer normalizes images; None: there is no such layer.
        batch_norm_momentum: Share of the old moving statistics kept per step.
        synchronized_batch_norm: Batch statistics over all replicas of the strategy.
        fused_batch_norm: Faster batch norm with the same mathematics; the graph then
            holds ``FusedBatchNormalization`` layers in place of stock ones.
        dtype: Keras dtype policy of the layers, for example "mixed_bfloat16".

    Returns:
        ``keras.Model``: ``[n, s, s, channels]`` in [0, 1] -> dict of ``initial_conv``
        (before batch norm), ``initial_max_pool`` (end of the stem, pooled or not),
        ``block_group1`` .. ``block_group4``, all ``[n, h, w, c]``, and
        ``final_avg_pool``: h, ``[n, d]``, float32.

    Raises:
        ConfigError: Unknown depth or stem, or a width that is not positive.
    """
    kind = stem or ("cifar" if cifar_stem else "imagenet")
    _check(depth, kind, width_multiplier)
    settings = LayerSettings(
        batch_norm_momentum=batch_norm_momentum,
        synchronized_batch_norm=synchronized_batch_norm,
        fused_batch_norm=fused_batch_norm,
        dtype=dtype,
        resnet_d=resnet_d,
        zero_init_residual=zero_init_residual,
    )
    sides = image_size if isinstance(image_size, tuple) else (image_size, image_size)
    wide = "float64" if dtype == "float64" else "float32"
    images = keras.Input((*sides, channels), name="images", dtype=wide)
    endpoints = _stem(
        _normalized(images, normalization),
        scaled_filters(64, width_multiplier),
        kind=kind,
        resnet_d=settings.uses_resnet_d(sk_ratio),
        settings=settings,
    )
    x = endpoints["initial_max_pool"]
    block, counts = DEPTHS[depth]
    for group, (filters, count) in enumerate(
        zip(GROUP_FILTERS, counts, strict=True), 1
    ):
        for number in range(1, count + 1):
            first = number == 1
            x = block(
                x,
                scaled_filters(filters, width_multiplier),
                strides=2 if first and group > 1 else 1,
                project=first,
                sk_ratio=sk_ratio,
                se_ratio=se_ratio,
                settings=settings,
                name=f"group{group}_block{number}",
            )
        endpoints[f"block_group{group}"] = x
    endpoints["final_avg_pool"] = keras.layers.GlobalAveragePooling2D(
        name="final_avg_pool", dtype=wide
    )(x)
    return keras.Model(images, endpoints, name=f"resnet{depth}")


def _normalized(
    images: keras.KerasTensor, normalization: Normalization | None
) -> keras.KerasTensor:
    """Subtract the means and divide by the standard deviations, in a stock layer."""
    if normalization is None:
        return images
    channels = images.shape[-1]
    means, deviations = (np.broadcast_to(x, [channels]) for x in normalization)
    return keras.layers.Normalization(
        mean=means.tolist(),
        variance=np.square(deviations).tolist(),
        name="stem_normalization",
        dtype=images.dtype,
    )(images)


def build_encoder(backbone: keras.Model) -> keras.Model:
    """Cut a backbone to what gives h: images ``[n, s, s, c]`` -> ``[n, d]``."""
    return keras.Model(
        backbone.input, backbone.output["final_avg_pool"], name="simclr_encoder"
    )


def open_residual_branches(backbone: keras.Model) -> None:
    """Set the last gamma of each residual block, which starts at 0, to 1.

    With 0 every block is its shortcut: a good start of training, but such a network
    without training passes almost nothing of its 3x3 convolutions to h, and is no
    baseline of what the architecture alone gives.
    """
    for layer in backbone.layers:
        zero = isinstance(layer, keras.layers.BatchNormalization) and isinstance(
            layer.gamma_initializer, keras.initializers.Zeros
        )
        if zero and layer.gamma is not None:
            layer.gamma.assign(keras.ops.ones_like(layer.gamma))


def scaled_filters(filters: int, width_multiplier: float) -> int:
    """Round ``filters * width_multiplier`` to a whole number (halves up), >= 1."""
    return max(1, int(filters * width_multiplier + 0.5))


def _check(depth: int, stem: str, width_multiplier: float) -> None:
    if depth not in DEPTHS:
        choices = ", ".join(map(str, DEPTHS))
        raise ConfigError(f"depth must be one of {choices}. Received: {depth!r}.")
    if stem not in NETWORK_STEMS:
        raise ConfigError(
            f"stem must be one of {', '.join(NETWORK_STEMS)}. Received: {stem!r}."
        )
    if not width_multiplier > 0:
        raise ConfigError(
            f"width_multiplier must be greater than 0. Received: {width_multiplier!r}."
        )


def _stem(
    images: keras.KerasTensor,
    filters: int,
    *,
    kind: str,
    resnet_d: bool,
    settings: LayerSettings,
) -> dict[str, keras.KerasTensor]:
    """Build the stem: [n, s, s, c] -> 1, 1/2 or 1/4 of s.

    Its endpoints are ``initial_conv`` and ``initial_max_pool``.
    """
    x = images
    if kind == "imagenet" and resnet_d:
        half = max(1, filters // 2)
        for number, strides in ((1, 2), (2, 1)):
            x = conv2d(
                x,
                half,
                3,
                strides=strides,
                name=f"stem_conv_{number}",
                settings=settings,
            )
            x = batch_norm(
                x, name=f"stem_batch_normalization_{number}", settings=settings
            )
        number, kernel_size, strides = 3, 3, 1
    else:
        number = 1
        kernel_size, strides = {"imagenet": (7, 2), "cifar": (3, 1), "stride2": (3, 2)}[
            kind
        ]
    conv = conv2d(
        x,
        filters,
        kernel_size,
        strides=strides,
        name=f"stem_conv_{number}",
        settings=settings,
    )
    x = batch_norm(conv, name=f"stem_batch_normalization_{number}", settings=settings)
    if kind == "imagenet":
        x = keras.layers.MaxPooling2D(
            3, strides=2, padding="same", name="stem_max_pool", dtype=settings.dtype
        )(x)
    return {"initial_conv": conv, "initial_max_pool": x}


def freeze_up_to_block(backbone: keras.Model, block: int) -> None:
    """Train only what comes after a block group, as ``--fine_tune_after_block`` asks.

    Args:
        backbone: A network of ``build_resnet``.
        block: -1: everything trains. 0: the stem is frozen. k in 1..4: the stem and
            block groups 1..k are frozen, so 4 freezes the whole backbone (linear
            evaluation). Same cuts as the reference code.

    A frozen layer gives no trainable variables, and its batch norm runs in inference
    mode whatever ``training`` says: moving statistics stay as they are. Call before the
    training step is traced.

    Raises:
        ConfigError: ``block`` is not in -1..4.
    """
    if block not in range(-1, 5):
        raise ConfigError(
            f"fine_tune_after_block must be from -1 to 4. Received: {block!r}."
        )
    for layer in backbone.layers:
        layer.trainable = _group_of(layer) > block


def _group_of(layer: Any) -> int:
    """Return 0 for the stem, k for block group k, 5 for what follows."""
    match = re.match(r"group(\d)_", layer.name)
    if match:
        return int(match[1])
    return 0 if layer.name.startswith("stem_") else 5
