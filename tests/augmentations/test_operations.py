import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.augmentations import OPERATIONS, blur, erase, noise, rotate
from simclr_tf2.augmentations.sobel import sobel_edges

IMAGE = np.random.default_rng(0).uniform(0.1, 0.9, (40, 40, 3)).astype(np.float32)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_each_picture_of_figure_4_works_eagerly_and_in_tf_data(name, draw_many):
    operation = OPERATIONS[name]
    mapped = draw_many(lambda s: operation(tf.constant(IMAGE), seed=s), 12)
    assert mapped.shape == (12, 40, 40, 3)
    assert mapped.min() >= 0 and mapped.max() <= 1
    for i in range(12):
        eager = operation(tf.constant(IMAGE), seed=tf.constant([0, i]))
        np.testing.assert_allclose(eager, mapped[i], atol=5e-6)
    change = abs(mapped - IMAGE).mean((1, 2, 3))
    if name == "original":
        assert np.all(change == 0)
    else:
        assert np.all(change[1:] + change[:-1] > 1e-4)  # a faint blur may be one
    if name not in ("original", "grayscale", "sobel"):
        assert len(np.unique(np.round(mapped, 4).reshape(12, -1), axis=0)) > 2


def test_cutout_is_one_square_inside_the_image(draw_many):
    shape = (40, 60, 3)
    images = draw_many(lambda s: erase.cutout(tf.ones(shape), seed=s), 400)
    holes = images[..., 0] == 0
    rows, columns = holes.any(2).sum(1), holes.any(1).sum(1)
    np.testing.assert_array_equal(holes.sum((1, 2)), rows * columns)
    np.testing.assert_allclose(rows / 40, columns / 60, atol=0.03)
    assert 0.24 < (rows / 40).min() < 0.28 and 0.47 < (rows / 40).max() < 0.51
    assert holes.any((0, 2)).all() and holes.any((0, 1)).all()  # borders are reached
    tiny = erase.cutout(tf.ones([1, 1, 3]), seed=[0, 0])
    assert tiny.shape == (1, 1, 3)


def test_noise_has_a_strength_of_its_own_in_each_example(draw_many):
    gray = tf.fill([30, 30, 3], 0.5)
    images = draw_many(lambda s: noise.gaussian_noise(gray, seed=s), 300)
    sigma = (images - 0.5).std((1, 2, 3))
    assert sigma.min() < 0.01 and 0.19 < sigma.max() < 0.21
    assert abs(sigma.mean() - 0.1) < 4 * 0.2 / np.sqrt(12 * 300)
    assert abs((images - 0.5).mean()) < 0.002


def test_rotation_is_by_one_to_three_quarters_never_none(draw_many):
    image = tf.constant(IMAGE)
    images = draw_many(lambda s: rotate.random_rotation(image, seed=s), 90)
    expected = np.stack([np.rot90(IMAGE, k) for k in range(4)])
    matches = [[np.array_equal(x, e) for e in expected] for x in images]
    counts = np.sum(matches, axis=0)
    assert counts[0] == 0 and counts.sum() == 90 and counts[1:].min() > 15
    with pytest.raises(ValueError, match="square"):
        rotate.random_rotation(tf.zeros([2, 3, 3]), seed=[0, 0])


def test_sobel_is_the_scaled_length_of_the_gradient():
    gray = np.pad(IMAGE @ [0.2989, 0.587, 0.114], 1, mode="reflect")
    smooth = gray[:-2] + 2 * gray[1:-1] + gray[2:]
    gx = smooth[:, 2:] - smooth[:, :-2]
    smooth = gray[:, :-2] + 2 * gray[:, 1:-1] + gray[:, 2:]
    gy = smooth[2:] - smooth[:-2]
    expected = np.hypot(gx, gy) / np.sqrt(32)
    actual = sobel_edges(tf.constant(IMAGE)).numpy()
    for channel in range(3):
        np.testing.assert_allclose(actual[..., channel], expected, atol=1e-6)
    assert np.max(sobel_edges(tf.ones([5, 7, 3]))) < 1e-6


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (63, 64), (65, 130), (130, 129)])
def test_blur_equals_a_direct_convolution(shape):
    image = np.random.default_rng(1).random((*shape, 3)).astype(np.float32)
    for radius, sigma in [(1, 0.5), (4, 2.0), (11, 1.3)]:
        x = np.arange(-radius, radius + 1)
        kernel = np.exp(-(x**2) / (2 * sigma**2))
        kernel /= kernel.sum()
        expected = image.astype(np.float64)
        for axis in (0, 1):
            expected = np.apply_along_axis(
                lambda v, k=kernel, r=radius: np.convolve(v, k)[r : r + len(v)],
                axis,
                expected,
            )
        actual = blur.gaussian_blur(tf.constant(image), sigma, radius=radius)
        np.testing.assert_allclose(actual, expected, atol=2e-6)


def test_blur_kernel_has_the_width_of_the_reference_and_sums_to_one():
    widths = {19: 1, 20: 3, 32: 3, 96: 9, 224: 23}
    for height, width in widths.items():
        radius = blur.blur_radius(height)
        impulse = np.zeros((height, height, 3), np.float32)
        impulse[height // 2, height // 2] = 1
        spread = blur.gaussian_blur(tf.constant(impulse), 2.0, radius=radius).numpy()
        assert np.count_nonzero(spread[height // 2, :, 0]) == width
        np.testing.assert_allclose(spread.sum((0, 1)), 1, atol=1e-5)
