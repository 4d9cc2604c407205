"""The backends make the same views; one of them makes many at once."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.augmentations import BACKENDS

IMAGES = np.random.default_rng(0).integers(0, 256, [5, 9, 11, 3], np.uint8)
SEEDS = tf.constant([[3, 4], [5, 6]])
INDEX = tf.constant([4, 1], tf.int64)
OPTIONS = {"num_views": 2, "image_size": (7, 8), "strength": 0.5}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["views", "windows"])
def test_backends_draw_the_same(kind):
    pytest.importorskip("numba")
    first, second = (
        tf.nest.flatten(getattr(backend, kind)(IMAGES[0], seed=SEEDS[0], **OPTIONS))
        for backend in (BACKENDS["tf"], BACKENDS["numba"])
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, atol=5e-6)


@pytest.mark.parametrize("kind", ["views", "windows"])
def test_many_images_at_once_are_those_one_by_one(kind):
    pytest.importorskip("numba")
    backend = BACKENDS["numba"]
    make = getattr(backend, f"{kind}_of_batch")
    found = tf.nest.flatten(make(IMAGES, index=INDEX, seed=SEEDS, **OPTIONS))
    rows = [
        tf.nest.flatten(getattr(backend, kind)(IMAGES[i], seed=seed, **OPTIONS))
        for i, seed in zip(INDEX.numpy(), SEEDS, strict=True)
    ]
    for batch, *parts in zip(found, *rows, strict=True):
        np.testing.assert_array_equal(batch, np.stack(parts))


def test_tensorflow_makes_one_image_at_a_time():
    assert BACKENDS["tf"].views_of_batch is None
    assert BACKENDS["tf"].windows_of_batch is None
