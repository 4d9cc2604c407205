"""Solarization is that of BYOL, and of Pillow where both are defined."""

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from simclr_tf2.augmentations import solarize


def test_solarization_inverts_values_at_and_above_the_threshold():
    values = tf.constant([0.0, 0.4, 0.5, 0.75, 1.0])
    found = solarize.solarize_where(values, tf.constant(True))
    np.testing.assert_allclose(found, [0.0, 0.4, 0.5, 0.25, 0.0])
    np.testing.assert_array_equal(solarize.solarize_where(values, False), values)


def test_it_is_what_pillow_does():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    wanted = np.asarray(ImageOps.solarize(Image.fromarray(pixels), threshold=128))
    found = solarize.solarize_where(tf.constant(pixels / 255), True, 128 / 255)
    np.testing.assert_allclose(found * 255, wanted, atol=1e-9)


def test_each_image_has_a_choice_and_a_threshold_of_its_own():
    images = tf.fill([3, 2, 2, 1], 0.7)
    chosen = tf.reshape([True, False, True], [3, 1, 1, 1])
    thresholds = tf.reshape([0.5, 0.5, 0.8], [3, 1, 1, 1])
    found = solarize.solarize_where(images, chosen, thresholds)
    np.testing.assert_allclose(found[:, 0, 0, 0], [0.3, 0.7, 0.7], atol=1e-6)
