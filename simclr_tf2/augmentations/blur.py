"""Gaussian blur (SimCLR, appendix A)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from simclr_tf2.augmentations import planes as layout

PROBABILITY = 0.5  # appendix A
SIGMA_RANGE = (0.1, 2.0)  # pixels; appendix A
BLOCK = 32  # pixels; rows or columns that one matrix product blurs


def blur_radius(height: int) -> int:
    """Return the kernel's half width: 10 % of the height, made odd (reference code)."""
    return (height // 10) // 2


def kernel(sigma: tf.Tensor, *, radius: int) -> tf.Tensor:
    """Return weights of 2 radius + 1 pixels in a row, float32, which sum to 1."""
    distance = np.arange(-radius, radius + 1, dtype=np.float32)
    taps = tf.exp(-0.5 / tf.square(sigma) * distance**2)
    return taps / tf.reduce_sum(taps)


def gaussian_blur(image: tf.Tensor, sigma: tf.Tensor, *, radius: int) -> tf.Tensor:
    """Blur rows and columns; zero padding, so borders darken (reference code).

    Args:
        image: [h, w, c] float32, a static shape.
        sigma: scalar, pixels.
        radius: half width of the kernel; 0 changes nothing.

    Returns:
        [h, w, c] float32.
    """
    if radius == 0:
        return image
    height, width, _ = image.shape
    planes = layout.to_planes(image)
    return blur_planes(planes, sigma, radius=radius, height=height, width=width)


def blur_planes(
    planes: tf.Tensor,
    sigma: tf.Tensor,
    *,
    radius: int,
    height: int,
    width: int,
    mixture: tf.Tensor | np.ndarray | None = None,
) -> tf.Tensor:
    """Blur planes and turn them into an image.

    Columns are blurred while they lie along the rows of planes, rows after the change
    of layout: so both are products with a banded matrix, which depthwise convolution of
    few channels is many times slower than.

    Args:
        planes: [c, height * width] float32.
        sigma: scalar, pixels.
        radius: half width of the kernel, 1 or more.
        height: rows.
        width: columns.
        mixture: [c, c], new channel by old channel; None is the identity.

    Returns:
        [height, width, c] float32.
    """
    channels = planes.shape[0]
    mixture = layout.identity(channels) if mixture is None else mixture
    scale = -0.5 / tf.square(sigma)
    taps = tf.exp(scale * np.arange(-radius, radius + 1, dtype=np.float32) ** 2)
    mixture = mixture / tf.square(tf.reduce_sum(taps))  # normalises both directions
    rows = _bands(scale, radius=radius, length=height)
    columns = rows if width == height else _bands(scale, radius=radius, length=width)

    lines = tf.reshape(planes, [channels * height, width])
    lines = _join(
        [
            tf.matmul(lines[:, first:last], band, transpose_b=True)
            for band, first, last in columns
        ],
        axis=1,
    )
    planes = tf.reshape(lines, [channels, height * width])
    image = layout.to_image(planes, height=height, width=width, mixture=mixture)
    lines = tf.reshape(image, [height, width * channels])
    lines = _join([tf.matmul(band, lines[i:j]) for band, i, j in rows], axis=0)
    return tf.reshape(lines, [height, width, channels])


def blur_or_not(
    planes: tf.Tensor,
    sigma: tf.Tensor,
    *,
    skip: tf.Tensor,
    radius: int,
    height: int,
    width: int,
    mixture: tf.Tensor | np.ndarray | None = None,
) -> tf.Tensor:
    """Blur as ``blur_planes`` or, if ``skip`` is 1 and not 0, only make an image.

    The image is made of planes that are in [0, 1], and so is the result.
    """
    size = {"height": height, "width": width}
    # Not ``branching.call``: in called functions a transposed product is slow.
    return tf.cond(
        tf.equal(skip, 1),
        lambda: layout.to_image(planes, mixture=mixture, **size),
        lambda: tf.minimum(  # rounding
            blur_planes(planes, sigma, radius=radius, mixture=mixture, **size), 1.0
        ),
    )


def random_gaussian_blur(image: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Blur with a sigma of this example's own, always (the 0.5 is the policy's).

    The reference code draws one sigma for a whole batch; the paper draws one for each
    example, and so do we.

    Args:
        image: [h, w, c] float32 in [0, 1], a static shape.
        seed: int32 [2].

    Returns:
        [h, w, c] float32 in [0, 1].
    """
    sigma = tf.random.stateless_uniform([], seed, *SIGMA_RANGE)
    image = gaussian_blur(image, sigma, radius=blur_radius(image.shape[0]))
    return tf.minimum(image, 1.0)


def _bands(
    scale: tf.Tensor, *, radius: int, length: int
) -> list[tuple[tf.Tensor, int, int]]:
    """Return a convolution of ``length`` pixels, zeros outside, as banded blocks.

    Args:
        scale: scalar, -1 / (2 sigma^2).
        radius: half width of the kernel.
        length: pixels.

    Returns:
        For each block of output pixels of the banded matrix: the matrix, [output,
        input], of the kernel without its normalisation, and the first and last
        (exclusive) input pixel.
    """
    block = -(-length // -(-length // BLOCK))  # equal parts
    matrices: dict[tuple[int, ...], tf.Tensor] = {}
    bands = []
    for start in range(0, length, block):
        stop = min(start + block, length)
        first, last = max(start - radius, 0), min(stop + radius, length)
        key = stop - start, first - start, last - start
        if key not in matrices:
            distance = np.arange(*key[1:])[None] - np.arange(key[0])[:, None]
            square = np.where(abs(distance) <= radius, distance**2, np.inf)
            matrices[key] = tf.exp(scale * square.astype(np.float32))
        bands.append((matrices[key], first, last))
    return bands


def _join(parts: list[tf.Tensor], *, axis: int) -> tf.Tensor:
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis)
