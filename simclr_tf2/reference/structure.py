"""The reference code's attribute paths in the words of our layer names.

The reference keeps a network as lists of layers in the order they run. Our layer names
say the same thing by position (``group2_block1_conv_1``), so a path translates by
itself, without counting over the whole network: within a list, convolutions are
numbered from 1 (a selective kernel counts as one) and a batch norm has the number of
the convolution before it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable

_MAIN_LISTS = "conv2d_bn_layers|conv_relu_dropblock_layers"
_SHORTCUT_LISTS = "shortcut_layers|projection_layers"
_STEM = re.compile(
    r"(?P<owner>resnet_model/initial_conv_relu_max_pool)/(?P<index>\d+)/(?P<part>.+)"
)
_BLOCK = re.compile(
    r"resnet_model/block_groups/(?P<group>\d+)/layers/(?P<block>\d+)/(?P<inner>.+)"
)
_MAIN = re.compile(rf"(?P<owner>{_MAIN_LISTS})/(?P<index>\d+)/(?P<part>.+)")
_SHORTCUT = re.compile(rf"(?:{_SHORTCUT_LISTS})/(?P<index>\d+)/(?P<part>.+)")
_HEAD = re.compile(r"_projection_head/linear_layers/(?P<index>\d+)/(?P<part>.+)")
_CONVOLUTION = re.compile(
    r"(?P<owner>.+)/(?P<index>\d+)/(?:conv2d|conv2d_fixed_padding/conv2d)/kernel"
)
# What a list item holds -> our layer; {n} is the number of the convolution.
_MAIN_PARTS = {
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
_SQUEEZE_PARTS = {f"se_layer/{name}": name for name in ("se_reduce", "se_expand")}
_SHORTCUT_PARTS = {"conv2d": "shortcut_conv", "bn": "shortcut_batch_normalization"}
_HEAD_PARTS = {"dense": "dense", "bn_relu/bn": "batch_normalization"}
_CLASSIFIER = "supervised_head/linear_layer/dense"


def our_names(paths: Iterable[str]) -> dict[str, str | None]:
    """Map attribute paths to our ``layer/variable``, None where we have no layer.

    Layers of the projection head are spelled as ``head_free`` spells them.
    """
    paths = list(paths)
    positions: dict[str, list[int]] = {}
    for path in sorted(paths):
        if match := _CONVOLUTION.fullmatch(path):
            positions.setdefault(match["owner"], []).append(int(match["index"]))
    for found in positions.values():
        found.sort()
    names = {path: _translate(path, positions) for path in paths}
    counts = Counter(names.values())
    return {path: name if counts[name] == 1 else None for path, name in names.items()}


def head_free(variable_path: str) -> str:
    """Return the ``layer/variable`` that ends a path of ours, without the head's kind.

    "nl_" and "l_" only say whether the projection head has one layer or more.
    """
    name = "/".join(variable_path.split("/")[-2:])
    return re.sub(r"^projection_head_n?l_", "projection_head_", name)


def has_resnet_d(paths: Iterable[str]) -> bool:
    """Return whether shortcuts pool before they convolve, as with ``sk_ratio`` > 0."""
    for path in paths:
        block = _BLOCK.fullmatch(path)
        shortcut = block and _SHORTCUT.fullmatch(block["inner"])
        if shortcut and shortcut["part"] == "conv2d/kernel":
            if int(shortcut["index"]) > 0:
                return True
    return False


def _translate(path: str, positions: dict[str, list[int]]) -> str | None:
    if match := _STEM.fullmatch(path):
        number = bisect_right(positions.get(match["owner"], []), int(match["index"]))
        return _part(match["part"], _MAIN_PARTS, "stem_", number)
    if block := _BLOCK.fullmatch(path):
        prefix = f"group{int(block['group']) + 1}_block{int(block['block']) + 1}_"
        inner = block["inner"]
        if match := _MAIN.fullmatch(inner):
            owner = path[: -len(inner)] + match["owner"]
            number = bisect_right(positions.get(owner, []), int(match["index"]))
            return _part(match["part"], _MAIN_PARTS, prefix, number)
        if match := _SHORTCUT.fullmatch(inner):
            return _part(match["part"], _SHORTCUT_PARTS, prefix)
        return _part(inner, _SQUEEZE_PARTS, prefix)
    if match := _HEAD.fullmatch(path):
        prefix = f"projection_head_{match['index']}_"
        return _part(match["part"], _HEAD_PARTS, prefix)
    return _part(path, {_CLASSIFIER: "head_supervised"}, "")


def _part(path: str, parts: dict[str, str], prefix: str, number: int = 0) -> str | None:
    layer, _, variable = path.rpartition("/")
    if layer not in parts:
        return None
    return f"{prefix}{parts[layer].format(n=number)}/{variable}"
