"""What the reference code's attribute paths and shapes say about the network.

The reference keeps a network as lists of layers in the order they run. Our layer names
say the same thing by position (``group2_block1_conv_1``), so a path translates without
any count over the whole network: within a list, convolutions are numbered from 1 (a
selective kernel counts as one) and a batch norm has the number of the one before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from simclr_tf2.config import ConfigError, ModelConfig
from simclr_tf2.models.residual_blocks import DEPTHS, bottleneck_block
from simclr_tf2.models.resnet import GROUP_FILTERS, scaled_filters
from simclr_tf2.models.selective_kernel import MINIMUM_DIM

Shapes = Mapping[str, tuple[int, ...]]
SK_RATIO = 0.0625  # SimCLRv2, section 3; also where the shapes allow any

_STEM = re.compile(r"resnet_model/initial_conv_relu_max_pool/(?P<index>\d+)/(?P<rest>.+)")
_BLOCK = re.compile(
    r"resnet_model/block_groups/(?P<group>\d+)/layers/(?P<block>\d+)/"
    r"(?:(?P<list>conv2d_bn_layers|conv_relu_dropblock_layers|shortcut_layers"
    r"|projection_layers)/(?P<index>\d+)/|se_layer/)(?P<rest>.+)"
)
_HEAD = re.compile(r"_projection_head/linear_layers/(?P<index>\d+)/(?P<rest>.+)")
_MAIN = ("initial_conv_relu_max_pool", "conv2d_bn_layers", "conv_relu_dropblock_layers")
_CONVOLUTION = re.compile(
    rf"(?P<owner>.+/(?:{'|'.join(_MAIN)}))/(?P<index>\d+)/conv2d(_fixed_padding/conv2d)?"
    "/kernel"
)
# Path within a list item -> our layer; {n} is the number of the convolution.
_PARTS = {
    "conv2d": "conv_{n}",
    "bn": "batch_normalization_{n}",
    "conv2d_fixed_padding/conv2d": "sk_conv",
    "batch_norm_relu/bn": "sk_batch_normalization",
    "conv2d_0": "sk_reduce",
    "batch_norm_relu_1/bn": "sk_reduce_batch_normalization",
    "conv2d_1": "sk_expand",
    "se_reduce": "se_reduce",
    "se_expand": "se_expand",
}
_SHORTCUT_PARTS = {"conv2d": "shortcut_conv", "bn": "shortcut_batch_normalization"}
_HEAD_PARTS = {"dense": "dense", "bn_relu/bn": "batch_normalization"}


def our_names(paths: Iterable[str]) -> dict[str, str | None]:
    """Attribute path -> our ``layer/variable``, None for what we have no layer for.

    The layers of the projection head are named as in ``head_free``: without "l_" or
    "nl_", which only says how many there are.
    """
    paths = list(paths)
    positions: dict[str, list[int]] = {}
    for path in paths:
        if match := _CONVOLUTION.fullmatch(path):
            positions.setdefault(match["owner"], []).append(int(match["index"]))
    names: dict[str, str | None] = {path: _name(path, positions) for path in paths}
    count = [*names.values()].count
    return {p: None if n and count(n) > 1 else n for p, n in names.items()}


def head_free(variable_path: str) -> str:
    """Our ``layer/variable`` of a variable's path, as ``our_names`` spells it."""
    name = "/".join(variable_path.split("/")[-2:])
    return re.sub(r"^projection_head_n?l_", "projection_head_", name)


def is_resnet_d(paths: Iterable[str]) -> bool:
    """Whether shortcuts pool before they convolve, as they do with ``sk_ratio`` > 0."""
    matches = (_BLOCK.fullmatch(path) for path in paths)
    return any(
        match["index"] != "0"
        for match in matches
        if match and match["list"] in ("shortcut_layers", "projection_layers")
        if match["rest"] == "conv2d/kernel"
    )


def model_config(shapes: Shapes, *, resnet_d: bool, selector: int = 0) -> ModelConfig:
    """The network that variables of these shapes belong to.

    Args:
        shapes: Our ``layer/variable``, as ``our_names`` gives it -> shape.
        resnet_d: From ``is_resnet_d``.
        selector: ``ft_proj_selector``. All inputs of the head's layers have one width,
            so shapes cannot tell which of them the classifier reads; only z can be.

    Raises:
        ConfigError: No network of this library has these blocks.
    """
    mode, layers, out_dim = _projection_head(shapes)
    classifier = shapes.get("head_supervised/kernel")
    if classifier and classifier[0] != shapes.get("projection_head_0_dense/kernel", (0,))[0]:
        selector = layers if layers and classifier[0] == out_dim else selector
    return ModelConfig(
        resnet_depth=_depth(shapes),
        width_multiplier=_width(shapes),
        sk_ratio=_sk_ratio(shapes) if resnet_d else 0.0,
        se_ratio=_se_ratio(shapes),
        stem="imagenet" if _is_imagenet_stem(shapes) else "cifar",
        proj_head_mode=mode,
        proj_out_dim=out_dim or ModelConfig.proj_out_dim,
        num_proj_layers=layers or ModelConfig.num_proj_layers,
        ft_proj_selector=selector,
    )
