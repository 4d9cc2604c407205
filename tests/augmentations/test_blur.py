import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.augmentations import blur


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
