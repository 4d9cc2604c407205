"""Pretraining views made in one call of compiled code.

With the same seed these are the views of ``policy.views`` but for rounding: the same
draws, number for number (``numba_draws``), and the same formulas (``numba_kernels``).
TensorFlow runs a view as some hundred operations, each of which has a cost of its own
and reads and writes all pixels; Numba's loops keep them in the processor's cache. The
call runs in this process: it can be neither exported nor sent to a tf.data service.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2.augmentations import blur, crop, policy, sampling
from simclr_tf2.augmentations import planes as layout
from simclr_tf2.augmentations.rules import PAPER, ViewRules

_TYPES = (tf.uint8, tf.uint16, tf.float32)
Size = int | Sequence[int]
Windows = tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]  # and their numbers


@functools.cache
def is_available() -> bool:
    """Return whether Numba is installed and works with the installed NumPy."""
    try:
        _kernels()
    except ImportError:
        return False
    return True


def makes(channels: int | None, dtype: tf.DType) -> bool:
    """Return whether views of such images are made here; else ``policy`` makes them."""
    return channels == 3 and dtype in _TYPES


def views(
    image: tf.Tensor,
    *,
    seed: tf.Tensor,
    num_views: int,
    image_size: Size,
    strength: float = 1.0,
    use_blur: bool = True,
    rules: ViewRules = PAPER,
) -> tuple[tf.Tensor, ...]:
    """Draw views of an RGB image, as ``policy.views`` does for all other images.

    Args:
        image: [h, w, 3], as ``policy.views`` takes it.
        seed: int32 [2].
        num_views: how many.
        image_size: side of the views, or (height, width).
        strength: of the colour jitter.
        use_blur: draw the Gaussian blur too.
        rules: probabilities and ranges.

    Returns:
        ``num_views`` views, each [height, width, 3] float32 in [0, 1].

    Raises:
        ImportError: if Numba is not installed.
    """
    image = tf.convert_to_tensor(image)
    options: dict[str, Any] = {
        "num_views": num_views,
        "image_size": image_size,
        "strength": strength,
        "use_blur": use_blur,
        "rules": rules,
    }
    if not makes(layout.require_channels(image), image.dtype):
        return policy.views(image, seed=seed, **options)
    make = _maker(image.dtype, **options)
    return _of_one(make, image, seed, num_views, image_size, rules)[:num_views]


def windows(
    image: tf.Tensor,
    *,
    seed: tf.Tensor,
    num_views: int,
    image_size: Size,
    strength: float = 1.0,
    rules: ViewRules = PAPER,
) -> Windows:
    """Draw windows as ``policy.windows`` does; errors are those of ``views``."""
    image = tf.convert_to_tensor(image)
    options: dict[str, Any] = {
        "num_views": num_views,
        "image_size": image_size,
        "strength": strength,
        "rules": rules,
    }
    if not makes(layout.require_channels(image), image.dtype):
        return policy.windows(image, seed=seed, **options)
    make = _maker(image.dtype, **options, use_blur=False, only_windows=True)
    made = _of_one(make, image, seed, num_views, image_size, rules)
    return made[:num_views], made[num_views:]


def views_of_batch(
    images: np.ndarray,
    *,
    index: tf.Tensor,
    seed: tf.Tensor,
    num_views: int,
    image_size: Size,
    strength: float = 1.0,
    use_blur: bool = True,
    rules: ViewRules = PAPER,
) -> tuple[tf.Tensor, ...]:
    """Draw views as ``views`` does for many images of one size, in one call.

    Args:
        images: [n, h, w, 3] of a type that ``makes`` knows.
        index: int64 [b], which of them.
        seed: int32 [b, 2].
        num_views: how many.
        image_size: side of the views, or (height, width).
        strength: of the colour jitter.
        use_blur: draw the Gaussian blur too.
        rules: probabilities and ranges.

    Returns:
        ``num_views`` times the views of all, each [b, height, width, 3] float32.

    Raises:
        ImportError: if Numba is not installed.
    """
    make = _maker(
        tf.as_dtype(images.dtype),
        num_views=num_views,
        image_size=image_size,
        strength=strength,
        use_blur=use_blur,
        rules=rules,
    )
    run = functools.partial(make, images)
    count = [index.shape[0]]
    made = _call(run, [index, seed], count, num_views, image_size, rules)
    return made[:num_views]


def windows_of_batch(
    images: np.ndarray,
    *,
    index: tf.Tensor,
    seed: tf.Tensor,
    num_views: int,
    image_size: Size,
    strength: float = 1.0,
    rules: ViewRules = PAPER,
) -> Windows:
    """Draw windows of many images, with the arguments of ``views_of_batch``."""
    make = _maker(
        tf.as_dtype(images.dtype),
        num_views=num_views,
        image_size=image_size,
        strength=strength,
        use_blur=False,
        rules=rules,
        only_windows=True,
    )
    run = functools.partial(make, images)
    count = [index.shape[0]]
    made = _call(run, [index, seed], count, num_views, image_size, rules)
    return made[:num_views], made[num_views:]


_FIRST = np.zeros(1, np.int64)


def _kernels() -> Callable[..., None]:
    from simclr_tf2.augmentations import numba_kernels

    return numba_kernels.make_views


def _of_one(
    make: Callable,
    image: tf.Tensor,
    seed: tf.Tensor,
    num_views: int,
    image_size: Size,
    rules: ViewRules,
) -> tuple[tf.Tensor, ...]:
    def run(pixels: np.ndarray, one_seed: np.ndarray) -> list[np.ndarray]:
        return [made[0] for made in make(pixels[None], _FIRST, one_seed[None])]

    return _call(run, [image, seed], [], num_views, image_size, rules)


def _call(
    run: Callable,
    inputs: list,
    count: list,
    num_views: int,
    image_size: Size,
    rules: ViewRules,
) -> tuple[tf.Tensor, ...]:
    """Call ``run`` in the graph: num_views views (or windows), then as many draws."""
    types = [tf.float32] * 2 * num_views
    made = tf.numpy_function(run, inputs, types, stateful=False)
    shape = [*count, *crop.height_and_width(image_size), 3]
    views = [tf.ensure_shape(view, shape) for view in made[:num_views]]
    numbers = len(sampling.ranges(1.0, rules)[0])
    draws = [tf.ensure_shape(draw, [*count, numbers]) for draw in made[num_views:]]
    return (*views, *draws)


def _maker(
    dtype: tf.DType,
    *,
    num_views: int,
    image_size: Size,
    strength: float,
    use_blur: bool,
    rules: ViewRules,
    only_windows: bool = False,
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], list[np.ndarray]]:
    """Return the function of images, index and seeds that makes views and draws."""
    try:
        make_views = _kernels()
    except ImportError as error:
        raise ImportError(
            f"these views need Numba (pip install numba), which says: {error}"
        ) from error
    height, width = crop.height_and_width(image_size)
    rules.require_fit(image_size)
    low, high = sampling.ranges(strength, rules)
    radius = blur.blur_radius(height) if use_blur else 0
    if use_blur and radius == 0:
        policy.warn_without_blur(height)
    options = (
        low,
        high - low,
        np.array(crop.aspect_range(width / height, rules.crop_aspect), np.float32),
        np.array(rules.crop_area, np.float32),
        (
            np.float32(crop.least_covered(rules.crop_area)),
            np.float32(crop.unit_scale(dtype)),
            radius,
            only_windows,
        ),
    )

    def make(
        images: np.ndarray, index: np.ndarray, seeds: np.ndarray
    ) -> list[np.ndarray]:
        made = np.empty((num_views, len(index), height, width, 3), np.float32)
        draws = np.empty((num_views, len(index), len(low)), np.float32)
        make_views(images, index, seeds, *options, made, draws)
        return [*made, *draws]

    return make
