"""What is in a picture of `simclr_shapes`: the random numbers and the scene they make.

A scene is a function of (seed, split, index) alone. Each index owns one key of Philox
(Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), whose raw output
numpy guarantees never to change: first come the uniforms of the scene, then the bits of
the pixel noise. So any image can be drawn alone, in any order, on any machine, and one
index shows the same scene at every image size.
"""

from __future__ import annotations

import dataclasses

import numpy as np

SHAPES = ("ellipse", "star", "square", "triangle", "cross", "crescent", "heart")
TEXTURES = ("stripes", "dots", "checks", "rings", "plain")
NUM_CLASS_SHAPES = 2  # ellipse and star make classes, the others only `unlabeled`
CLASS_NAMES = tuple(f"{s}_{t}" for s in SHAPES[:NUM_CLASS_SHAPES] for t in TEXTURES)
SPLITS = {"train": 0, "test": 1, "unlabeled": 2}
SEED = 2002_05709

# Difficulty, measured by benchmarks/shapes_difficulty.py. Changing any number here or
# in shapes_drawing.py changes the data: bump VERSION in shapes_builder.py.
COLOR_BIAS = 0.6  # probability that the object's hues are near that of its class
HUE_SPREAD = 0.06  # half width of "near", in turns
OTHER_SHAPE_FRACTION = 0.2  # of `unlabeled`
NUM_CLUTTER = 3
CLUTTER_PROBABILITY = 0.5
NUM_WAVES = 2
GOLDEN_RATIO = 0.5 * (5**0.5 - 1)

NUM_UNIFORMS = 96  # more than a scene takes, so that a new property moves no other


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """Properties of n pictures; lengths in half image widths, angles in radians.

    Every float array has shape [n], colours [n, 3] as RGB in [0, 1], clutter and wave
    properties a second axis of their number. Images span [-1, 1] in x and y.
    """

    shape: np.ndarray  # int, index into SHAPES
    texture: np.ndarray  # int, index into TEXTURES
    center_x: np.ndarray
    center_y: np.ndarray
    scale: np.ndarray  # radius of the shape's circumscribed circle, before stretching
    stretch: np.ndarray  # anisotropy: x is scaled by sqrt(stretch), y by its inverse
    angle: np.ndarray
    texture_angle: np.ndarray
    texture_frequency: np.ndarray  # periods over the image width
    texture_phase: np.ndarray  # [n, 2], in turns
    object_color: np.ndarray
    texture_color: np.ndarray
    background_color: np.ndarray
    background_color2: np.ndarray
    gradient_angle: np.ndarray
    wave_angle: np.ndarray  # [n, NUM_WAVES]
    wave_frequency: np.ndarray
    wave_phase: np.ndarray
    wave_amplitude: np.ndarray
    clutter_on: np.ndarray  # [n, NUM_CLUTTER] 0 or 1
    clutter_x: np.ndarray
    clutter_y: np.ndarray
    clutter_width: np.ndarray
    clutter_height: np.ndarray
    clutter_angle: np.ndarray
    clutter_color: np.ndarray  # [n, NUM_CLUTTER, 3]
    light_angle: np.ndarray
    light_amplitude: np.ndarray
    blur: np.ndarray  # outer tap of a 3-tap kernel


def random_words(
    indices: np.ndarray, *, split: str, seed: int, num_words: int
) -> np.ndarray:
    """Return uint64 [n, num_words]: row i is the Philox stream of indices[i]."""
    generator = np.random.Philox(key=np.array([seed, 0], np.uint64))
    state = generator.state
    words = np.empty((len(indices), num_words), np.uint64)
    for row, index in enumerate(np.asarray(indices, np.uint64)):
        state["state"]["key"][1] = (SPLITS[split] << 48) | int(index)
        generator.state = state  # counter 0 and an empty buffer
        words[row] = generator.random_raw(num_words)
    return words


def to_uniforms(words: np.ndarray) -> np.ndarray:
    """Return float64 in [0, 1) from the upper 53 bits of uint64 words."""
    return (words >> np.uint64(11)) * 2.0**-53


def hsv_to_rgb(
    hue: np.ndarray, saturation: np.ndarray, value: np.ndarray
) -> np.ndarray:
    """Return RGB [..., 3] of equally shaped hue (turns), saturation, value."""
    k = (np.array([5.0, 3.0, 1.0]) + 6.0 * (hue % 1.0)[..., None]) % 6.0
    ramp = np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0)
    rgb: np.ndarray = value[..., None] * (1.0 - saturation[..., None] * ramp)
    return rgb


class _Uniforms:
    """Dealer of the columns of uniforms [n, k], in order."""

    def __init__(self, uniforms: np.ndarray):
        self._columns = uniforms
        self._next = 0

    def take(
        self, low: float = 0.0, high: float = 1.0, *, count: int | None = None
    ) -> np.ndarray:
        """Return the next column [n], or the next `count` as [n, count]."""
        start, self._next = self._next, self._next + (count or 1)
        assert self._next <= self._columns.shape[1], "raise NUM_UNIFORMS"
        columns = self._columns[:, start : self._next]
        columns = low + (high - low) * columns
        return columns if count else columns[:, 0]


def shape_and_texture(
    indices: np.ndarray, split: str, chance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return shape [n] and texture [n]: labelled splits are balanced by index.

    Args:
      indices: [n] integers.
      split: a key of SPLITS.
      chance: [n, 2] uniforms; the first decides on another shape, the second which.
    """
    label = np.asarray(indices) % len(CLASS_NAMES)
    shape, texture = np.divmod(label, len(TEXTURES))
    if split == "unlabeled":
        num_others = len(SHAPES) - NUM_CLASS_SHAPES
        other = NUM_CLASS_SHAPES + (chance[:, 1] * num_others).astype(np.int64)
        shape = np.where(chance[:, 0] < OTHER_SHAPE_FRACTION, other, shape)
    return shape, texture


def _object_hues(u: _Uniforms, kind: np.ndarray, color_bias: float) -> list[np.ndarray]:
    """Return the hues [n] of object and texture: near the kind's hue, or uniform.

    One coin decides for both, so that about color_bias of the pictures tell their class
    by colour. Hues of successive kinds are spaced by the golden ratio.
    """
    is_biased = u.take() < color_bias
    return [
        np.where(
            is_biased, kind * GOLDEN_RATIO + u.take(-HUE_SPREAD, HUE_SPREAD), u.take()
        )
        for _ in range(2)
    ]


def _colors(u: _Uniforms, kind: np.ndarray, color_bias: float) -> list[np.ndarray]:
    """Return RGB of the object, its texture, and the two of the background."""
    light_is_object = u.take() < 0.5
    dark, light = u.take(0.2, 0.5), u.take(0.7, 1.0)
    object_value = np.where(light_is_object, light, dark)
    texture_value = np.where(light_is_object, dark, light)
    hues = [*_object_hues(u, kind, color_bias), u.take(), u.take()]
    values = [object_value, texture_value, u.take(0.2, 0.9), u.take(0.2, 0.9)]
    return [
        hsv_to_rgb(hue, u.take(0.4, 1.0), value)
        for hue, value in zip(hues, values, strict=True)
    ]


def make_scene(
    uniforms: np.ndarray,
    indices: np.ndarray,
    *,
    split: str,
    color_bias: float = COLOR_BIAS,
) -> Scene:
    """Return the scenes that uniforms [n, NUM_UNIFORMS] describe."""
    u = _Uniforms(uniforms)
    shape, texture = shape_and_texture(indices, split, u.take(count=2))
    kind = shape * len(TEXTURES) + texture
    scale = u.take(0.6, 0.9)
    stretch = np.exp(u.take(-0.25, 0.25))
    room = np.maximum(1.0 - scale * np.sqrt(np.maximum(stretch, 1 / stretch)), 0.0)
    colors = _colors(u, kind, color_bias)
    several = {"count": NUM_CLUTTER}
    waves = {"count": NUM_WAVES}
    return Scene(
        shape=shape,
        texture=texture,
        center_x=room * u.take(-1.0, 1.0),
        center_y=room * u.take(-1.0, 1.0),
        scale=scale,
        stretch=stretch,
        angle=u.take(0.0, 2 * np.pi),
        texture_angle=u.take(0.0, 2 * np.pi),
        texture_frequency=u.take(2.8, 4.4),
        texture_phase=u.take(count=2),
        object_color=colors[0],
        texture_color=colors[1],
        background_color=colors[2],
        background_color2=colors[3],
        gradient_angle=u.take(0.0, 2 * np.pi),
        wave_angle=u.take(0.0, 2 * np.pi, **waves),
        wave_frequency=u.take(0.4, 1.4, **waves),
        wave_phase=u.take(**waves),
        wave_amplitude=u.take(0.0, 0.3, **waves),
        clutter_on=(u.take(**several) < CLUTTER_PROBABILITY).astype(np.float64),
        clutter_x=u.take(-1.0, 1.0, **several),
        clutter_y=u.take(-1.0, 1.0, **several),
        clutter_width=u.take(0.1, 0.45, **several),
        clutter_height=u.take(0.1, 0.45, **several),
        clutter_angle=u.take(0.0, 2 * np.pi, **several),
        clutter_color=hsv_to_rgb(
            u.take(**several), u.take(0.2, 1.0, **several), u.take(0.2, 1.0, **several)
        ),
        light_angle=u.take(0.0, 2 * np.pi),
        light_amplitude=u.take(0.0, 0.3),
        blur=u.take(0.0, 0.2),
    )
