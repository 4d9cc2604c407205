"""Views that are not square, and images that are not RGB."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from simclr_tf2 import augmentations
from simclr_tf2.augmentations import OPERATIONS, color, crop, planes, policy

RANDOM = np.random.default_rng(0)
PHOTO = RANDOM.integers(0, 256, (30, 41, 3), np.uint8)


def image_of(channels, shape=(23, 31)):
    return RANDOM.integers(0, 256, (*shape, channels), np.uint8)


@pytest.mark.parametrize("size", [(20, 33), [5, 7], (70, 61)])
def test_rectangles_work_eagerly_and_in_tf_data(size, draw_many):
    def everything(seed):
        return (
            *augmentations.two_views(PHOTO, seed=seed, image_size=size),
            augmentations.finetune_view(PHOTO, seed=seed, image_size=size),
            augmentations.eval_view(PHOTO, image_size=size),
        )

    mapped = draw_many(everything, 6)
    for i in range(6):
        for one, other in zip(everything([0, i]), mapped, strict=True):
            assert one.shape == (*size, 3)
            np.testing.assert_allclose(one, other[i], atol=5e-6)
            assert other.min() >= 0 and other.max() <= 1


def test_a_pair_of_equal_sides_is_the_square():
    for function in (augmentations.two_views, augmentations.finetune_view):
        pair = function(PHOTO, seed=[1, 2], image_size=(24, 24))
        side = function(PHOTO, seed=[1, 2], image_size=24)
        np.testing.assert_array_equal(np.stack(pair), np.stack(side))
    np.testing.assert_array_equal(
        augmentations.eval_view(PHOTO, image_size=(40, 40)),
        augmentations.eval_view(PHOTO, image_size=40),
    )


@pytest.mark.parametrize("size", [(20, 50), (48, 16)])
def test_windows_have_the_aspect_of_the_view_times_3_4_to_4_3(size):
    aspects = [
        window[3] / window[2] / (size[1] / size[0])
        for window in (
            augmentations.describe_view(
                (900, 900, 3), seed=tf.constant([3, i]), image_size=size
            )["crop"]
            for i in range(400)
        )
    ]
    assert 0.74 < min(aspects) < 0.78 and 1.28 < max(aspects) < 1.35


def test_eval_view_of_a_rectangle_keeps_the_aspect():
    rows, columns = np.mgrid[:60, :100].astype(np.float32)
    image = np.stack([rows / 60, columns / 100, 0 * rows], -1)
    view = augmentations.eval_view(image, image_size=(40, 80)).numpy()
    # The largest window of 1:2 has 50 x 100 pixels; 87.5 % of it are 44 x 88.
    np.testing.assert_allclose(np.diff(view[5:-5, 0, 0]), 44 / 60 / 40, rtol=1e-3)
    np.testing.assert_allclose(np.diff(view[0, 5:-5, 1]), 88 / 100 / 80, rtol=1e-3)
    np.testing.assert_allclose(view[..., 0].mean(), 29.5 / 60, atol=1 / 60)


def test_the_larger_side_decides_whether_the_whole_image_is_used():
    image = image_of(3, (16, 32))
    np.testing.assert_allclose(
        augmentations.eval_view(image, image_size=(16, 32)), image / 255, atol=1e-6
    )
    larger = image_of(3, (16, 33))
    view = augmentations.eval_view(larger, image_size=(16, 33)).numpy()
    assert abs(view - larger / 255).max() > 0.1


@pytest.mark.parametrize("size", [0, -3, (3,), (3, 4, 5), (4, 0), (2.5, 3)])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ValueError, match="image_size must be"):
        augmentations.two_views(PHOTO, seed=[0, 0], image_size=size)


@pytest.mark.parametrize("channels", [1, 4])
def test_any_number_of_channels_works_eagerly_and_in_tf_data(channels, draw_many):
    image = image_of(channels)

    def everything(seed):
        return (
            *augmentations.two_views(image, seed=seed, image_size=(22, 20)),
            augmentations.finetune_view(image, seed=seed, image_size=9),
            augmentations.eval_view(image, image_size=9),
        )

    mapped = draw_many(everything, 12)
    for i in range(12):
        for one, other in zip(everything([0, i]), mapped, strict=True):
            assert one.shape[-1] == channels
            np.testing.assert_allclose(one, other[i], atol=5e-6)
            assert other.min() >= 0 and other.max() <= 1


@pytest.mark.parametrize("channels", [1, 5])
def test_jitter_without_rgb_is_brightness_and_contrast(channels):
    image = image_of(channels).astype(np.float32) / 255

    def brighten(x):
        return np.clip(x * 1.4, 0, 1)

    def flatten(x):
        mean = x.mean((0, 1))
        return np.clip((x - mean) * 0.6 + mean, 0, 1)

    for index, order in enumerate(color.ORDERS):
        expected = image
        for operation in order:
            expected = {0: brighten, 1: flatten}.get(operation, np.array)(expected)
        actual = color.color_jitter(
            tf.constant(image),
            order=index,
            brightness=1.4,
            contrast=0.6,
            saturation=3.0,
            hue=0.3,
        )
        np.testing.assert_allclose(actual, expected, atol=2e-6)


def test_colour_drop_of_other_channels_is_their_mean(draw_many):
    image = np.full((20, 20, 4), (200, 100, 50, 30), np.uint8)
    views = draw_many(
        lambda s: policy.pretrain_view(
            image, seed=s, image_size=20, strength=0.0, use_blur=False
        ),
        400,
    )
    same = abs(views - image / 255).max((1, 2, 3)) < 1e-5
    dropped = abs(views - 95 / 255).max((1, 2, 3)) < 1e-5
    assert np.all(same | dropped)
    assert stats.binomtest(int(dropped.sum()), 400, 0.2).pvalue > 1e-4


def test_one_channel_is_the_gray_photo_treated_alike(draw_many):
    """Without hue and saturation a gray RGB image would be treated as its one plane."""
    # Far from 0 and 1: a hue or saturation of overshoot would clip it.
    gray = RANDOM.integers(80, 176, (23, 31, 1), np.uint8)
    for kwargs in ({"strength": 0.0}, {"strength": 0.8}):
        one, many = (
            draw_many(
                lambda s, x=x, kwargs=kwargs: augmentations.pretrain_view(
                    x, seed=s, image_size=20, **kwargs
                ),
                20,
            )
            for x in (gray, np.repeat(gray, 3, axis=-1))
        )
        # The weights of luma sum to 0.9999.
        np.testing.assert_allclose(np.repeat(one, 3, axis=-1), many, atol=1.1e-4)


@pytest.mark.parametrize("channels", [1])
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_pictures_of_figure_4_take_any_channels(name, channels):
    image = RANDOM.uniform(0, 1, (24, 24, channels)).astype(np.float32)
    result = OPERATIONS[name](tf.constant(image), seed=tf.constant([1, 2]))
    assert result.shape == image.shape
    assert np.min(result) >= 0 and np.max(result) <= 1


def test_what_is_left_out_is_said_once(caplog):
    policy._tell_what_is_left_out.cache_clear()
    for channels in (3, 1, 1, 6, 6):
        augmentations.two_views(image_of(channels), seed=[0, 0], image_size=22)
    one, six = (record.getMessage() for record in caplog.records)
    assert "1 channel" in one and "hue and saturation" in one
    assert "6 channel" in six and "mean" in six


def test_an_unknown_number_of_channels_is_refused():
    def build(image):
        return augmentations.two_views(image, seed=[0, 0], image_size=8)

    unknown = tf.TensorSpec([None, None, None], tf.uint8)
    with pytest.raises(ValueError, match="tf.ensure_shape"):
        tf.function(build).get_concrete_function(unknown)


def test_planes_and_back_is_the_identity_for_any_channels():
    for shape in [(1, 1, 1), (3, 5, 2), (7, 2, 4)]:
        image = RANDOM.random(shape).astype(np.float32)
        flat = planes.to_planes(tf.constant(image))
        np.testing.assert_array_equal(flat, image.reshape(-1, shape[2]).T)
        back = planes.to_image(flat, height=shape[0], width=shape[1])
        np.testing.assert_array_equal(back, image)


def test_sizes_are_read_as_height_and_width():
    assert crop.height_and_width(5) == (5, 5)
    assert crop.height_and_width((5, 7)) == (5, 7)
