"""Compared with vectors made by running the reference code."""

import re

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import augmentations
from simclr_tf2.augmentations import blur, color, crop, planes

pytestmark = pytest.mark.golden
TOLERANCE = 2e-6
JITTER = {"brightness": 1.4, "contrast": 0.6, "saturation": 1.5, "hue": 0.1}


def matching(golden, pattern):
    found = [(name, re.fullmatch(pattern, name)) for name in golden]
    found = [(name, match.groups()) for name, match in found if match]
    assert found, f"no golden vector is named like {pattern}"
    return found


def on_image(operation, image, *args):
    """Apply an operation on planes to [h, w, 3]."""
    flat = operation(planes.to_planes(tf.constant(image)), *args)
    return planes.to_image(flat, height=image.shape[0], width=image.shape[1])


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


def test_blur_equals_reference_at_every_radius_and_sigma(golden):
    for name, (size, kernel, sigma) in matching(golden, r"blur_(\d+x\d+)_k(\d+)_s(.*)"):
        image = golden[f"image_{size}"].astype(np.float32) / 255
        actual = blur.gaussian_blur(
            tf.constant(image), float(sigma), radius=int(kernel) // 2
        )
        assert_close(actual, golden[name])
    for image, expected in zip(
        golden["blur_batch_input"], golden["blur_batch_k3_s0.8"], strict=True
    ):
        assert_close(blur.gaussian_blur(tf.constant(image), 0.8, radius=1), expected)


@pytest.mark.parametrize("scaled", [False, True], ids=["uint8", "float"])
def test_center_crop_equals_reference_for_all_shapes(golden, scaled):
    pattern = r"centercrop_(\d+x\d+)_to_(\d+)x(\d+)_p(.*)"
    for name, (size, height, width, proportion) in matching(golden, pattern):
        image = golden[f"image_{size}"]
        image = image.astype(np.float32) / 255 if scaled else image
        actual = crop.center_crop_and_resize(
            tf.constant(image),
            height=int(height),
            width=int(width),
            proportion=float(proportion),
        )
        assert_close(actual, golden[name])


def test_eval_view_crops_like_the_reference_above_32_pixels(golden, monkeypatch):
    monkeypatch.setattr("simclr_tf2.augmentations.policy.NO_CENTER_CROP_UP_TO", 0)
    for name, (size,) in matching(golden, r"evalprep_(\d+x\d+)_to_32"):
        actual = augmentations.eval_view(golden[f"image_{size}"], image_size=32)
        assert_close(actual, golden[name])


def test_crop_and_resize_equals_reference_for_all_windows(golden):
    image = tf.constant(golden["image_float_32x32"])
    pattern = r"cropresize_box(\d+)_to_(\d+)x(\d+)"
    for name, (box, height, width) in matching(golden, pattern):
        y, x, rows, columns = golden["crop_boxes_y_x_h_w"][int(box)]
        actual = crop.crop_and_resize(
            image, [y, x, 0], [rows, columns, -1], height=int(height), width=int(width)
        )
        assert_close(actual, golden[name])


def test_single_colour_operations_equal_reference(golden):
    image = golden["image_float_32x32"]
    operations = {
        "brightness_v2_factor": color.adjust_brightness,
        "brightness_v1_delta": color.add_brightness,
        "contrast_": color.adjust_contrast,
        "saturation_": color.adjust_saturation,
        "hue_": color.adjust_hue,
    }
    for prefix, operation in operations.items():
        for name, (amount,) in matching(golden, prefix + r"(-?[\d.]+)"):
            assert_close(on_image(operation, image, float(amount)), golden[name])
    assert_close(color.to_grayscale(tf.constant(image)), golden["grayscale_32x32"])


def test_jitter_equals_reference_in_all_24_orders(golden):
    image = tf.constant(golden["image_float_32x32"])
    cases = matching(golden, r"jitter_perm(\d{4})")
    assert len(cases) == 24
    for name, (digits,) in cases:
        order = color.ORDERS.index(tuple(map(int, digits)))
        assert_close(color.color_jitter(image, order=order, **JITTER), golden[name])
    order = color.ORDERS.index((0, 1, 2, 3))
    actual = color.color_jitter(image, order=order, **JITTER)
    assert_close(actual, golden["jitter_nonrand"])


def test_additive_brightness_jitter_equals_reference(golden):
    image = golden["image_float_32x32"]
    steps = (color.add_brightness, 0.3), (color.adjust_contrast, 0.6)
    for operation, amount in (
        *steps,
        (color.adjust_saturation, 1.5),
        (color.adjust_hue, 0.1),
    ):
        image = np.clip(on_image(operation, image, amount), 0, 1)
    assert_close(image, golden["jitter_v1_perm0123"])
