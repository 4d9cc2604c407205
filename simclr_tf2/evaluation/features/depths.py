"""Linear classifiers on five depths of a frozen ResNet: the features benchmark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.features.extraction import Features

STAGES = ("feature1", "feature2", "feature3", "feature4", "feature5")
# The pools of the MMSelfSup benchmark for 224 pixels (after arXiv 1905.01235):
# map -> (grid, kernel, stride, rows of zeros on each side that count in the mean).
POOLS = {
    112: (12, 10, 10, 4),
    56: (6, 16, 8, 0),
    28: (4, 13, 5, 0),
    14: (3, 8, 3, 0),
    7: (2, 6, 1, 0),
}
GRIDS = tuple(grid for grid, *_ in POOLS.values())


def pool_to(x: Any, grid: tuple[int, int]) -> Any:
    """Average ``x [n, h, w, c]`` to ``[n, *grid, c]``, float32.

    A side with an entry in ``POOLS`` for this grid is pooled as the benchmark does.
    Any other is cut into ``grid`` parts [ours] that differ by at most one row and cover
    all of it, part i from ``floor(i h / g)`` to ``ceil((i + 1) h / g)``.

    Args:
        x: Symbolic or not, of known height and width.
        grid: Rows and columns, each at most those of ``x``.

    Raises:
        ConfigError: A grid larger than the map, or of no cell.
    """
    height, width = x.shape[1:3]
    rows, columns = _pool_matrix(height, grid[0]), _pool_matrix(width, grid[1])
    x = keras.ops.cast(x, "float32")
    x = keras.ops.einsum("nhwc,gh->ngwc", x, keras.ops.convert_to_tensor(rows))
    return keras.ops.einsum("ngwc,kw->ngkc", x, keras.ops.convert_to_tensor(columns))


def stage_grids(shapes: Sequence[Sequence[int | None]]) -> list[tuple[int, int]]:
    """Return the grids of the five maps: 12, 6, 4, 3, 2, or the map if smaller.

    Args:
        shapes: Five shapes ``(h, w, c)``, feature1 first.

    Raises:
        ConfigError: Not five, or a height or width that is not known.
    """
    if len(shapes) != len(GRIDS):
        raise ConfigError(
            f"the features protocol reads {len(GRIDS)} maps. Received: {len(shapes)}."
        )
    grids = []
    for (height, width, *_), grid in zip(shapes, GRIDS, strict=True):
        if height is None or width is None:
            raise ConfigError(
                "the features protocol needs a network with a fixed image size; build "
                "it with --image_size"
            )
        grids.append((min(grid, height), min(grid, width)))
    return grids


def stage_model(backbone: keras.Model) -> keras.Model:
    """Build a model of five depths of a backbone, pooled and flattened; float32.

    feature1 is the stem after batch norm and ReLU, before any max pool; feature2 to
    feature5 are block groups 1 to 4. At 224 pixels and width 1 of a bottleneck network
    9216, 9216, 8192, 9216 and 8192 numbers.

    Args:
        backbone: A network of ``build_resnet`` with a known image size.

    Returns:
        ``[n, s, s, c]`` -> list of five ``[n, d_i]``. Call with ``training=False``.

    Raises:
        ConfigError: A network without these layers, or of any image size.
    """
    groups = [f"block_group{group}" for group in range(1, 5)]
    endpoints = backbone.output if isinstance(backbone.output, dict) else {}
    if not endpoints.keys() >= set(groups):
        raise ConfigError(
            "the features protocol reads block groups 1 to 4 of a ResNet. Received: "
            f"{backbone.name!r}, which does not name them."
        )
    maps = [_stem_output(backbone), *(endpoints[group] for group in groups)]
    grids = stage_grids([x.shape[1:] for x in maps])
    pooled = [
        keras.layers.Flatten(name=name, dtype="float32")(pool_to(x, grid))
        for name, x, grid in zip(STAGES, maps, grids, strict=True)
    ]
    return keras.Model(backbone.input, pooled, name="stages")


def feature5_model(
    encoder: keras.Model, image_size: int | tuple[int, int]
) -> keras.Model:
    """Build a model of the last block group, pooled to 2x2 and flattened; float32.

    8,192 numbers at 224 pixels and width 1 of a bottleneck network. The weights are
    those of ``encoder``, not a copy.

    Args:
        encoder: Images -> h, as ``models.build_encoder`` makes it, or as it was loaded
            from an export; of one image size or of any.
        image_size: Side of the images, or (height, width).

    Returns:
        ``[n, height, width, c]`` -> ``[n, d]``.

    Raises:
        ConfigError: A network that does not end in ``final_avg_pool``.
    """
    names = {layer.name: layer for layer in encoder.layers}
    if "final_avg_pool" not in names:
        raise ConfigError(
            f"feature5 is the map that the layer final_avg_pool reads, and "
            f"{encoder.name} has no such layer; pass --svm_features=h"
        )
    last = keras.Model(encoder.input, names["final_avg_pool"].input, name="last_map")
    sides = (image_size,) * 2 if isinstance(image_size, int) else image_size
    images = keras.Input((*sides, encoder.input.shape[-1]), name="images")
    x = last(images)
    grid = (min(GRIDS[-1], x.shape[1]), min(GRIDS[-1], x.shape[2]))
    flat = keras.layers.Flatten(name=STAGES[-1], dtype="float32")(pool_to(x, grid))
    return keras.Model(images, flat, name=STAGES[-1])


def split_stages(joined: Features, dims: Sequence[int]) -> list[Features]:
    """Split features of five depths that were stored side by side, without a copy.

    Args:
        joined: ``[n, sum(dims)]``: the outputs of ``stage_model``, concatenated.
        dims: Of the five outputs.

    Raises:
        ConfigError: Dimensions that do not add up.
    """
    if sum(dims) != joined.features.shape[1]:
        raise ConfigError(
            f"features of {joined.features.shape[1]} dimensions are not the stages "
            f"{list(dims)} side by side; extract them again"
        )
    ends = np.cumsum(dims).tolist()
    return [
        Features(joined.features[:, end - dim : end], joined.labels, joined.name)
        for end, dim in zip(ends, dims, strict=True)
    ]


def _pool_matrix(size: int, grid: int) -> np.ndarray:
    """Return weights ``[grid, size]`` of an average pool along one side."""
    if not 1 <= grid <= size:
        raise ConfigError(
            f"a map of {size} rows cannot be pooled to {grid}; use larger images"
        )
    matrix = np.zeros((grid, size), np.float32)
    benchmark = POOLS.get(size, (None,))[0] == grid
    for cell in range(grid):
        if benchmark:
            _, kernel, stride, padding = POOLS[size]
            first = cell * stride - padding
            matrix[cell, max(0, first) : first + kernel] = 1 / kernel
        else:
            first, last = cell * size // grid, -(-(cell + 1) * size // grid)
            matrix[cell, first:last] = 1 / (last - first)
    return matrix


def _stem_output(backbone: keras.Model) -> keras.KerasTensor:
    """Return the output of the last ReLU of the stem; of 3 layers there in ResNet-D."""
    pattern = re.compile(r"stem_batch_normalization_(\d+)_relu$")
    numbers = {
        int(match[1]): layer
        for layer in backbone.layers
        if (match := pattern.match(layer.name))
    }
    if not numbers:
        raise ConfigError(
            "the features protocol reads the stem of a ResNet. Received: "
            f"{backbone.name!r}, which has no layer stem_batch_normalization_1_relu."
        )
    return numbers[max(numbers)].output
