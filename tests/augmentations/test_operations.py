import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.augmentations import OPERATIONS

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
