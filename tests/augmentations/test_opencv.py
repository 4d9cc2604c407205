import sys

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.augmentations import blur, color, opencv, planes, policy, sampling

cv2 = pytest.importorskip("cv2")
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def photo():
    """Smooth colours, uint8 [41, 57, 3]."""
    coarse = RANDOM.uniform(0, 255, (5, 6, 3)).astype(np.float32)
    image = cv2.resize(coarse, (57, 41), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)


def difference(image, changed, operation, amount):
    pixels = planes.to_planes(tf.constant(image / np.float32(255)))
    wanted = planes.clip(operation(pixels, amount))
    wanted = planes.to_image(wanted, height=image.shape[0], width=image.shape[1])
    return abs(changed / 255.0 - wanted.numpy())


# In units of 1/255: largest and mean difference. 8-bit HSV there and back, which the
# neutral operations beside the one that is tested bring along, makes most of it: its
# hues are steps of 6/256 of the spread of a pixel's channels.
@pytest.mark.parametrize(
    ("operation", "amounts", "largest", "mean"),
    [
        (0, (0.2, 1.3, 1.8), 9.0, 1.0),
        (1, (0.2, 1.3, 1.8), 10.0, 1.0),
        (2, (0.2, 1.3, 1.8), 17.0, 1.8),
        (3, (-0.2, -0.03, 0.13, 0.2), 17.0, 1.8),
    ],
)
def test_each_operation_is_that_of_color(photo, operation, amounts, largest, mean):
    for image in (photo, RANDOM.integers(0, 256, (9, 11, 3), np.uint8)):
        for amount in amounts:
            order = next(i for i, o in enumerate(color.ORDERS) if o[0] == operation)
            neutral = [1.0, 1.0, 1.0, 0.0]
            neutral[operation] = amount
            changed = opencv.jitter(cv2, image, neutral, order=order)
            found = difference(image, changed, color.OPERATIONS[operation], amount)
            assert found.max() * 255 < largest and found.mean() * 255 < mean
            unchanged = abs(image - changed.astype(np.float32)).mean()
            assert unchanged > 2 * mean  # doing nothing would not pass


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_that_of_blur(photo, sigma):
    numbers = np.array([24, 1, 1, 0, sigma, 1, 1, 1, 0], np.float32)
    found = opencv.finish(cv2, photo, numbers, radius=3)
    wanted = blur.gaussian_blur(tf.constant(photo / np.float32(255)), sigma, radius=3)
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_flip_and_grayscale_are_those_of_policy(photo):
    for jitter in (0, 24):  # brightness by 1 or none
        numbers = np.array([jitter, 0, 0, 1, 1, 1, 1, 1, 0], np.float32)
        found = opencv.finish(cv2, photo, numbers, radius=3)
        wanted = color.to_grayscale(tf.constant(photo[:, ::-1] / np.float32(255)))
        np.testing.assert_allclose(found, wanted, atol=(6 if jitter == 0 else 1) / 255)


def test_views_are_those_of_policy(photo, draw_many):
    for size in (24, (31, 40)):
        kwargs = {"num_views": 2, "image_size": size}
        wanted = draw_many(lambda s, k=kwargs: policy.views(photo, seed=s, **k), 60)
        found = draw_many(lambda s, k=kwargs: opencv.views(photo, seed=s, **k), 60)
        for one, other in zip(found, wanted, strict=True):
            assert one.dtype == np.float32 and one.shape == other.shape
            assert one.min() >= 0 and one.max() <= 1
            error = abs(one - other)
            assert error.mean() < 0.004 and error.mean((1, 2, 3)).max() < 0.02


def test_other_images_are_made_by_policy(photo):
    for image in (photo[..., :1], photo / np.float32(255), np.uint16(photo) * 257):
        kwargs = {"seed": [1, 2], "num_views": 3, "image_size": 16}
        pairs = zip(
            opencv.views(image, **kwargs), policy.views(image, **kwargs), strict=True
        )
        for one, other in pairs:
            np.testing.assert_array_equal(one, other)


def test_draws_are_read_as_sampling_reads_them():
    blank = np.full((5, 5, 3), (200, 60, 20), np.uint8)
    for i in range(40):
        numbers = sampling.draw_numbers(tf.constant([3, i]), 1.0)
        draws = sampling.read(numbers, channels=3)
        found = opencv.finish(cv2, blank, numbers.numpy(), radius=0)
        is_gray = np.ptp(found) < 1e-6
        dropped = draws.mixture.numpy()[0, 0] < 1 or draws.jitter_order == 25
        assert is_gray == dropped, i


def test_without_opencv_the_error_names_the_command(monkeypatch, photo):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match="pip install opencv-python-headless"):
        opencv.views(photo, seed=[0, 0], num_views=2, image_size=8)
