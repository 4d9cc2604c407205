"""Draws the pictures of `simclr_shapes`: scenes in, uint8 images and masks out.

A textured object on a background of two colours with clutter, then light, a slight
blur and noise. Every operation treats each image by itself and edges are anti-aliased
over one pixel, so an image depends on its index alone, not on the batch.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from simclr_tf2.data import shapes_fields, shapes_scene
from simclr_tf2.data.shapes_scene import TEXTURES, Scene

NOISE_SIGMA = 0.04  # of the range [0, 1]
PIXELS_PER_BATCH = 64 * 32 * 32  # keeps the working set of a batch in the cache


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawings:
    """n pictures and what is in them."""

    images: np.ndarray  # uint8 [n, s, s, 3]
    masks: np.ndarray  # uint8 [n, s, s, 1], 1 on the object
    boxes: np.ndarray  # float32 [n, 4]: ymin, xmin, ymax, xmax in [0, 1]
    labels: np.ndarray  # int64 [n] into CLASS_NAMES, -1 where the shape is another
    shapes: np.ndarray  # int64 [n] into SHAPES
    textures: np.ndarray  # int64 [n] into TEXTURES


def draw(
    indices: npt.ArrayLike,
    *,
    split: str,
    image_size: int,
    seed: int = shapes_scene.SEED,
    color_bias: float = shapes_scene.COLOR_BIAS,
) -> Drawings:
    """Draw the pictures of some indices of a split.

    Args:
      indices: [n] integers from 0; the picture of an index is always the same.
      split: "train", "test" or "unlabeled"; splits have disjoint random numbers.
      image_size: height and width in pixels; one index is the same scene at any size.
      seed: of the whole data set.
      color_bias: probability in [0, 1] that the object's hues are near its class's.

    Returns:
      `Drawings` of length n, in the order of `indices`.
    """
    indices = np.asarray(indices, np.int64).reshape(-1)
    step = max(1, PIXELS_PER_BATCH // image_size**2)
    batches = [
        _draw_batch(
            indices[start : start + step],
            split=split,
            image_size=image_size,
            seed=seed,
            color_bias=color_bias,
        )
        for start in range(0, max(1, len(indices)), step)
    ]
    fields = [field.name for field in dataclasses.fields(Drawings)]
    return Drawings(
        **{f: np.concatenate([getattr(b, f) for b in batches]) for f in fields}
    )


def label_of(shape: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """Return the class of shape and texture indices, -1 for shapes without class."""
    label = shape * len(TEXTURES) + texture
    return np.where(shape < shapes_scene.NUM_CLASS_SHAPES, label, -1)


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """Return the tight boxes [n, 4] (ymin, xmin, ymax, xmax) of masks [n, h, w, 1].

    Every mask must have a pixel set.
    """
    sides = []
    for axis in (2, 1):  # rows that hold the object, then columns
        occupied = masks[..., 0].max(axis=axis)
        size = occupied.shape[1]
        first = occupied.argmax(axis=1)
        last = size - occupied[:, ::-1].argmax(axis=1)
        sides.append((first / size, last / size))
    (ymin, ymax), (xmin, xmax) = sides
    return np.stack([ymin, xmin, ymax, xmax], axis=1).astype(np.float32)


def _draw_batch(
    indices: np.ndarray, *, split: str, image_size: int, seed: int, color_bias: float
) -> Drawings:
    num_values = 3 * image_size**2
    words = shapes_scene.random_words(
        indices,
        split=split,
        seed=seed,
        num_words=shapes_scene.NUM_UNIFORMS + (num_values + 1) // 2,
    )
    uniforms = shapes_scene.to_uniforms(words[:, : shapes_scene.NUM_UNIFORMS])
    scene = shapes_scene.make_scene(
        uniforms, indices, split=split, color_bias=color_bias
    )
    mask = shapes_fields.object_coverage(scene, image_size)
    pixels = _background(scene, image_size)
    _add_clutter(pixels, scene, image_size)
    texture = shapes_fields.texture_coverage(scene, image_size)
    surface = _mix(scene.object_color, scene.texture_color, texture)
    _blend(pixels, surface, mask)
    pixels *= _light(scene, image_size)[:, None]
    pixels = _blurred(pixels, scene.blur.astype(np.float32))
    noise = np.ascontiguousarray(words[:, shapes_scene.NUM_UNIFORMS :])
    pixels += _noise(noise, num_values).reshape(pixels.shape)
    pixels *= 255.0
    pixels += 0.5
    np.clip(pixels, 0.0, 255.0, out=pixels)
    masks = (mask >= 0.5).astype(np.uint8)[..., None]
    return Drawings(
        images=np.ascontiguousarray(pixels.astype(np.uint8).transpose(0, 2, 3, 1)),
        masks=masks,
        boxes=boxes_of(masks),
        labels=label_of(scene.shape, scene.texture),
        shapes=scene.shape,
        textures=scene.texture,
    )


def _blend(pixels: np.ndarray, color: np.ndarray, coverage: np.ndarray) -> None:
    """Paint color over pixels [n, 3, s, s] in place where coverage [n, s, s] is 1."""
    difference = color - pixels
    difference *= coverage[:, None]
    pixels += difference


def _mix(color: np.ndarray, other: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Return color + amount * (other - color), float32 [n, 3, s, s]."""
    color, other = color.astype(np.float32), other.astype(np.float32)
    mixed: np.ndarray = amount[:, None] * (other - color)[:, :, None, None]
    mixed += color[:, :, None, None]
    return mixed


def _background(scene: Scene, size: int) -> np.ndarray:
    """Return a gradient with waves between two colours, float32 [n, 3, s, s]."""
    cos, sin = np.cos(scene.gradient_angle), np.sin(scene.gradient_angle)
    amount = shapes_fields.plane(size, 0.4 * cos, 0.4 * sin, np.full_like(cos, 0.5))
    for number in range(shapes_scene.NUM_WAVES):
        wave = shapes_fields.wave(
            size,
            scene.wave_angle[:, number],
            scene.wave_frequency[:, number],
            scene.wave_phase[:, number],
        )
        wave *= scene.wave_amplitude[:, number].astype(np.float32)[:, None, None]
        amount += wave
    np.clip(amount, 0.0, 1.0, out=amount)
    return _mix(scene.background_color, scene.background_color2, amount)


def _add_clutter(pixels: np.ndarray, scene: Scene, size: int) -> None:
    """Paint the clutter rectangles over the background, in place."""
    for number in range(shapes_scene.NUM_CLUTTER):
        rows = np.flatnonzero(scene.clutter_on[:, number])
        x, y = shapes_fields.rotated(
            size,
            scene.clutter_x[rows, number],
            scene.clutter_y[rows, number],
            scene.clutter_angle[rows, number],
        )
        width = scene.clutter_width[rows, number].astype(np.float32)[:, None, None]
        height = scene.clutter_height[rows, number].astype(np.float32)[:, None, None]
        distance = np.maximum(np.abs(x) - width, np.abs(y) - height)
        coverage = shapes_fields.coverage(distance, 0.5 * size)
        color = scene.clutter_color[rows, number].astype(np.float32)
        painted = pixels[rows]
        _blend(painted, color[:, :, None, None], coverage)
        pixels[rows] = painted


def _light(scene: Scene, size: int) -> np.ndarray:
    """Return the brightness factor, float32 [n, s, s]."""
    x_slope = scene.light_amplitude * np.cos(scene.light_angle)
    y_slope = scene.light_amplitude * np.sin(scene.light_angle)
    return shapes_fields.plane(size, x_slope, y_slope, np.ones_like(x_slope))


def _blurred(pixels: np.ndarray, tap: np.ndarray) -> np.ndarray:
    """Apply the kernel (tap, 1 - 2 tap, tap) along both axes, edges repeated."""
    tap = tap[:, None, None, None]
    for axis in (2, 3):
        step = np.diff(pixels, axis=axis)
        step *= tap
        upper = [slice(None)] * 4
        lower = [slice(None)] * 4
        upper[axis], lower[axis] = slice(None, -1), slice(1, None)
        pixels = pixels.copy()
        pixels[tuple(upper)] += step
        pixels[tuple(lower)] -= step
    return pixels


def _noise(words: np.ndarray, num_values: int) -> np.ndarray:
    """Return noise float32 [n, num_values] of standard deviation NOISE_SIGMA.

    Each value is the sum of four random bytes: close to normal, bounded, and exact.
    """
    bits = words.view(np.uint32)[:, :num_values]
    pairs = (bits & np.uint32(0x00FF00FF)) + ((bits >> np.uint32(8)) & 0x00FF00FF)
    total = (pairs & np.uint32(0xFFFF)) + (pairs >> np.uint32(16))
    sigma = np.sqrt(4 * (256**2 - 1) / 12)
    noise = total.astype(np.float32)
    noise -= np.float32(4 * 127.5)
    noise *= np.float32(NOISE_SIGMA / sigma)
    return noise
