import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def golden():
    with np.load(GOLDEN / "augment.npz") as data:
        return {name: data[name] for name in data.files}


@pytest.fixture(scope="session")
def statistics():
    return json.loads((GOLDEN / "augment_statistics.json").read_text())


@pytest.fixture(scope="session")
def draw_many():
    """Call fn(seed) for seeds (start, 0..count) in tf.data and stack the results."""

    def draw(fn, count, start=0):
        seeds = tf.data.Dataset.range(count).map(
            lambda i: tf.stack([start, tf.cast(i, tf.int32)])
        )
        batch = seeds.map(fn, num_parallel_calls=2).batch(count)
        return tf.nest.map_structure(lambda x: x.numpy(), next(iter(batch)))

    return draw
