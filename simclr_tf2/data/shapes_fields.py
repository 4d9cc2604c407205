"""Fields on the pixel grid: shapes as signed distances, textures as signed waves.

Only IEEE-exact operations are used on the grid (no sin, no exp, no BLAS), each element
by itself: sines are taken of rows and columns in float64. Coordinates span [-1, 1]; all
fields are float32 [n, size, size], one image size for all n.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simclr_tf2.data.shapes_scene import SHAPES, TEXTURES, Scene

_Point = tuple[np.ndarray, np.ndarray]  # x and y, each [n]


def _axis(size: int) -> np.ndarray:
    """Return the pixel centres [size] of the interval [-1, 1]."""
    return (2.0 * np.arange(size) + 1.0) / size - 1.0


def plane(
    size: int, x_slope: np.ndarray, y_slope: np.ndarray, offset: np.ndarray
) -> np.ndarray:
    """Return x_slope * x + y_slope * y + offset as float32 [n, size, size]."""
    axis = _axis(size)
    along_x = (x_slope[:, None] * axis + offset[:, None]).astype(np.float32)
    along_y = (y_slope[:, None] * axis).astype(np.float32)
    heights: np.ndarray = along_x[:, None, :] + along_y[:, :, None]
    return heights


def wave(
    size: int, angle: np.ndarray, frequency: np.ndarray, phase: np.ndarray
) -> np.ndarray:
    """Return a sine wave as float32 [n, size, size].

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
    heights: np.ndarray = sin_a * cos_b + cos_a * sin_b
    return heights


def rotated(
    size: int,
    x: np.ndarray,
    y: np.ndarray,
    angle: np.ndarray,
    x_scale: np.ndarray | float = 1.0,
    y_scale: np.ndarray | float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the two coordinates of a frame at (x, y), turned and scaled."""
    cos, sin = np.cos(angle), np.sin(angle)
    across = plane(size, cos / x_scale, sin / x_scale, -(cos * x + sin * y) / x_scale)
    along = plane(size, -sin / y_scale, cos / y_scale, (sin * x - cos * y) / y_scale)
    return across, along


def _length(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    length: np.ndarray = np.sqrt(x * x + y * y)
    return length


# ---------------------------------------------------------------- signed distances
# Each takes coordinates in which the shape's circumscribed circle has radius 1 or so
# and returns the distance to its edge, negative inside.


def _ellipse(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _length(x, y) - np.float32(0.85)


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the signed distance to the edge of a star of five tips.

    Two reflections fold the plane onto one flank of one tip.
    """
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


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    distance: np.ndarray = np.maximum(np.abs(x), np.abs(y)) - np.float32(0.72)
    return distance


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    half, root = np.float32(0.5), np.float32(0.75**0.5)
    distance: np.ndarray = np.maximum(root * np.abs(x) + half * y, -y) - half
    return distance


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    long, short = np.maximum(x, y), np.minimum(x, y)
    distance: np.ndarray = np.maximum(long - np.float32(0.95), short - np.float32(0.32))
    return distance


def _crescent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    bite = _length(x - np.float32(0.45), y) - np.float32(0.75)
    return np.maximum(_length(x, y) - np.float32(0.95), -bite)


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the signed distance to the edge of a heart.

    It is a square with a half disk on two neighbouring sides, its tip at (-a, -a).
    """
    a = np.float32(0.55)
    x, y = x + np.float32(0.15), y + np.float32(0.15)
    square = np.maximum(np.abs(x), np.abs(y)) - a
    disks = np.minimum(_length(x - a, y), _length(x, y - a)) - a
    distance: np.ndarray = np.minimum(square, disks)
    return distance


_DISTANCES = dict(
    zip(
        SHAPES,
        (_ellipse, _star, _square, _triangle, _cross, _crescent, _heart),
        strict=True,
    )
)


def _rows_by_name(names: tuple[str, ...], chosen: np.ndarray) -> Iterator:
    """Yield each name with the rows [k] of `chosen` that hold its number."""
    for number, name in enumerate(names):
        rows = np.flatnonzero(chosen == number)
        if len(rows):
            yield name, rows


def _per_image(values: np.ndarray) -> np.ndarray:
    """Return [n] as float32 [n, 1, 1]."""
    return values.astype(np.float32)[:, None, None]


def coverage(distance: np.ndarray, pixels_per_unit: np.ndarray | float) -> np.ndarray:
    """Return the part in [0, 1] of each pixel on the negative side of an edge.

    Args:
      distance: [n, s, s] to the edge.
      pixels_per_unit: of the distance, a float or [n].
    """
    pixels = distance * _per_image(np.broadcast_to(pixels_per_unit, len(distance)))
    covered: np.ndarray = np.clip(np.float32(0.5) - pixels, 0.0, 1.0)
    return covered


def object_coverage(scene: Scene, size: int) -> np.ndarray:
    """Return the part of each pixel the object covers, float32 [n, s, s]."""
    stretch = np.sqrt(scene.stretch)
    x, y = rotated(
        size,
        scene.center_x,
        scene.center_y,
        scene.angle,
        scene.scale * stretch,
        scene.scale / stretch,
    )
    distance = np.empty_like(x)
    for name, rows in _rows_by_name(SHAPES, scene.shape):
        distance[rows] = _DISTANCES[name](x[rows], y[rows])
    return coverage(distance, 0.5 * size * scene.scale)


# ------------------------------------------------------------------------ textures
# Each returns a field that is negative on the texture's colour and has the steepest
# slope of a sine wave. Angle and phase do not depend on those of the shape.


def _stripes(
    size: int,
    angle: np.ndarray,
    frequency: np.ndarray,
    phase: np.ndarray,
    center: _Point,
) -> np.ndarray:
    return wave(size, angle, frequency, phase[:, 0])


def _dots(
    size: int,
    angle: np.ndarray,
    frequency: np.ndarray,
    phase: np.ndarray,
    center: _Point,
) -> np.ndarray:
    across = wave(size, angle, frequency, phase[:, 0])
    along = wave(size, angle + np.pi / 2, frequency, phase[:, 1])
    dots: np.ndarray = np.float32(0.6) - across - along
    return dots


def _checks(
    size: int,
    angle: np.ndarray,
    frequency: np.ndarray,
    phase: np.ndarray,
    center: _Point,
) -> np.ndarray:
    across = wave(size, angle, frequency, phase[:, 0])
    along = wave(size, angle + np.pi / 2, frequency, phase[:, 1])
    checks: np.ndarray = across * along
    return checks


def _rings(
    size: int,
    angle: np.ndarray,
    frequency: np.ndarray,
    phase: np.ndarray,
    center: _Point,
) -> np.ndarray:
    """Return a triangle wave of the distance from the object's centre."""
    x, y = center
    radius = _length(*rotated(size, x, y, np.zeros(len(angle))))
    turns = radius * _per_image(0.5 * frequency) + _per_image(phase[:, 0])
    turns -= np.floor(turns)
    rings: np.ndarray = np.abs(turns - np.float32(0.5)) - np.float32(0.25)
    return rings * np.float32(2 * np.pi)


def _plain(
    size: int,
    angle: np.ndarray,
    frequency: np.ndarray,
    phase: np.ndarray,
    center: _Point,
) -> np.ndarray:
    return np.ones((len(angle), size, size), np.float32)


_TEXTURES = dict(zip(TEXTURES, (_stripes, _dots, _checks, _rings, _plain), strict=True))


def texture_coverage(scene: Scene, size: int) -> np.ndarray:
    """Return where the surface has the texture's colour, float32 [n, s, s]."""
    field = np.empty((len(scene.shape), size, size), np.float32)
    for name, rows in _rows_by_name(TEXTURES, scene.texture):
        field[rows] = _TEXTURES[name](
            size,
            scene.texture_angle[rows],
            scene.texture_frequency[rows],
            scene.texture_phase[rows],
            (scene.center_x[rows], scene.center_y[rows]),
        )
    return coverage(field, size / (2 * np.pi * scene.texture_frequency))
