"""What follows the crop of many views at once, for the device that trains.

The host crops, resizes and draws the numbers (``policy.windows``), the device does the
rest inside the training step: the views are those of ``policy.views`` but for rounding.
Every operation is computed for all views and each view takes its own, without a branch,
so that a GPU runs few large kernels and XLA compiles them (``--jit_compile``, TPUs).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from simclr_tf2.augmentations import blur, color, crop, policy, sampling
from simclr_tf2.augmentations import planes as layout
from simclr_tf2.augmentations.solarize import solarize_where

CHUNK = 256  # views at a time: temporaries are a few times their size
_NOTHING = 4  # a step that leaves a view alone
_STEPS = np.array([*color.ORDERS, (_NOTHING,) * 4], np.int32)


def finish(windows: tf.Tensor, numbers: tf.Tensor, *, use_blur: bool) -> tf.Tensor:
    """Flip, jitter, drop the colour, blur and so on, each view as its numbers say.

    Args:
        windows: [b, height, width, c] float32 or float64, a static shape: cropped and
            resized, in [0, 1] but for what the resize overshoots.
        numbers: float32 [b, 9] or [b, 14], of ``sampling.draw_numbers``.
        use_blur: blur those that drew it.

    Returns:
        [b, height, width, c] in [0, 1], in the type of ``windows``.
    """
    numbers = tf.cast(numbers, windows.dtype)
    count = windows.shape[0]
    radius = blur.blur_radius(windows.shape[1]) if use_blur else 0
    if use_blur and radius == 0:
        policy.warn_without_blur(windows.shape[1])
    size = _chunk_of(count)
    if size == count:
        return _finish(windows, numbers, radius)
    parts = [
        tf.reshape(x, [count // size, size, *x.shape[1:]]) for x in (windows, numbers)
    ]
    made = tf.map_fn(
        lambda part: _finish(part[0], part[1], radius),
        tuple(parts),
        fn_output_signature=windows.dtype,
        parallel_iterations=1,
    )
    return tf.reshape(made, windows.shape)


def _chunk_of(count: int) -> int:
    """Return the largest divisor up to CHUNK that is not tiny, else all."""
    divisors = [d for d in range(CHUNK // 4, CHUNK + 1) if count % d == 0]
    return divisors[-1] if divisors and count > CHUNK else count


def _finish(windows: tf.Tensor, numbers: tf.Tensor, radius: int) -> tf.Tensor:
    _, height, width, channels = windows.shape
    flip = numbers[:, 1] < 1.0
    gray = numbers[:, 2] < 1.0
    lines = tf.transpose(windows, [0, 3, 1, 2])
    lines = tf.where(_each(flip, 4), tf.reverse(lines, [3]), lines)
    more = numbers.shape[1] > sampling.ADDED_BRIGHTNESS
    if more:
        turns = tf.cast(numbers[:, sampling.QUARTER_TURNS], tf.int32)
        lines = crop.orient(
            lines,
            vertical_flip=_each(numbers[:, sampling.VERTICAL_FLIP] < 1.0, 4),
            quarter_turns=_each(turns, 4),
        )
    planes = tf.reshape(lines, [-1, channels, height * width])
    planes = _jitter(planes, numbers)
    gray_weights = tf.constant(layout.gray_mixture(channels)[0], planes.dtype)
    mixed = tf.reduce_sum(planes * gray_weights[:, None], 1)
    planes = tf.where(_each(gray, 3), mixed[:, None], planes)
    lines = tf.reshape(layout.clip(planes), [-1, channels, height, width])
    if radius > 0:
        lines = _blur(lines, numbers, radius)
    if more:
        lines = solarize_where(
            lines,
            _each(numbers[:, sampling.SOLARIZE] < 1.0, 4),
            _each(numbers[:, sampling.THRESHOLD], 4),
        )
    return tf.transpose(lines, [0, 2, 3, 1])


def _each(values: tf.Tensor, rank: int) -> tf.Tensor:
    """Reshape one value for each view, [b], so that it spreads over the view."""
    return tf.reshape(values, [-1] + [1] * (rank - 1))


def _jitter(planes: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Apply four operations in each view's own order, clipping after each.

    Args:
        planes: [b, c, pixels] float32.
        numbers: float32 [b, 9] or [b, 14].

    Returns:
        [b, c, pixels]; views without a jitter are not clipped.
    """
    orders = tf.minimum(tf.cast(numbers[:, 0], tf.int32), color.NO_JITTER)
    steps = tf.gather(_STEPS, orders)
    given = numbers[:, 5 : sampling.ADDED_BRIGHTNESS + 1]
    amounts = [_each(amount, 3) for amount in tf.unstack(given, axis=1)]
    for position in range(4):
        step = _each(steps[:, position], 3)
        known = tf.less(step, len(color.meaningful(planes.shape[1])))
        planes = tf.where(known, layout.clip(_adjusted(planes, step, amounts)), planes)
    return planes


def _adjusted(
    planes: tf.Tensor, step: tf.Tensor, amounts: list[tf.Tensor]
) -> tf.Tensor:
    """Return each view after its own operation; formulas are those of ``color``."""
    brightness, contrast, saturation, hue, *added = amounts
    is_contrast = tf.equal(step, 1)
    mean = tf.reduce_mean(planes, axis=2, keepdims=True)
    factor = tf.where(is_contrast, contrast, brightness)
    added_brightness = added[0] if added else 0.0
    made = planes * factor + tf.where(
        is_contrast, mean * (1.0 - contrast), added_brightness
    )
    if planes.shape[1] != 3:
        return made
    largest = tf.reduce_max(planes, axis=1, keepdims=True)
    smallest = tf.reduce_min(planes, axis=1, keepdims=True)
    made = tf.where(
        tf.equal(step, 2), _saturated(planes, saturation, largest, smallest), made
    )
    return tf.where(tf.equal(step, 3), _turned(planes, hue, largest, smallest), made)


def _saturated(
    planes: tf.Tensor, factor: tf.Tensor, largest: tf.Tensor, smallest: tf.Tensor
) -> tf.Tensor:
    spread = tf.maximum(largest - smallest, 1e-12)
    ratio = tf.maximum(tf.minimum(largest / spread, factor), 0.0)
    return planes * ratio + largest * (1.0 - ratio)


def _turned(
    planes: tf.Tensor, delta: tf.Tensor, largest: tf.Tensor, smallest: tf.Tensor
) -> tf.Tensor:
    mixture = color.hue_mixture(delta)  # [b, 3, 3]
    rest = 0.5 - tf.reduce_sum(mixture, axis=[1, 2]) / 6.0
    # Not a matrix product, whose numbers some devices round to fewer bits.
    made = sum(mixture[:, :, i, None] * planes[:, None, i] for i in range(3))
    made += _each(rest, 3) * (largest + smallest)
    return tf.maximum(tf.minimum(made, largest), smallest)


def _blur(lines: tf.Tensor, numbers: tf.Tensor, radius: int) -> tf.Tensor:
    """Blur rows and columns of [b, c, height, width] where it was drawn."""
    _, _, height, width = lines.shape
    sigma = _each(numbers[:, 4], 3)
    rows = _bands(sigma, radius, height)[:, None]
    columns = rows if width == height else _bands(sigma, radius, width)[:, None]
    blurred = tf.matmul(rows, tf.matmul(lines, columns))  # bands are symmetric
    skip = _each(numbers[:, 3] >= 1.0, 4)
    return tf.where(skip, lines, tf.minimum(blurred, 1.0))  # rounding


def _bands(sigma: tf.Tensor, radius: int, length: int) -> tf.Tensor:
    """Return a convolution of ``length`` pixels as matrices [b, length, length].

    Outside of the pixels there are zeros.

    Args:
        sigma: [b, 1, 1], pixels.
        radius: half width of the kernel.
        length: pixels.
    """
    places = np.arange(length, dtype=np.float32)
    distance = np.abs(places[:, None] - places)
    square = np.where(distance <= radius, distance**2, np.inf)
    square = tf.constant(square, sigma.dtype)
    taps = tf.constant(np.arange(-radius, radius + 1) ** 2, sigma.dtype)
    scale = -0.5 / tf.square(sigma)
    return tf.exp(scale * square) / tf.reduce_sum(
        tf.exp(scale * taps), axis=-1, keepdims=True
    )


def finish_batch(batch: dict, *, use_blur: bool) -> dict:
    """Finish all views of a batch whose windows and numbers the host made.

    Args:
        batch: {"views": (windows, ..), "draws": (numbers, ..)} as ``finish`` takes
            them, "local_views" and "local_draws" if there are any, and other things.
        use_blur: blur those that drew it.

    Returns:
        The batch with finished views, without the draws.
    """
    made = {key: value for key, value in batch.items() if key not in _DRAWS}
    for draws, views in _DRAWS.items():
        if draws in batch:
            pairs = zip(batch[views], batch[draws], strict=True)
            made[views] = tuple(finish(w, n, use_blur=use_blur) for w, n in pairs)
    return made


_DRAWS = {"draws": "views", "local_draws": "local_views"}
