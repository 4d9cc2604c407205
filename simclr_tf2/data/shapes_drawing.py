"""Draws the pictures of `simclr_shapes`: scenes in, uint8 images and masks out.

Shapes are signed distance fields with one pixel of analytic anti-aliasing. On the
pixel grid only IEEE-exact operations are used (no sin, no exp, no BLAS), each element
by itself: an image does not depend on the batch it is drawn in. Lengths are in half
image widths until the last step multiplies them by half the width in pixels.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from simclr_tf2.data import shapes_scene
from simclr_tf2.data.shapes_scene import SHAPES, TEXTURES, Scene

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
    indices,
    *,
    split: str,
    image_size: int,
    seed: int = shapes_scene.SEED,
    color_bias: float = shapes_scene.COLOR_BIAS,
) -> Drawings:
    """Draws the pictures of some indices of a split.

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
    """Returns the class of shape and texture indices, -1 for shapes without class."""
    label = shape * len(TEXTURES) + texture
    return np.where(shape < shapes_scene.NUM_CLASS_SHAPES, label, -1)


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """Returns the tight boxes [n, 4] (ymin, xmin, ymax, xmax) of masks [n, h, w, 1].

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


def _draw_batch(indices, *, split, image_size, seed, color_bias) -> Drawings:
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
    coverage = _object_coverage(scene, image_size)
    pixels = _background(scene, image_size)
    _add_clutter(pixels, scene, image_size)
    _blend(pixels, _object_colors(scene, image_size), coverage)
    pixels *= _light(scene, image_size)[:, None]
    pixels = _blurred(pixels, scene.blur.astype(np.float32))
    noise = np.ascontiguousarray(words[:, shapes_scene.NUM_UNIFORMS :])
    pixels += _noise(noise, num_values).reshape(pixels.shape)
    pixels *= 255.0
    pixels += 0.5
    np.clip(pixels, 0.0, 255.0, out=pixels)
    masks = (coverage >= 0.5).astype(np.uint8)[..., None]
    return Drawings(
        images=np.ascontiguousarray(pixels.astype(np.uint8).transpose(0, 2, 3, 1)),
        masks=masks,
        boxes=boxes_of(masks),
        labels=label_of(scene.shape, scene.texture),
        shapes=scene.shape,
        textures=scene.texture,
    )


def _axis(size: int) -> np.ndarray:
    """Returns the pixel centres [size] of the interval [-1, 1]."""
    return (2.0 * np.arange(size) + 1.0) / size - 1.0


def _plane(size, x_slope, y_slope, offset) -> np.ndarray:
    """Returns x_slope * x + y_slope * y + offset as float32 [n, size, size]."""
    axis = _axis(size)
    along_x = (x_slope[:, None] * axis + offset[:, None]).astype(np.float32)
    along_y = (y_slope[:, None] * axis).astype(np.float32)
    return along_x[:, None, :] + along_y[:, :, None]


def _wave(size, angle, frequency, phase) -> np.ndarray:
    """Returns a sine wave as float32 [n, size, size].

    By sin(a + b) = sin(a) cos(b) + cos(a) sin(b) only rows and columns need a sine.

    Args:
      size: of the image.
      angle: [n] direction.
      frequency: [n] periods over the image width.
      phase: [n] in turns.
    """
    axis = np.pi * frequency[:, None] * _axis(size)
    a = np.cos(angle)[:, None] * axis + 2 * np.pi * phase[:, None]
    b = np.sin(angle)[:, None] * axis
    sin_a, cos_a = (f(a).astype(np.float32)[:, None, :] for f in (np.sin, np.cos))
    sin_b, cos_b = (f(b).astype(np.float32)[:, :, None] for f in (np.sin, np.cos))
    return sin_a * cos_b + cos_a * sin_b


def _rotated(size, x, y, angle, x_scale=1.0, y_scale=1.0):
    """Returns the two coordinates of a frame at (x, y), turned and scaled."""
    cos, sin = np.cos(angle), np.sin(angle)
    across = _plane(size, cos / x_scale, sin / x_scale, -(cos * x + sin * y) / x_scale)
    along = _plane(size, -sin / y_scale, cos / y_scale, (sin * x - cos * y) / y_scale)
    return across, along


def _length(x, y):
    return np.sqrt(x * x + y * y)


def _blend(pixels, color, coverage) -> None:
    """Paints color over pixels [n, 3, s, s] in place where coverage [n, s, s] is 1."""
    difference = color - pixels
    difference *= coverage[:, None]
    pixels += difference


# ---------------------------------------------------------------- signed distances
# Each takes coordinates in which the shape's circumscribed circle has radius 1 or so
# and returns the distance to its edge, negative inside.


def _ellipse(x, y):
    return _length(x, y) - np.float32(0.85)


def _star(x, y):
    """Five tips: two reflections fold the plane onto one flank of one tip."""
    x = np.abs(x)
    for degrees, flip in ((-36.0, 1.0), (-36.0, -1.0)):
        nx = np.float32(flip * np.cos(np.radians(degrees)))
        ny = np.float32(np.sin(np.radians(degrees)))
        reach = np.maximum(nx * x + ny * y, 0.0) * np.float32(2.0)
        x, y = x - reach * nx, y - reach * ny
    x = np.abs(x)
    inner = 0.45  # radius of the notches, the tips having 1
    notch_x, notch_y = inner * np.sin(np.pi / 5), inner * np.cos(np.pi / 5)
    flank = np.hypot(1.0 - notch_y, notch_x)
    nx, ny = np.float32((1.0 - notch_y) / flank), np.float32(notch_x / flank)
    return nx * x + ny * y - ny


def _square(x, y):
    return np.maximum(np.abs(x), np.abs(y)) - np.float32(0.72)


def _triangle(x, y):
    half, root = np.float32(0.5), np.float32(0.75**0.5)
    return np.maximum(root * np.abs(x) + half * y, -y) - half


def _cross(x, y):
    x, y = np.abs(x), np.abs(y)
    long, short = np.maximum(x, y), np.minimum(x, y)
    return np.maximum(long - np.float32(0.95), short - np.float32(0.32))


def _crescent(x, y):
    bite = _length(x - np.float32(0.45), y) - np.float32(0.75)
    return np.maximum(_length(x, y) - np.float32(0.95), -bite)


def _heart(x, y):
    """A square with a half disk on two neighbouring sides, its tip at (-a, -a)."""
    a = np.float32(0.55)
    x, y = x + np.float32(0.15), y + np.float32(0.15)
    square = np.maximum(np.abs(x), np.abs(y)) - a
    disks = np.minimum(_length(x - a, y), _length(x, y - a)) - a
    return np.minimum(square, disks)


_DISTANCES = dict(
    zip(
        SHAPES,
        (_ellipse, _star, _square, _triangle, _cross, _crescent, _heart),
        strict=True,
    )
)


def _select(scene: Scene, names: tuple[str, ...], chosen: np.ndarray):
    """Yields each name with the rows [k] that chose it, if there are any."""
    for number, name in enumerate(names):
        rows = np.flatnonzero(chosen == number)
        if len(rows):
            yield name, rows


def _object_coverage(scene: Scene, size: int) -> np.ndarray:
    """Returns the part of each pixel the object covers, float32 [n, s, s]."""
    stretch = np.sqrt(scene.stretch)
    x, y = _rotated(
        size,
        scene.center_x,
        scene.center_y,
        scene.angle,
        scene.scale * stretch,
        scene.scale / stretch,
    )
    distance = np.empty_like(x)
    for name, rows in _select(scene, SHAPES, scene.shape):
        distance[rows] = _DISTANCES[name](x[rows], y[rows])
    distance *= (0.5 * size * scene.scale).astype(np.float32)[:, None, None]
    return np.clip(np.float32(0.5) - distance, 0.0, 1.0)


# ------------------------------------------------------------------------ textures
# Each returns a field whose sign is the texture, in units of its steepest slope.


def _stripes(size, angle, frequency, phase):
    return _wave(size, angle, frequency, phase[:, 0])


def _dots(size, angle, frequency, phase):
    across = _wave(size, angle, frequency, phase[:, 0])
    along = _wave(size, angle + np.pi / 2, frequency, phase[:, 1])
    return across + along - np.float32(0.6)


def _checks(size, angle, frequency, phase):
    across = _wave(size, angle, frequency, phase[:, 0])
    return across * _wave(size, angle + np.pi / 2, frequency, phase[:, 1])


def _plain(size, angle, frequency, phase):
    return np.full((len(angle), size, size), -1.0, np.float32)


def _rings(size, angle, frequency, phase, x, y):
    """Rings around (x, y): a triangle wave of the radius with the slope of a sine."""
    zero = np.zeros_like(x)
    radius = _length(*_rotated(size, x, y, zero))
    turns = radius * (0.5 * frequency).astype(np.float32)[:, None, None]
    turns += phase[:, :1, None].astype(np.float32)
    turns -= np.floor(turns)
    return (np.float32(0.25) - np.abs(turns - np.float32(0.5))) * np.float32(2 * np.pi)


_TEXTURES = {"stripes": _stripes, "dots": _dots, "checks": _checks, "plain": _plain}


def _object_colors(scene: Scene, size: int) -> np.ndarray:
    """Returns the textured surface, float32 [n, 3, s, s], also outside the object."""
    field = np.empty((len(scene.shape), size, size), np.float32)
    for name, rows in _select(scene, TEXTURES, scene.texture):
        arguments = (
            size,
            scene.texture_angle[rows],
            scene.texture_frequency[rows],
            scene.texture_phase[rows],
        )
        if name == "rings":
            centers = scene.center_x[rows], scene.center_y[rows]
            field[rows] = _rings(*arguments, *centers)
        else:
            field[rows] = _TEXTURES[name](*arguments)
    field *= (size / (2 * np.pi * scene.texture_frequency)).astype(np.float32)[
        :, None, None
    ]
    field += np.float32(0.5)
    np.clip(field, 0.0, 1.0, out=field)
    return _mix(scene.object_color, scene.texture_color, field)


# -------------------------------------------------------------- everything around it


def _mix(color, other, amount) -> np.ndarray:
    """Returns color + amount * (other - color), float32 [n, 3, s, s]."""
    color, other = color.astype(np.float32), other.astype(np.float32)
    mixed = amount[:, None] * (other - color)[:, :, None, None]
    mixed += color[:, :, None, None]
    return mixed


def _background(scene: Scene, size: int) -> np.ndarray:
    """Returns a gradient with waves between two colours, float32 [n, 3, s, s]."""
    cos, sin = np.cos(scene.gradient_angle), np.sin(scene.gradient_angle)
    amount = _plane(size, 0.4 * cos, 0.4 * sin, np.full_like(cos, 0.5))
    for number in range(shapes_scene.NUM_WAVES):
        wave = _wave(
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
    """Paints the clutter rectangles over the background, in place."""
    for number in range(shapes_scene.NUM_CLUTTER):
        rows = np.flatnonzero(scene.clutter_on[:, number])
        x, y = _rotated(
            size,
            scene.clutter_x[rows, number],
            scene.clutter_y[rows, number],
            scene.clutter_angle[rows, number],
        )
        width = scene.clutter_width[rows, number].astype(np.float32)[:, None, None]
        height = scene.clutter_height[rows, number].astype(np.float32)[:, None, None]
        distance = np.maximum(np.abs(x) - width, np.abs(y) - height)
        coverage = np.clip(np.float32(0.5) - distance * (0.5 * size), 0.0, 1.0)
        color = scene.clutter_color[rows, number].astype(np.float32)
        painted = pixels[rows]
        _blend(painted, color[:, :, None, None], coverage)
        pixels[rows] = painted


def _light(scene: Scene, size: int) -> np.ndarray:
    """Returns the brightness factor, float32 [n, s, s]."""
    x_slope = scene.light_amplitude * np.cos(scene.light_angle)
    y_slope = scene.light_amplitude * np.sin(scene.light_angle)
    return _plane(size, x_slope, y_slope, np.ones_like(x_slope))


def _blurred(pixels: np.ndarray, tap: np.ndarray) -> np.ndarray:
    """Applies the kernel (tap, 1 - 2 tap, tap) along both axes, edges repeated."""
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
    """Returns float32 [n, num_values] of standard deviation NOISE_SIGMA.

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
