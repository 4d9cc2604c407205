"""Draws docs/images/shapes.png: the classes of simclr_shapes and the other shapes.

Run from the repository root:

    python -m benchmarks.shapes_picture

One row per class, its name beside it, from the labelled split; then one row per shape
that only the split `unlabeled` has.
"""

from __future__ import annotations

import argparse
import pathlib

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

from simclr_tf2.data import shapes_drawing, shapes_scene  # noqa: E402


def rows_of_pictures(
    *, columns: int, image_size: int, candidates: int
) -> list[tuple[str, np.ndarray]]:
    """Returns (name, images uint8 [columns, s, s, 3]) per class and other shape."""
    size = {"image_size": image_size}
    train = shapes_drawing.draw(range(10 * columns), split="train", **size)
    rows = [
        (name.replace("_", ", "), train.images[train.labels == label])
        for label, name in enumerate(shapes_scene.CLASS_NAMES)
    ]
    unlabeled = shapes_drawing.draw(range(candidates), split="unlabeled", **size)
    for shape in range(shapes_scene.NUM_CLASS_SHAPES, len(shapes_scene.SHAPES)):
        images = unlabeled.images[unlabeled.shapes == shape][:columns]
        rows.append((shapes_scene.SHAPES[shape] + " (unlabeled)", images))
    return rows


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="docs/images/shapes.png")
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--image_size", type=int, default=96)
    arguments = parser.parse_args()
    rows = rows_of_pictures(
        columns=arguments.columns,
        image_size=arguments.image_size,
        candidates=100 * arguments.columns,
    )
    figure, axes = plt.subplots(
        len(rows),
        1,
        figsize=(arguments.columns + 1.9, 1.02 * len(rows)),
        layout="constrained",
    )
    for axis, (name, images) in zip(axes, rows, strict=True):
        framed = np.pad(
            images, ((0, 0), (2, 2), (2, 2), (0, 0)), constant_values=255
        )
        axis.imshow(np.concatenate(list(framed), axis=1), interpolation="nearest")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11)
    pathlib.Path(arguments.output).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.output, dpi=100)


if __name__ == "__main__":
    main()
