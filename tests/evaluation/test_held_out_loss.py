"""The contrastive loss on held-out images: its value, on any number of replicas."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import losses
from simclr_tf2.config import LossConfig
from simclr_tf2.data import array_files, pipeline
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.evaluation import held_out_batch_sizes, make_held_out_loss

LOSS = losses.build_loss(LossConfig(temperature=0.5))
IMAGES = 7  # an odd number: two replicas and batches of 4 views need padding


def views(batch_size=4):
    images = np.random.default_rng(0).integers(0, 255, [IMAGES, 12, 12, 3], np.uint8)
    return pipeline.make_fixed_views_dataset(
        array_files.from_arrays(images),
        ViewSpec(image_size=8, strength=0.5, use_blur=False),
        batch_size=batch_size,
        seed=1,
    )


def network():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def by_hand(model, sizes):
    """NT-Xent and accuracy of each batch in float64, averaged over images."""
    images = np.concatenate(
        [e["image"][e["mask"]] for e in views().as_numpy_iterator()]
    )
    z = model(images, training=False).numpy().astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    loss = hits = start = 0
    for size in sizes:
        part = z[2 * start : 2 * (start + size)]
        part = np.concatenate([part[::2], part[1::2]])
        logits = part @ part.T / 0.5
        hits += (logits[:size, size:].argmax(axis=1) == np.arange(size)).sum()
        np.fill_diagonal(logits, -np.inf)
        pair = logits[np.arange(2 * size), (np.arange(2 * size) + size) % (2 * size)]
        loss += size * (np.log(np.exp(logits).sum(axis=1)) - pair).mean()
        start += size
    return loss / sum(sizes), hits / sum(sizes)


@pytest.mark.parametrize(
    ("images", "batch", "expected"),
    [(7, 64, [7]), (7, 3, [4, 3]), (127, 64, [127]), (128, 64, [64, 64])],
)
def test_every_image_is_in_one_batch_and_batches_are_alike(images, batch, expected):
    assert held_out_batch_sizes(images, batch) == expected


@pytest.mark.parametrize("sizes", [[7], [4, 3]])
def test_the_value_is_the_loss_of_batches_of_that_size(sizes):
    model = network()
    measure = make_held_out_loss(
        lambda x: model(x, training=False), views(), LOSS, sizes=sizes
    )
    found = measure()
    loss, accuracy = by_hand(model, sizes)
    assert found["valid_loss"] == pytest.approx(loss, abs=1e-5)
    assert found["valid_contrastive_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert set(found) == {
        "valid_loss",
        "valid_contrastive_accuracy",
        "valid_contrastive_entropy",
    }


def test_replicas_and_batches_of_the_network_do_not_change_it(two_replicas):
    sizes = [4, 3]
    model = network()
    one = make_held_out_loss(
        lambda x: model(x, training=False), views(), LOSS, sizes=sizes
    )()
    with two_replicas.scope():
        copy = network()
    copy.set_weights(model.get_weights())
    for batch_size in (4, 5, 14):
        two = make_held_out_loss(
            lambda x: copy(x, training=False),
            views(batch_size),
            LOSS,
            sizes=sizes,
            strategy=two_replicas,
        )()
        assert two == pytest.approx(one, abs=1e-5)


def test_equal_projections_are_at_chance_and_not_finite_ones_are_left_out(caplog):
    equal = make_held_out_loss(
        lambda x: tf.ones([len(x), 4]), views(), LOSS, sizes=[IMAGES]
    )()
    assert equal["valid_loss"] == pytest.approx(math.log(2 * IMAGES - 1), abs=1e-5)
    broken = make_held_out_loss(
        lambda x: tf.fill([len(x), 4], np.nan), views(), LOSS, sizes=[IMAGES]
    )
    assert broken() == broken() == {}
    assert caplog.text.count("held-out loss not measured") == 1
