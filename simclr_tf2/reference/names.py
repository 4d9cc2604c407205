"""The reference code's name of every variable, in its order, and assigning by name.

The reference (google-research/simclr, tf2) numbers layers by class in the order of
construction: in every residual block the shortcut first, squeeze-excite last. It lists
variables by network (trainable ones, then moving statistics), in basic blocks with the
main path before the shortcut. Both orders are rebuilt from our layer names, so this
works on models of ``build_resnet`` and ``build_simclr`` and on loaded encoders alike.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np

from simclr_tf2.errors import ConfigError

# The layers of a residual block that hold variables, in the reference's construction
# order, each with the classes that wrap it there.
_BLOCK_PARTS = {
    "shortcut_conv": ("conv2d_fixed_padding", "conv2d"),
    "shortcut_batch_normalization": ("batch_norm_relu", "sync_batch_normalization"),
    "conv_1": ("conv2d_fixed_padding", "conv2d"),
    "batch_normalization_1": ("batch_norm_relu", "sync_batch_normalization"),
    "conv_2": ("conv2d_fixed_padding", "conv2d"),
    "batch_normalization_2": ("batch_norm_relu", "sync_batch_normalization"),
    "sk_conv": ("conv2d_fixed_padding", "conv2d"),
    "sk_batch_normalization": ("batch_norm_relu", "sync_batch_normalization"),
    "sk_reduce": ("conv2d",),
    "sk_reduce_batch_normalization": ("batch_norm_relu", "sync_batch_normalization"),
    "sk_expand": ("conv2d",),
    "conv_3": ("conv2d_fixed_padding", "conv2d"),
    "batch_normalization_3": ("batch_norm_relu", "sync_batch_normalization"),
    "se_reduce": ("conv2d",),
    "se_expand": ("conv2d",),
}
_MOVING = ("moving_mean", "moving_variance")
_BLOCK = re.compile(r"group(\d+)_block(\d+)_(.+)")
_HEAD = re.compile(r"projection_head_(n?l)_(\d+)_(dense|batch_normalization)")
_STEM = re.compile(r"stem_(conv|batch_normalization)_(\d+)")


def reference_variables(model: keras.Model) -> list[tuple[str, keras.Variable]]:
    """Return ``(reference name, variable)`` of every variable, in reference order.

    Args:
        model: A backbone, head or ``SimCLR`` of this library, or a loaded encoder.

    Raises:
        ConfigError: ``model`` has variables in layers with other names than ours.
    """
    layers = {layer.name: layer for layer in _layers(model) if layer.variables}
    prefixes = _reference_prefixes(layers)
    unknown = sorted(set(layers) - set(prefixes))
    if unknown:
        raise ConfigError(f"no reference name for layer(s): {', '.join(unknown)}")
    found = []
    for network in ("resnet", "projection_head", "head_supervised"):
        named = [
            (f"{prefixes[name]}/{variable.name}:0", variable)
            for name in sorted(prefixes, key=_list_order(layers))
            if prefixes[name].split("/")[0] == network
            for variable in layers[name].variables
        ]
        found += [item for item in named if item[1].name not in _MOVING]
        found += [item for item in named if item[1].name in _MOVING]
    return found


def reference_weight_names(model: keras.Model) -> list[str]:
    """Return the names of ``reference_variables``, such as ``resnet/.../gamma:0``."""
    return [name for name, _ in reference_variables(model)]


def assign_reference_weights(
    model: keras.Model, weights: Mapping[str, np.ndarray]
) -> list[str]:
    """Set every variable of ``model`` from arrays under the reference's names.

    Args:
        model: A backbone, head or ``SimCLR`` of this library.
        weights: Reference variable name -> array. ``:0`` and whether batch norm was
            synchronised (``sync_batch_normalization``) do not matter.

    Returns:
        The names that were not used: those of heads when ``model`` is a backbone.

    Raises:
        ConfigError: Variables of ``model`` that have no array or one of another shape,
            all of them named; nothing is assigned then.
    """
    given = {_plain(name): name for name in weights}
    pairs, bad = [], []
    for name, variable in reference_variables(model):
        key = given.pop(_plain(name), None)
        value = None if key is None else np.asarray(weights[key])
        if value is not None and value.shape == tuple(variable.shape):
            pairs.append((variable, value))
            continue
        reason = "missing" if value is None else f"is {list(value.shape)}"
        bad.append(
            f"{variable.path} {list(variable.shape)} (reference {name} {reason})"
        )
    if bad:
        raise ConfigError(f"{len(bad)} variable(s) not set: {'; '.join(bad)}")
    for variable, value in pairs:
        variable.assign(value)
    return sorted(given.values())


def _plain(name: str) -> str:
    name = re.sub(r":\d+$", "", name)
    return name.replace("sync_batch_normalization", "batch_normalization")


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


def _reference_prefixes(layers: Mapping[str, keras.layers.Layer]) -> dict[str, str]:
    """Map our layer names that parse to the reference's variable prefixes."""
    counts: Counter[str] = Counter()
    scopes: dict[tuple[str, str], str] = {}

    def unique(base: str) -> str:
        counts[base] += 1
        return base if counts[base] == 1 else f"{base}_{counts[base] - 1}"

    def scope(owner: str, base: str) -> str:
        if (owner, base) not in scopes:
            scopes[owner, base] = unique(base)
        return scopes[owner, base]

    prefixes = {}
    for name in sorted(layers, key=_construction_order):
        if match := _STEM.fullmatch(name):
            outer: tuple[str, ...] = ("resnet",)
            inner = _BLOCK_PARTS[f"{match[1]}_1"]
        elif (match := _BLOCK.fullmatch(name)) and match[3] in _BLOCK_PARTS:
            group, number, part = match.groups()
            block = f"group{group}_block{number}"
            kind = (
                "bottleneck_block" if f"{block}_conv_3" in layers else "residual_block"
            )
            outer = ("resnet", f"block_group{group}", scope(block, kind))
            if part.startswith("sk_"):
                outer += (scope(block, "sk__conv2d"),)
            if part.startswith("se_"):
                outer += (scope(block, "se__layer"),)
            inner = _BLOCK_PARTS[part]
        elif match := _HEAD.fullmatch(name):
            outer = ("projection_head", f"{match[1]}_{match[2]}")
            inner = ("dense",) if match[3] == "dense" else _BLOCK_PARTS[f"{match[3]}_1"]
        elif name == "head_supervised":
            outer, inner = ("head_supervised", "linear_layer"), ("dense",)
        else:
            continue
        prefixes[name] = "/".join((*outer, *(unique(base) for base in inner)))
    return prefixes


def _construction_order(name: str) -> tuple[int, ...]:
    if match := _STEM.fullmatch(name):
        return (0, int(match[2]), match[1] != "conv")
    if (match := _BLOCK.fullmatch(name)) and match[3] in _BLOCK_PARTS:
        return (1, int(match[1]), int(match[2]), list(_BLOCK_PARTS).index(match[3]))
    if match := _HEAD.fullmatch(name):
        return (2, int(match[2]), match[3] != "dense")
    return (3,)


def _list_order(
    layers: Mapping[str, keras.layers.Layer],
) -> Callable[[str], tuple[int, ...]]:
    """Return the sort key of the reference's variable lists; see the module's text."""

    def key(name: str) -> tuple[int, ...]:
        order = _construction_order(name)
        if order[0] == 1:
            group, number, part = order[1:]
            basic = f"group{group}_block{number}_conv_3" not in layers
            squeeze = part >= list(_BLOCK_PARTS).index("se_reduce")
            return (1, group, number, 2 * squeeze + (basic and part < 2), part)
        if order[0] == 2:  # batch norm is listed before the dense layer
            return (2, order[1], 1 - order[2])
        return order

    return key
