import numpy as np
import tensorflow as tf

from simclr_tf2.augmentations.sobel import sobel_edges

IMAGE = np.random.default_rng(0).uniform(0.1, 0.9, (40, 40, 3)).astype(np.float32)


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
