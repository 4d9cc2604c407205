"""What XLA compiles is what the kernels do."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import augmentations
from simclr_tf2.augmentations import color, compiled, policy

RANDOM = np.random.default_rng(0)


def numbers(order, *codes):
    """As sampling.draw_numbers draws them; codes: no flip, no grayscale, no blur."""
    low, high = [0.1, 0.3, 0.3, 0.3, -0.2], [2.0, 1.7, 1.7, 1.7, 0.2]
    return tf.constant([order, *codes, *RANDOM.uniform(low, high)], tf.float32)


@pytest.mark.parametrize(("shape", "radius"), [((21, 25, 3), 1), ((22, 20, 4), 3)])
def test_compiled_equals_kernels_in_all_orders_with_overshoot(shape, radius):
    orders = [*range(color.NO_JITTER + 1)] * 3
    for order, codes in zip(orders, itertools.cycle(np.ndindex(2, 2, 2)), strict=False):
        window = RANDOM.uniform(-60, 320, shape).astype(np.float32)
        window[:9] = window[:9, :, :1]  # gray, also outside of the range
        drawn = numbers(order, *codes)
        one, other = (
            finish(tf.constant(window), drawn, scale=1 / 255, radius=radius)
            for finish in (compiled.finish, policy._finish)
        )
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)


def test_small_views_are_compiled_and_large_ones_are_not(monkeypatch):
    used = []
    monkeypatch.setattr(
        compiled, "finish", lambda window, *_, **__: used.append(window.shape[0])
    )
    image = RANDOM.integers(0, 256, (9, 9, 3), np.uint8)
    for size in (64, 65):
        augmentations.pretrain_view(image, seed=[0, 0], image_size=size)
    assert used == [64]
