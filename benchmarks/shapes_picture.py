"""Draws docs/images/shapes.png: every shape with every texture of simclr_shapes.

Run from the repository root:

    python -m benchmarks.shapes_picture

The two rows on top are the ten classes; the shapes below are in `unlabeled` only.
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from simclr_tf2.data import shapes_drawing, shapes_scene
from simclr_tf2.data.shapes_scene import SHAPES, TEXTURES

GAP = 4  # pixels between pictures
LEFT, TOP = 84, 22  # pixels for the names
CANDIDATES = 2000  # enough for each of the 25 other pairs to come up twice


def indices_of_pairs(split: str, *, count: int) -> dict[tuple[int, int], np.ndarray]:
    """Return the first indices of each (shape, texture) of a split."""
    # A scene does not depend on the size of its picture, so small ones will do.
    drawn = shapes_drawing.draw(range(CANDIDATES), split=split, image_size=8)
    pairs = np.stack([drawn.shapes, drawn.textures], axis=1)
    return {
        tuple(pair): np.flatnonzero((pairs == pair).all(axis=1))[:count]
        for pair in np.unique(pairs, axis=0).tolist()
    }


def draw_grid(*, image_size: int, count: int) -> Image.Image:
    """Return the labelled grid, `count` pictures for each shape and texture."""
    step = image_size + GAP
    width, height = (
        LEFT + len(TEXTURES) * (count * step + GAP),
        TOP + len(SHAPES) * step,
    )
    sheet = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for texture, name in enumerate(TEXTURES):
        x = LEFT + texture * (count * step + GAP) + count * step // 2
        pen.text((x, TOP // 2), name, "black", font, anchor="mm")
    for shape, name in enumerate(SHAPES):
        y = TOP + shape * step + image_size // 2
        pen.text((LEFT - 8, y), name, "black", font, anchor="rm")
    for split in ("train", "unlabeled"):
        for (shape, texture), indices in indices_of_pairs(split, count=count).items():
            if (split == "train") != (shape < shapes_scene.NUM_CLASS_SHAPES):
                continue
            drawn = shapes_drawing.draw(indices, split=split, image_size=image_size)
            for number, image in enumerate(drawn.images):
                x = LEFT + texture * (count * step + GAP) + number * step
                sheet.paste(Image.fromarray(image), (x, TOP + shape * step))
    return sheet


def main() -> None:
    """Write the picture, with 256 colours to keep the file small."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="docs/images/shapes.png")
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--count", type=int, default=2)
    options = parser.parse_args()
    sheet = draw_grid(image_size=options.image_size, count=options.count)
    path = pathlib.Path(options.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
