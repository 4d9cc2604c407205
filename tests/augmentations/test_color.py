import colorsys

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.augmentations import color, planes

EDGES = [0.0, 0.25, 0.5, 1.0]


def pixels():
    """Random pixels and all combinations of a few values: grays, ties, extremes."""
    random = np.random.default_rng(0).random((300, 3))
    grid = np.stack(np.meshgrid(EDGES, EDGES, EDGES), -1).reshape(-1, 3)
    return np.concatenate([random, grid]).astype(np.float32)


def change_hsv(rgb, change):
    """colorsys, one pixel at a time."""
    return np.array(
        [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*p))) for p in rgb]
    )


def apply(operation, rgb, amount):
    return operation(tf.constant(rgb.T), tf.constant(amount)).numpy().T


@pytest.mark.parametrize(
    "turns", [0.0, 0.1, -0.1, 1 / 6, 0.2, -0.2, 0.4, 0.5, -0.9, 1.3]
)
def test_hue_equals_colorsys(turns):
    expected = change_hsv(
        pixels().astype(float), lambda h, s, v: ((h + turns) % 1.0, s, v)
    )
    actual = apply(color.adjust_hue, pixels(), turns)
    np.testing.assert_allclose(actual, expected, atol=3e-6)


@pytest.mark.parametrize("factor", [0.0, 0.2, 1.0, 1.5, 1.8, 30.0])
def test_saturation_equals_colorsys(factor):
    expected = change_hsv(
        pixels().astype(float), lambda h, s, v: (h, min(s * factor, 1.0), v)
    )
    actual = apply(color.adjust_saturation, pixels(), factor)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("amount", [-0.2, 0.07, 0.2])
def test_overshoot_of_the_resize_is_treated_like_tf_image(amount):
    rgb = np.random.default_rng(1).uniform(-0.2, 1.2, (400, 1, 3)).astype(np.float32)
    pairs = [
        (color.adjust_hue, tf.image.adjust_hue, amount),
        (color.adjust_saturation, tf.image.adjust_saturation, 1 + 4 * amount),
    ]
    for ours, theirs, value in pairs:
        actual = np.clip(apply(ours, rgb[:, 0], value), 0, 1)
        expected = np.clip(theirs(rgb, value)[:, 0], 0, 1)
        np.testing.assert_allclose(actual, expected, atol=3e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("operation", [color.adjust_saturation, color.adjust_hue])
def test_gray_overshoot_of_the_resize_stays_what_it_is(operation, jit_compile):
    operation = tf.function(operation, jit_compile=jit_compile)
    gray = np.repeat(np.linspace(-0.3, 1.3, 50, dtype=np.float32)[:, None], 3, axis=1)
    for amount in (0.15, 1.4):
        np.testing.assert_allclose(apply(operation, gray, amount), gray, atol=1e-6)


def test_contrast_turns_about_the_mean_of_each_channel():
    rgb = pixels()
    actual = apply(color.adjust_contrast, rgb, 0.3)
    np.testing.assert_allclose(
        actual, (rgb - rgb.mean(0)) * 0.3 + rgb.mean(0), atol=1e-6
    )


@pytest.mark.parametrize("operation", color.OPERATIONS)
def test_no_operation_is_a_silent_no_op(operation):
    neutral = 0.0 if operation is color.adjust_hue else 1.0
    assert abs(apply(operation, pixels(), neutral) - pixels()).max() < 1e-6
    assert abs(apply(operation, pixels(), neutral + 0.1) - pixels()).mean() > 1e-3


def test_jitter_of_strength_zero_changes_nothing():
    image = np.random.default_rng(2).random((5, 7, 3)).astype(np.float32)
    for i in range(6):
        actual = color.random_color_jitter(
            tf.constant(image), seed=[0, i], strength=0.0
        )
        np.testing.assert_allclose(actual, image, atol=3e-6)


def test_grayscale_has_three_equal_channels_of_luma():
    image = np.random.default_rng(3).random((5, 7, 3)).astype(np.float32)
    gray = color.to_grayscale(tf.constant(image)).numpy()
    assert np.all(np.ptp(gray, axis=-1) == 0)
    np.testing.assert_allclose(gray[..., 0], image @ [0.2989, 0.587, 0.114], atol=1e-6)


def test_planes_and_back_is_the_identity_for_any_shape():
    for shape in [(1, 1, 3), (3, 5, 3), (7, 2, 3)]:
        image = np.random.default_rng(4).random(shape).astype(np.float32)
        flat = planes.to_planes(tf.constant(image))
        np.testing.assert_array_equal(flat, image.reshape(-1, 3).T)
        back = planes.to_image(flat, height=shape[0], width=shape[1])
        np.testing.assert_array_equal(back, image)
