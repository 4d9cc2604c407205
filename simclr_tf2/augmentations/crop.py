"""Crops and the flip: where a view looks, and at which size."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from simclr_tf2.augmentations import planes as layout

AREA_RANGE = (0.08, 1.0)  # SimCLR (arXiv 2002.05709), appendix A
LOCAL_AREA_RANGE = (0.05, 0.14)  # of multi-crop's small views; SwAV (arXiv 2006.09882)
ASPECT_RANGE = (3 / 4, 4 / 3)  # times the target aspect; appendix A
MIN_OBJECT_COVERED = 0.1  # reference code; with the whole image as the object
MAX_ATTEMPTS = 100  # reference code; after these the whole image is taken
FLIP_PROBABILITY = 0.5  # reference code
EVAL_PROPORTION = 0.875  # reference code
MAX_SQUASH_ASPECT = 32  # [ours] of the first of two steps: bounds its memory


def height_and_width(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of an ``image_size``: the side of a square, or the two."""
    sides = (image_size,) * 2 if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or any(int(side) != side or side < 1 for side in sides):
        raise ValueError(
            "image_size must be one positive integer or (height, width). "
            f"Received: {image_size!r}."
        )
    return int(sides[0]), int(sides[1])


def sample_crop_window(
    image_shape: tf.Tensor,
    *,
    seed: tf.Tensor,
    aspect: float = 1.0,
    area_range: tuple[float, float] = AREA_RANGE,
    aspect_limits: tuple[float, float] = ASPECT_RANGE,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draw a crop window with the distribution of the reference code.

    The paper (appendix A) says an area from 0.08 to 1. The reference code asks besides
    that the window cover a tenth of the whole image, so areas below 0.1 never occur,
    and draws the aspect ratio uniformly. We follow the code.

    Args:
        image_shape: int32 [3], height, width, channels.
        seed: int32 [2].
        aspect: width over height of the target.
        area_range: of the window, as parts of the image. A range that begins below a
            tenth and is not the default is drawn as it says.
        aspect_limits: lowest and highest aspect of the window, times ``aspect``.

    Returns:
        begin and size for ``tf.slice``, int32 [3] each; all channels (size -1).
    """
    begin, size, _ = tf.raw_ops.StatelessSampleDistortedBoundingBox(
        image_size=image_shape,
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        min_object_covered=tf.constant(least_covered(area_range)),
        seed=seed,
        aspect_ratio_range=aspect_range(aspect, aspect_limits),
        area_range=area_range,
        max_attempts=MAX_ATTEMPTS,
        use_image_if_no_bounding_boxes=True,
    )
    return begin, size


def aspect_range(
    aspect: float, limits: tuple[float, float] = ASPECT_RANGE
) -> list[float]:
    """Return the lowest and highest aspect of the windows for a target's aspect."""
    return [aspect * limit for limit in limits]


def least_covered(area_range: tuple[float, float]) -> float:
    """Return the part of the image that a window must cover at least."""
    return MIN_OBJECT_COVERED if area_range == AREA_RANGE else 0.0


def resize_window(
    image: tf.Tensor, begin: tf.Tensor, size: tf.Tensor, *, height: int, width: int
) -> tf.Tensor:
    """Cut a window out and resize it (bicubic, no antialias, as the reference code).

    Integers are cut before they become floats, and keep their range.

    Args:
        image: [h, w, c], integers or floats.
        begin: int32 [3], top left corner; as ``sample_crop_window`` returns it.
        size: int32 [3], size of the window.
        height: rows of the result.
        width: columns of the result.

    Returns:
        [height, width, c] float32 in the range of ``image``; bicubic weights overshoot
        it. Times ``unit_scale(image.dtype)`` it is in about [0, 1].
    """
    window = tf.cast(tf.slice(image, begin, size), tf.float32)
    resized = tf.raw_ops.ResizeBicubic(
        images=window[None], size=[height, width], half_pixel_centers=True
    )
    channels = tf.shape(image)[-1] if image.shape[-1] is None else image.shape[-1]
    return tf.reshape(resized, [height, width, channels])


def unit_scale(dtype: tf.DType) -> float:
    """Return the factor that brings integers of this type into [0, 1]; 1 for floats."""
    return 1.0 if dtype.is_floating else 1.0 / dtype.max


def crop_and_resize(
    image: tf.Tensor, begin: tf.Tensor, size: tf.Tensor, *, height: int, width: int
) -> tf.Tensor:
    """Resize as ``resize_window`` and scale integers to about [0, 1], not clipped."""
    window = resize_window(image, begin, size, height=height, width=width)
    return window * unit_scale(image.dtype)


def random_resized_crop(
    image: tf.Tensor, *, seed: tf.Tensor, height: int, width: int
) -> tf.Tensor:
    """Crop at random and resize, [h, w, c] -> [height, width, c] in [0, 1]."""
    begin, size = sample_crop_window(tf.shape(image), seed=seed, aspect=width / height)
    image = crop_and_resize(image, begin, size, height=height, width=width)
    return layout.clip(image)


def flip_planes(planes: tf.Tensor, flip: tf.Tensor, *, width: int) -> tf.Tensor:
    """Mirror planes, [c, rows * width], where the bool scalar ``flip`` says so."""
    lines = tf.reshape(planes, [-1, width])
    lines = tf.raw_ops.Reverse(tensor=lines, dims=tf.stack([False, flip]))
    return tf.reshape(lines, planes.shape)


def orient(
    lines: tf.Tensor, *, vertical_flip: tf.Tensor, quarter_turns: tf.Tensor
) -> tf.Tensor:
    """Exchange top and bottom, then turn counter-clockwise.

    Args:
        lines: [..., height, width], a static shape.
        vertical_flip: bool that broadcasts to ``lines``: whether to exchange.
        quarter_turns: int32 that broadcasts to ``lines``: turns by 90 degrees, from 0
            to 3. Only square images are turned.

    Returns:
        As ``lines``.
    """
    lines = tf.where(vertical_flip, tf.reverse(lines, [-2]), lines)
    if lines.shape[-2] != lines.shape[-1]:
        return lines
    lines = tf.where(quarter_turns >= 2, tf.reverse(lines, [-2, -1]), lines)
    turned = tf.reverse(tf.linalg.matrix_transpose(lines), [-2])
    return tf.where(quarter_turns % 2 == 1, turned, lines)


def random_flip(image: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Mirror left and right with probability 0.5, [h, w, c] -> [h, w, c]."""
    flip = tf.random.stateless_uniform([], seed) < FLIP_PROBABILITY
    return tf.raw_ops.Reverse(tensor=image, dims=tf.stack([False, flip, False]))


def center_crop_and_resize(
    image: tf.Tensor, *, height: int, width: int, proportion: float = EVAL_PROPORTION
) -> tf.Tensor:
    """Cut the largest central window of the target's aspect, shrunk, and resize it.

    Args:
        image: [h, w, c], integers or floats in [0, 1].
        height: rows of the result.
        width: columns of the result.
        proportion: side of the window as a part of the largest possible one.

    Returns:
        [height, width, c] float32, not clipped (see ``crop_and_resize``).
    """
    shape = tf.shape(image)
    rows, columns = tf.unstack(tf.cast(shape[:2], tf.float32))
    aspect = width / height
    full_rows = tf.minimum(rows, columns / aspect)
    full_columns = tf.minimum(columns, rows * aspect)
    window = tf.cast(
        tf.math.rint(proportion * tf.stack([full_rows, full_columns])), tf.int32
    )
    window = tf.clip_by_value(window, 1, shape[:2])
    begin = tf.concat([(shape[:2] - window + 1) // 2, [0]], 0)
    size = tf.concat([window, [-1]], 0)
    return crop_and_resize(image, begin, size, height=height, width=width)


def squash(
    image: tf.Tensor, *, height: int, width: int, proportion: float = EVAL_PROPORTION
) -> tf.Tensor:
    """Resize the whole image to the target, whatever its aspect.

    Two steps, as the VOC07 benchmark of self-supervised features does (its 256, then
    224 x 224): the shorter side to the target's divided by ``proportion``, the aspect
    kept; then both sides to the target's. Bicubic without antialias, as every view
    here [ours]: what the network learned from.

    Args:
        image: [h, w, c], integers or floats in [0, 1].
        height: rows of the result.
        width: columns of the result.
        proportion: shorter side of the target as a part of that of the first step.

    Returns:
        [height, width, c] float32, not clipped (see ``crop_and_resize``).
    """
    shape = tf.shape(image)
    rows, columns = shape[0], shape[1]
    short = round(min(height, width) / proportion)
    sides = tf.stack([rows, columns]) * short // tf.minimum(rows, columns)
    sides = tf.minimum(sides, MAX_SQUASH_ASPECT * short)
    enlarged = tf.raw_ops.ResizeBicubic(
        images=tf.cast(image, tf.float32)[None], size=sides, half_pixel_centers=True
    )[0]
    enlarged = tf.ensure_shape(enlarged, [None, None, image.shape[-1]])
    whole = tf.concat([sides, [-1]], 0)
    view = resize_window(enlarged, [0, 0, 0], whole, height=height, width=width)
    return view * unit_scale(image.dtype)
