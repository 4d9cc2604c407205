import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.augmentations import rotate

IMAGE = np.random.default_rng(0).uniform(0.1, 0.9, (40, 40, 3)).astype(np.float32)


def test_rotation_is_by_one_to_three_quarters_never_none(draw_many):
    image = tf.constant(IMAGE)
    images = draw_many(lambda s: rotate.random_rotation(image, seed=s), 90)
    expected = np.stack([np.rot90(IMAGE, k) for k in range(4)])
    matches = [[np.array_equal(x, e) for e in expected] for x in images]
    counts = np.sum(matches, axis=0)
    assert counts[0] == 0 and counts.sum() == 90 and counts[1:].min() > 15
    with pytest.raises(ValueError, match="square"):
        rotate.random_rotation(tf.zeros([2, 3, 3]), seed=[0, 0])
