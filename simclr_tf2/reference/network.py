"""The network that a checkpoint of the reference code belongs to, from its shapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from simclr_tf2.config import ModelConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.models.residual_blocks import DEPTHS, bottleneck_block
from simclr_tf2.models.resnet import GROUP_FILTERS, scaled_filters
from simclr_tf2.models.selective_kernel import MINIMUM_DIM

Shapes = Mapping[str, tuple[int, ...]]  # our layer/variable -> shape
SK_RATIO = 0.0625  # SimCLRv2, section 3; taken wherever the shapes allow it


def model_config(
    shapes: Shapes, *, resnet_d: bool, ft_proj_selector: int = 0
) -> ModelConfig:
    """Find the configuration whose network has variables of these shapes.

    Args:
        shapes: ``layer/variable`` as ``reference_structure.our_names`` gives it.
        resnet_d: Whether shortcuts pool first; no shape shows it.
        ft_proj_selector: What the classifier reads. The inputs of all layers of the
            head have one width, so shapes only tell them from z, which wins.

    Raises:
        ConfigError: No network of this library has such variables.
    """
    try:
        width = _width(shapes)
        mode, layers, out_dim = _projection_head(shapes)
        return ModelConfig(
            resnet_depth=_depth(shapes),
            width_multiplier=width,
            sk_ratio=_sk_ratio(shapes, width) if resnet_d else 0.0,
            se_ratio=_se_ratio(shapes, width),
            stem="cifar" if _stem_is_cifar(shapes) else "imagenet",
            proj_head_mode=mode,
            proj_out_dim=out_dim or ModelConfig.proj_out_dim,
            num_proj_layers=layers or ModelConfig.num_proj_layers,
            ft_proj_selector=_selector(shapes, layers, out_dim, ft_proj_selector),
        )
    except KeyError as error:
        raise ConfigError(f"it has no variable for our {error.args[0]}") from error
    except IndexError as error:
        raise ConfigError("a variable of it has too few dimensions") from error


def describe(config: ModelConfig, num_classes: int | None) -> str:
    """Describe a network with its classes in one line."""
    head = f"{num_classes} classes" if num_classes else "no supervised head"
    return f"{describe_network(config)}, {head}"


def describe_network(config: ModelConfig) -> str:
    """Describe a network in a line: "ResNet-50, width 2, sk_ratio 0.0625, ..."."""
    words = [f"ResNet-{config.resnet_depth}", f"width {config.width_multiplier:g}"]
    for name in ("sk_ratio", "se_ratio"):
        if value := getattr(config, name):
            words.append(f"{name} {value:g}")
    if config.has_resnet_d != (config.sk_ratio > 0):
        words.append("ResNet-D" if config.has_resnet_d else "without ResNet-D")
    words.append(f"{config.stem} stem")
    if config.proj_head_mode == "none":
        words.append("no projection head")
    else:
        layers = 1 if config.proj_head_mode == "linear" else config.num_proj_layers
        words.append(f"{layers}-layer projection head to {config.proj_out_dim}")
    return ", ".join(words)


def _depth(shapes: Shapes) -> int:
    blocks = {re.match(r"group(\d+)_block(\d+)_", name) for name in shapes}
    numbers = {(int(m[1]), int(m[2])) for m in blocks if m}
    counts = tuple(
        sum(group == wanted for group, _ in numbers)
        for wanted in range(1, 1 + max(group for group, _ in numbers))
    )
    wide = "group1_block1_conv_3/kernel" in shapes
    for depth, (block, expected) in DEPTHS.items():
        if counts == expected and wide == (block is bottleneck_block):
            return depth
    kind = "bottleneck" if wide else "basic"
    raise ConfigError(
        f"its {kind} blocks per group, {counts}, make none of the ResNets "
        f"{', '.join(map(str, DEPTHS))}"
    )


def _width(shapes: Shapes) -> float:
    """Find the width multiplier; the widest group tells fractions best."""
    found = _group_sizes(shapes, "conv_1/kernel")
    if len(found) != len(GROUP_FILTERS):
        raise KeyError("group4_block1_conv_1/kernel")
    bounds = [((n - 0.5) / f, (n + 0.5) / f) for f, n in found.items()]
    return _solve(found, scaled_filters, bounds, name="width")


def _sk_ratio(shapes: Shapes, width: float) -> float:
    found = _scaled_sizes(shapes, "sk_reduce/kernel", width)
    bounds = [
        (0.0 if n == MINIMUM_DIM else n / f, (n + 1) / f) for f, n in found.items()
    ]
    return _solve(
        found,
        lambda filters, ratio: max(int(filters * ratio), MINIMUM_DIM),
        bounds,
        name="sk_ratio",
        likely=SK_RATIO,
    )


def _se_ratio(shapes: Shapes, width: float) -> float:
    found = _scaled_sizes(shapes, "se_reduce/kernel", width)
    if not found:
        return 0.0
    bounds = [(0.0 if n == 1 else n / f, (n + 1) / f) for f, n in found.items()]
    return _solve(
        found,
        lambda filters, ratio: max(1, int(filters * ratio)),
        bounds,
        name="se_ratio",
    )


def _group_sizes(shapes: Shapes, variable: str) -> dict[int, int]:
    """Map the filters of each group at width 1 to its first block's last dimension."""
    keys = (f"group{group}_block1_{variable}" for group in range(1, 5))
    return {
        filters: shapes[key][-1]
        for filters, key in zip(GROUP_FILTERS, keys, strict=True)
        if key in shapes
    }


def _scaled_sizes(shapes: Shapes, variable: str, width: float) -> dict[int, int]:
    """Map each group's filters at this width to its first block's last dimension."""
    sizes = _group_sizes(shapes, variable)
    return {scaled_filters(filters, width): size for filters, size in sizes.items()}


def _solve(
    found: Mapping[int, int],
    rule: Callable[[int, float], int],
    bounds: Iterable[tuple[float, float]],
    *,
    name: str,
    likely: float | None = None,
) -> float:
    """Find a number, plain if possible, of which ``rule`` makes every found size."""
    bounds = list(bounds) or [(0.0, 2 * SK_RATIO)]
    low, high = max(b[0] for b in bounds), min(b[1] for b in bounds)
    exact = [size / filters for filters, size in list(found.items())[::-1]]
    for value in (likely, *exact, (low + high) / 2):
        if value and all(rule(filters, value) == n for filters, n in found.items()):
            return value
    sizes = ", ".join(f"{n} for {filters}" for filters, n in found.items())
    raise ConfigError(f"no {name} gives the layer widths it has: {sizes}")


def _stem_is_cifar(shapes: Shapes) -> bool:
    """Return whether the stem is that for CIFAR-10, one 3x3 convolution.

    ImageNet's stem has one 7x7 or, with ResNet-D, three.
    """
    return shapes["stem_conv_1/kernel"][0] == 3 and "stem_conv_2/kernel" not in shapes


def _projection_head(shapes: Shapes) -> tuple[str, int, int]:
    """Return the projection head's mode, number of layers and width of z."""
    kernels = [
        shape
        for name, shape in shapes.items()
        if re.fullmatch(r"projection_head_\d+_dense/kernel", name)
    ]
    count = len(kernels)
    if not count:
        return "none", 0, 0
    out_dim = shapes[f"projection_head_{count - 1}_dense/kernel"][-1]
    return "linear" if count == 1 else "nonlinear", count, out_dim


def _selector(shapes: Shapes, layers: int, out_dim: int, asked: int) -> int:
    kernel = shapes.get("head_supervised/kernel")
    first = shapes.get("projection_head_0_dense/kernel")
    if kernel and first and kernel[0] != first[0] and kernel[0] == out_dim:
        return layers
    return asked
