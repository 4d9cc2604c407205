"""Pretraining views whose pixels OpenCV makes, from the draws of ``policy.views``.

Everything after the draws is one Python call for each source image, on 8-bit pixels as
in other libraries that build on OpenCV. With the same seed it makes the views of
``policy.views`` but for this:

- the bicubic kernel has a = -0.75 and repeats the border in OpenCV; it has a = -0.5 and
  leaves out what lies beyond the border in TensorFlow;
- the crop and each operation are rounded to 1/255, and clipped; the blur is not;
- hues are steps of 1/256 of a turn.

The call runs in this process and holds Python's lock between the operations: it can be
neither exported nor sent to a tf.data service, and many threads wait for each other.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2.augmentations import blur, color, crop, policy, sampling
from simclr_tf2.augmentations import planes as layout

_UNIT = np.float32(1 / 255)


def views(
    image: tf.Tensor,
    *,
    seed: tf.Tensor,
    num_views: int,
    image_size: int | Sequence[int],
    strength: float = 1.0,
    use_blur: bool = True,
    area_range: tuple[float, float] = crop.AREA_RANGE,
) -> tuple[tf.Tensor, ...]:
    """Do as ``policy.views``, which makes the views of all images but 8-bit RGB.

    Args:
        image: as in ``policy.views``, and so are the others.
        seed: int32 [2].
        num_views: how many.
        image_size: side of the views, or (height, width).
        strength: of the colour jitter.
        use_blur: draw the Gaussian blur too.
        area_range: of the crops, as parts of the image.

    Returns:
        ``num_views`` views, each [height, width, 3] float32 in [0, 1].

    Raises:
        ImportError: if OpenCV is not installed.
    """
    cv2 = _import_opencv()
    image = tf.convert_to_tensor(image)
    height, width = crop.height_and_width(image_size)
    if layout.require_channels(image) != 3 or image.dtype != tf.uint8:
        return policy.views(
            image,
            seed=seed,
            num_views=num_views,
            image_size=image_size,
            strength=strength,
            use_blur=use_blur,
            area_range=area_range,
        )
    inputs = [image]
    for view_seed in sampling.view_seeds(seed, num_views=num_views):
        window_seed, draw_seed = tf.unstack(sampling.split(view_seed))
        window = crop.sample_crop_window(
            tf.shape(image),
            seed=window_seed,
            aspect=width / height,
            area_range=area_range,
        )
        inputs += window
        inputs.append(sampling.draw_numbers(draw_seed, strength))
    make = functools.partial(
        _make_all,
        cv2=cv2,
        size=(height, width),
        radius=blur.blur_radius(height) if use_blur else 0,
    )
    made = tf.numpy_function(
        make,
        inputs,
        [tf.float32] * num_views,
        stateful=False,
    )
    return tuple(tf.ensure_shape(view, [height, width, 3]) for view in made)


def _make_all(
    image: np.ndarray, *draws: np.ndarray, cv2: Any, size: tuple[int, int], radius: int
) -> list[np.ndarray]:
    """Make all views of an image; ``draws`` are begin, size and numbers of each."""
    made = []
    for i in range(0, len(draws), 3):
        (top, left, _), (rows, columns, _), numbers = draws[i : i + 3]
        window = image[top : top + rows, left : left + columns]
        window = cv2.resize(window, size[::-1], interpolation=cv2.INTER_CUBIC)
        made.append(finish(cv2, window, numbers, radius=radius))
    return made


def finish(
    cv2: Any, image: np.ndarray, numbers: np.ndarray, *, radius: int
) -> np.ndarray:
    """Flip, jitter, drop the colour and blur, as ``compiled.finish`` does.

    Args:
        cv2: the module.
        image: [height, width, 3] uint8.
        numbers: float32 [9], of ``sampling.draw_numbers``.
        radius: half width of the blur; 0 never blurs.

    Returns:
        [height, width, 3] float32 in [0, 1].
    """
    order, no_flip, no_gray, skip_blur, sigma, *amounts = numbers.tolist()
    if no_flip < 1:
        image = cv2.flip(image, 1)
    if order < color.NO_JITTER:
        image = jitter(cv2, image, amounts, order=int(order))
    if no_gray < 1:
        image = cv2.merge((cv2.cvtColor(image, cv2.COLOR_RGB2GRAY),) * 3)
    if radius == 0 or skip_blur >= 1:
        return np.multiply(image, _UNIT, dtype=np.float32)
    taps = np.exp(np.arange(-radius, radius + 1) ** 2 * (-0.5 / sigma**2))
    taps /= taps.sum()
    image = cv2.sepFilter2D(
        image, cv2.CV_32F, taps * _UNIT, taps, borderType=cv2.BORDER_CONSTANT
    )
    return cv2.threshold(image, 1.0, 1.0, cv2.THRESH_TRUNC, dst=image)[1]


def jitter(
    cv2: Any, image: np.ndarray, amounts: list[float], *, order: int
) -> np.ndarray:
    """Do as ``color.jitter_planes`` on an image, [h, w, 3] uint8, for an order."""
    brightness, contrast, saturation, hue = amounts
    operations = color.ORDERS[order]
    position = 0
    while position < 4:
        operation = operations[position]
        if operation == 0:
            image = cv2.convertScaleAbs(image, alpha=brightness)
        elif operation == 1:
            rest = 1.0 - contrast
            red, green, blue, _ = cv2.mean(image)
            affine = np.array(
                [
                    (contrast, 0, 0, red * rest),
                    (0, contrast, 0, green * rest),
                    (0, 0, contrast, blue * rest),
                ],
                np.float32,
            )
            image = cv2.transform(image, affine)
        else:
            both = position < 3 and operations[position + 1] >= 2
            image = _change_hsv(
                cv2,
                image,
                saturation if both or operation == 2 else 1.0,
                hue if both or operation == 3 else 0.0,
            )
            position += both
        position += 1
    return image


def _change_hsv(cv2: Any, image: np.ndarray, factor: float, turns: float) -> np.ndarray:
    """Multiply the saturation, up to 1, and turn the hue; they commute."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    if factor != 1.0:
        diagonal = np.diag(np.array([1.0, factor, 1.0], np.float32))
        hsv = cv2.transform(hsv, diagonal)
    if turns != 0.0:
        lines = hsv.reshape(len(hsv), -1)
        shift = np.zeros(lines.shape[1], np.uint8)
        shift[::3] = round(256 * turns) % 256
        np.add(lines, shift, out=lines)  # beyond 255 starts at 0, as hues do
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _import_opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "augmentation with OpenCV needs it: pip install opencv-python-headless"
        ) from error
    cv2.setNumThreads(0)  # tf.data has its own threads
    return cv2
