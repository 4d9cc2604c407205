import numpy as np
import tensorflow as tf

from simclr_tf2.augmentations import noise


def test_noise_has_a_strength_of_its_own_in_each_example(draw_many):
    gray = tf.fill([30, 30, 3], 0.5)
    images = draw_many(lambda s: noise.gaussian_noise(gray, seed=s), 300)
    sigma = (images - 0.5).std((1, 2, 3))
    assert sigma.min() < 0.01 and 0.19 < sigma.max() < 0.21
    assert abs(sigma.mean() - 0.1) < 4 * 0.2 / np.sqrt(12 * 300)
    assert abs((images - 0.5).mean()) < 0.002
