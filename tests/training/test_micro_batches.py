"""A batch in parts: which rows a part has, and that joining undoes splitting."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.errors import ConfigError
from simclr_tf2.training.micro_batches import MicroBatches

IMAGES, SIZE, VIEWS = 6, 2, 3


def batch():
    """Pixels of image i in view v are all 10 v + i; its label is 100 + i."""
    values = [10.0 * v + np.arange(IMAGES) for v in range(VIEWS)]
    views = tuple(
        tf.constant(np.broadcast_to(x[:, None, None, None], (IMAGES, 5, 7, 3)))
        for x in values
    )
    return {"views": views, "label": tf.constant(100 + np.arange(IMAGES))}


def test_a_part_has_all_views_of_its_images_view_by_view():
    parts = MicroBatches(batch(), SIZE)
    assert (parts.count, parts.rows) == (3, 6)
    found = [
        parts.images(tf.constant(i))[:, 0, 0, 0].numpy().tolist() for i in range(3)
    ]
    assert found == [
        [0, 1, 10, 11, 20, 21],
        [2, 3, 12, 13, 22, 23],
        [4, 5, 14, 15, 24, 25],
    ]
    labels = parts.labels(tf.constant(1)).numpy().tolist()
    assert labels == [102, 103] * VIEWS


def test_joined_rows_have_the_order_of_the_whole_batch():
    parts, whole = MicroBatches(batch(), SIZE), batch()["views"]
    rows = [parts.images(tf.constant(i))[:, 0, 0] for i in range(parts.count)]
    joined = parts.join(tf.stack(rows))
    np.testing.assert_array_equal(joined, tf.concat(whole, axis=0)[:, 0, 0])
    np.testing.assert_array_equal(parts.split(joined), tf.stack(rows))


def test_a_part_that_does_not_divide_the_batch_is_refused():
    with pytest.raises(
        ConfigError, match="micro_batch_size=4 must divide the 6 images"
    ):
        MicroBatches(batch(), 4)


def test_a_batch_of_unknown_size_is_refused():
    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 5, 7, 3])])
    def trace(views):
        MicroBatches({"views": (views, views), "label": views}, 2)

    with pytest.raises(ConfigError, match="one fixed size"):
        trace.get_concrete_function()
