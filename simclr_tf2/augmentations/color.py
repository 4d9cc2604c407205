"""Colour distortion: jitter and colour drop (SimCLR, appendix A; reference code).

The single operations work on planes, [c, pixels] float32; see ``planes``. Hue and
saturation are properties of red, green and blue: images of any other number of channels
are jittered in brightness and contrast alone, and lose their colour by taking the mean
of the channels (ours; the paper knows RGB only).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from simclr_tf2.augmentations import branching
from simclr_tf2.augmentations import planes as layout

JITTER_PROBABILITY = 0.8  # appendix A
GRAYSCALE_PROBABILITY = 0.2  # appendix A
BRIGHTNESS = CONTRAST = SATURATION = 0.8  # times the strength; appendix A
HUE = 0.2  # times the strength, in turns; appendix A
ORDERS = tuple(itertools.permutations(range(4)))
NO_JITTER = len(ORDERS)  # in place of an order
GRAYSCALE_ONLY = NO_JITTER + 1
# Turns of the hue that put a channel (column) in the place of another (row).
_PLACES = ((0, -1 / 3, 1 / 3), (1 / 3, 0, -1 / 3), (-1 / 3, 1 / 3, 0))


def adjust_brightness(planes: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiply by ``factor``: the reference code's "v2", its default."""
    return planes * factor


def add_brightness(planes: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """Add ``delta``: the reference code's "v1"."""
    return planes + delta


def adjust_contrast(planes: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Scale the distance to the mean of each channel."""
    mean = tf.reduce_mean(planes, axis=1, keepdims=True)
    return planes * factor + mean * (1.0 - factor)


def adjust_saturation(planes: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiply the S of HSV by ``factor`` (0 or greater) and keep it up to 1.

    With V the largest and m the smallest channel, S = (V - m) / V, and every channel c
    is V - (V - c) S'/S of the new saturation S'; the ratio is ``factor`` unless it
    takes S' beyond 1, then 1/S. Before the first clip V may be negative, undershoot of
    the resize; there S counts as 0, as in tf.image.
    """
    largest, smallest = _extrema(planes)
    spread = tf.maximum(largest - smallest, 1e-12)  # gray: any ratio gives V
    ratio = tf.maximum(tf.minimum(largest / spread, factor), 0.0)
    rest = largest * (1.0 - ratio)
    return tf.stack([c * ratio + rest for c in tf.unstack(planes)])


def adjust_hue(planes: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """Turn the H of HSV by ``delta`` turns, keeping the largest and smallest channel.

    No HSV needed: with V the largest and m the smallest channel, a turn by t sixths,
    0 <= t <= 1, makes of red clip(r - g - (1 - 2t) b + (1 - t)(V + m), m, V), and of
    green and blue the same with the channels in cyclic order; for t < 0 the two other
    channels swap. (That one clip serves all sectors of the hue follows from r - g being
    linear wherever red changes.) Two sixths more exchange the channels in a cycle. So
    the weight of a channel is a function of the part of a turn that is missing from
    the place where it would be the new one: 0 for itself, a third up or down for the
    others. The weights of a row are 1, 2t - 1 and -1.
    """
    mixture = hue_mixture(delta)
    largest, smallest = _extrema(planes)
    rest = (0.5 - tf.reduce_sum(mixture) / 6.0) * (largest + smallest)  # 1 - t
    return tf.stack(
        [
            tf.maximum(tf.minimum(c + rest, largest), smallest)
            for c in tf.unstack(tf.matmul(mixture, planes))
        ]
    )


def hue_mixture(delta: tf.Tensor) -> tf.Tensor:
    """Return the weights of ``adjust_hue``, new by old channel.

    They are [..., 3, 3] for turns of [..., 1, 1].
    """
    delta = tf.convert_to_tensor(delta)
    missing = delta - tf.constant(_PLACES, delta.dtype)
    missing = tf.abs(missing - tf.round(missing))
    return tf.clip_by_value(3.0 - 12.0 * missing, -1.0, 1.0)


def to_grayscale(image: tf.Tensor) -> tf.Tensor:
    """Drop the colour of [h, w, c]: all channels become ``planes.gray_mixture``."""
    channels = layout.require_channels(image)
    mixture = layout.gray_mixture(channels)
    return tf.reshape(
        tf.matmul(tf.reshape(image, [-1, channels]), mixture, transpose_b=True),
        tf.shape(image),
    )


def adjust(operation: int, planes: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    """Apply one operation, as ``ORDERS`` counts, with amounts of ``jitter_planes``."""
    planes = OPERATIONS[operation](planes, amounts[operation])
    if operation == 0 and amounts.shape[0] > len(OPERATIONS):
        planes = add_brightness(planes, amounts[len(OPERATIONS)])
    return planes


def jitter_planes(
    planes: tf.Tensor,
    amounts: tf.Tensor,
    *,
    order: tf.Tensor,
    scale: tf.Tensor | float = 1.0,
) -> tf.Tensor:
    """Apply the four operations in one of their 24 orders, clipping after each.

    Unless there are three channels, hue and saturation are left out of the order.

    Args:
        planes: [c, pixels] float32, a static shape.
        amounts: float32 [4]: factors of brightness, contrast and saturation, turns of
            hue; or [5], the last one is added to the brightness after its factor.
        order: int32, index into ``ORDERS``; ``NO_JITTER`` only clips,
            ``GRAYSCALE_ONLY`` drops the colour and clips.
        scale: multiplies the planes first.

    Returns:
        [c, pixels] float32 in [0, 1].
    """
    branches = _branches(*planes.shape, amounts.shape[0])
    return branching.call(branches, order, planes, amounts, tf.convert_to_tensor(scale))


def color_jitter(
    image: tf.Tensor,
    *,
    order: tf.Tensor,
    brightness: tf.Tensor,
    contrast: tf.Tensor,
    saturation: tf.Tensor,
    hue: tf.Tensor,
) -> tf.Tensor:
    """Jitter an image with given amounts.

    Args:
        image: [h, w, c] float32, a static shape.
        order: int32, index into ``ORDERS``, whose numbers mean 0 brightness,
            1 contrast, 2 saturation, 3 hue.
        brightness: factor.
        contrast: factor.
        saturation: factor, 0 or greater.
        hue: turns.

    Returns:
        [h, w, c] float32 in [0, 1].
    """
    amounts = tf.stack([brightness, contrast, saturation, hue])
    planes = jitter_planes(layout.to_planes(image), amounts, order=order)
    return layout.to_image(planes, height=image.shape[0], width=image.shape[1])


def meaningful(channels: int) -> range:
    """Return the operations of images of so many channels, as ``ORDERS`` counts."""
    return range(4 if channels == 3 else 2)


def amount_ranges(strength: float) -> list[tuple[float, float]]:
    """Return the lowest and highest of the four amounts of ``jitter_planes``.

    Factors go from max(1 - 0.8 strength, 0) to 1 + 0.8 strength, the turn of the hue
    from -0.2 to 0.2 times the strength (reference code).
    """
    factors = [
        (max(1.0 - limit * strength, 0.0), 1.0 + limit * strength)
        for limit in (BRIGHTNESS, CONTRAST, SATURATION)
    ]
    return [*factors, (-HUE * strength, HUE * strength)]


def order_range(probability: float) -> tuple[float, float]:
    """Return the range of a number whose integer part is an index of ``ORDERS``.

    All are equally likely. With a probability below 1 it is ``NO_JITTER`` or more in
    the other cases.
    """
    return (0.0, len(ORDERS) / probability) if probability > 0 else (NO_JITTER,) * 2


def random_color_jitter(
    image: tf.Tensor, *, seed: tf.Tensor, strength: float = 1.0
) -> tf.Tensor:
    """Draw amounts and order and jitter, always (the 0.8 is the policy's).

    Args:
        image: [h, w, c] float32, a static shape.
        seed: int32 [2].
        strength: 0 (a clip only) or more; 1 is the paper's.

    Returns:
        [h, w, c] float32 in [0, 1].
    """
    ranges = [order_range(1.0), *amount_ranges(strength)]
    low, high = np.array(ranges, np.float32).T
    draws = low + tf.random.stateless_uniform([5], seed) * (high - low)
    order = tf.cast(draws[0], tf.int32)
    planes = jitter_planes(layout.to_planes(image), draws[1:], order=order)
    return layout.to_image(planes, height=image.shape[0], width=image.shape[1])


def _extrema(planes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the largest and smallest channel of each pixel."""
    red, green, blue = tf.unstack(planes)
    largest = tf.maximum(tf.maximum(red, green), blue)
    return largest, tf.minimum(tf.minimum(red, green), blue)


OPERATIONS = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


@functools.cache
def _branches(channels: int, pixels: int, numbers: int) -> list:
    """Return concrete functions of ``jitter_planes`` for these shapes."""

    def jitter(
        operations: Sequence[int],
        planes: tf.Tensor,
        amounts: tf.Tensor,
        scale: tf.Tensor,
    ) -> tf.Tensor:
        planes = planes * scale
        for position, operation in enumerate(operations):
            planes = adjust(operation, planes, amounts)
            # In between, hue and saturation stay in [0, 1] but for rounding.
            if position in (0, 3) or operation < 2:
                planes = layout.clip(planes)
        return planes

    def plain(planes: tf.Tensor, amounts: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        del amounts
        return layout.clip(planes * scale)

    def gray(planes: tf.Tensor, amounts: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        del amounts
        return layout.clip(tf.matmul(layout.gray_mixture(channels) * scale, planes))

    orders = [tuple(o for o in x if o in meaningful(channels)) for x in ORDERS]
    functions: dict = {order: functools.partial(jitter, order) for order in orders}
    functions |= {"plain": plain, "gray": gray}
    shapes = (channels, pixels), (numbers,), ()
    traced = {key: branching.trace(f, *shapes) for key, f in functions.items()}
    return [traced[key] for key in [*orders, "plain", "gray"]]
