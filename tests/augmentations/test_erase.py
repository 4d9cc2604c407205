import numpy as np
import tensorflow as tf

from simclr_tf2.augmentations import erase


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
