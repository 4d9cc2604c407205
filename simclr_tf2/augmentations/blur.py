"""Gaussian blur (SimCLR, appendix A)."""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

from simclr_tf2.augmentations import branching
from simclr_tf2.augmentations import planes as layout

PROBABILITY = 0.5  # appendix A
SIGMA_RANGE = (0.1, 2.0)  # pixels; appendix A
BLOCK = 64  # pixels; rows or columns that one matrix product blurs


def blur_radius(height: int) -> int:
    """Half width of the kernel: 10 % of the height, made odd (reference code)."""
    return (height // 10) // 2


def scale_sigma(draw: tf.Tensor) -> tf.Tensor:
    """Turn a number in [0, 1) into a sigma."""
    low, high = SIGMA_RANGE
    return low + draw * (high - low)


def gaussian_kernel(sigma: tf.Tensor, *, radius: int) -> tf.Tensor:
    """Sampled Gaussian of 2 * radius + 1 taps that sum to 1."""
    distance = tf.range(-radius, radius + 1, dtype=tf.float32)
    kernel = tf.exp(distance**2 * (-0.5 / sigma**2))
    return kernel / tf.reduce_sum(kernel)


def gaussian_blur(image: tf.Tensor, sigma: tf.Tensor, *, radius: int) -> tf.Tensor:
    """Blur rows and columns; zero padding, so borders darken (reference code).

    Args:
        image: [h, w, 3] float32, a static shape.
        sigma: scalar, pixels.
        radius: half width of the kernel; 0 changes nothing.

    Returns:
        [h, w, 3] float32.
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
    mixture: tf.Tensor | tuple = layout.EYE,
) -> tf.Tensor:
    """Blur planes and turn them into an image.

    Columns are blurred while they lie along the rows of planes, rows after the change
    of layout: so both are products with a banded matrix, which depthwise convolution of
    three channels is many times slower than.

    Args:
        planes: [3, height * width] float32.
        sigma: scalar, pixels.
        radius: half width of the kernel, 1 or more.
        height: rows.
        width: columns.
        mixture: [3, 3], new channel by old channel.

    Returns:
        [height, width, 3] float32.
    """
    kernel = gaussian_kernel(sigma, radius=radius)
    lines = tf.reshape(planes, [3 * height, width])
    lines = _multiply_blocks(lines, kernel, radius=radius, axis=1)
    planes = tf.reshape(lines, [3, height * width])
    image = layout.to_image(planes, height=height, width=width, mixture=mixture)
    lines = tf.reshape(image, [height, width * 3])
    lines = _multiply_blocks(lines, kernel, radius=radius, axis=0)
    return tf.reshape(lines, [height, width, 3])


def blur_or_not(
    planes: tf.Tensor,
    sigma: tf.Tensor,
    *,
    apply: tf.Tensor,
    radius: int,
    height: int,
    width: int,
    mixture: tf.Tensor | tuple = layout.EYE,
) -> tf.Tensor:
    """Do as ``blur_planes`` if ``apply``, else only turn the planes into an image.

    Planes are in [0, 1], and so is the result.
    """
    branches = _branches(radius, height, width)
    index = tf.cast(apply, tf.int32)
    return branching.call(branches, index, planes, sigma, tf.convert_to_tensor(mixture))


def random_gaussian_blur(image: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Blur with a sigma of this example's own, always (the 0.5 is the policy's).

    The reference code draws one sigma for a whole batch; the paper draws one for each
    example, and so do we.

    Args:
        image: [h, w, 3] float32 in [0, 1], a static shape.
        seed: int32 [2].

    Returns:
        [h, w, 3] float32 in [0, 1].
    """
    sigma = scale_sigma(tf.random.stateless_uniform([], seed))
    image = gaussian_blur(image, sigma, radius=blur_radius(image.shape[0]))
    return tf.minimum(image, 1.0)


@functools.cache
def _branches(radius: int, height: int, width: int) -> list:
    """Concrete functions: without blur, with blur."""
    size = {"height": height, "width": width}

    def plain(planes: tf.Tensor, sigma: tf.Tensor, mixture: tf.Tensor) -> tf.Tensor:
        del sigma
        return layout.to_image(planes, mixture=mixture, **size)

    def blurred(planes: tf.Tensor, sigma: tf.Tensor, mixture: tf.Tensor) -> tf.Tensor:
        image = blur_planes(planes, sigma, radius=radius, mixture=mixture, **size)
        return tf.minimum(image, 1.0)  # rounding

    shapes = (3, height * width), (), (3, 3)
    return [branching.trace(function, *shapes) for function in (plain, blurred)]


def _multiply_blocks(
    lines: tf.Tensor, kernel: tf.Tensor, *, radius: int, axis: int
) -> tf.Tensor:
    """Convolve ``axis`` of [rows, columns] with ``kernel``, zeros outside.

    That is a product with a banded matrix; in blocks, to leave out most of its zeros.
    """
    length = lines.shape[axis]
    block = -(-length // -(-length // BLOCK))  # equal parts
    taps = tf.concat([kernel, [0.0]], 0)
    matrices = {}
    parts = []
    for start in range(0, length, block):
        stop = min(start + block, length)
        first, last = max(start - radius, 0), min(stop + radius, length)
        key = stop - start, first - start, last - start
        if key not in matrices:
            tap = np.arange(*key[1:])[None] - np.arange(key[0])[:, None] + radius
            tap[(tap < 0) | (tap > 2 * radius)] = 2 * radius + 1
            matrices[key] = tf.gather(taps, tap.astype(np.int32))
        if axis == 0:
            parts.append(tf.matmul(matrices[key], lines[first:last]))
        else:
            part = lines[:, first:last]
            parts.append(tf.matmul(part, matrices[key], transpose_b=True))
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis)
