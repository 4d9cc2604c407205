"""What every loss of the registry keeps to; a new one is tested without a line here."""

import dataclasses
import inspect

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import losses
from simclr_tf2.config import LOSSES, LossConfig

every_loss = pytest.mark.parametrize("name", losses.LOSSES)
IMAGES = 7


def built(name, **changes):
    return losses.build_loss(dataclasses.replace(LossConfig(loss=name), **changes))


def parameters(name):
    return inspect.signature(losses.LOSSES[name].function).parameters


def projections(images=IMAGES, dtype=np.float64):
    """Two views near to each other: [2n, 5]."""
    random = np.random.default_rng(0)
    first = random.normal(size=(images, 5))
    second = first + 0.5 * random.normal(size=(images, 5))
    return np.concatenate([first, second]).astype(dtype)


def step(loss, z):
    """Loss, gradient by the projections, metrics."""
    z = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(z)
        value, metrics = loss(z)
    return value.numpy(), tape.gradient(value, z).numpy(), metrics


@every_loss
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loss_gradient_and_metrics_are_finite_scalars_of_that_dtype(name, dtype):
    loss, gradient, metrics = step(built(name), projections(dtype=dtype))
    assert loss.shape == () and loss.dtype == gradient.dtype == dtype
    assert np.isfinite(loss) and loss > 0
    assert np.isfinite(gradient).all() and gradient.any(axis=1).all()
    assert "contrastive_accuracy" in metrics
    for key, value in metrics.items():
        assert value.shape == () and np.isfinite(value), key


@every_loss
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_computed_in_float32(name, dtype):
    z = tf.cast(projections(), dtype)
    loss, _ = built(name)(z)
    expected, _ = built(name)(tf.cast(z, tf.float32))
    assert loss.dtype == tf.float32
    np.testing.assert_array_equal(loss, expected)


@every_loss
def test_the_gradient_is_the_slope_of_the_loss(name):
    z, loss = projections(), built(name)
    _, gradient, _ = step(loss, z)
    random = np.random.default_rng(1)
    for _ in range(5):
        direction = random.normal(size=z.shape)
        above, below = (loss(z + s * direction)[0] for s in (1e-5, -1e-5))
        slope = (above - below).numpy() / 2e-5
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-5)


@every_loss
def test_the_order_of_the_images_changes_nothing(name):
    z, loss = projections(), built(name)
    order = np.random.default_rng(0).permutation(IMAGES)
    rows = np.concatenate([order, IMAGES + order])
    value, gradient, metrics = step(loss, z)
    permuted, gradient_permuted, metrics_permuted = step(loss, z[rows])
    np.testing.assert_allclose(permuted, value, rtol=1e-12)
    np.testing.assert_allclose(gradient_permuted, gradient[rows], rtol=1e-9, atol=1e-15)
    for key, found in metrics.items():
        np.testing.assert_allclose(metrics_permuted[key], found, rtol=1e-12)


@every_loss
def test_which_view_comes_first_does_not_change_the_loss(name):
    z, loss = projections(), built(name)
    swapped = np.concatenate([z[IMAGES:], z[:IMAGES]])
    np.testing.assert_allclose(loss(swapped)[0], loss(z)[0], rtol=1e-12)


@every_loss
def test_other_pairs_of_views_are_another_loss(name):
    """The opposite of the two above: which rows are pairs matters."""
    z, loss = projections(), built(name)
    shifted = np.concatenate([z[:IMAGES], np.roll(z[IMAGES:], 1, axis=0)])
    assert loss(shifted)[0] > 1.1 * loss(z)[0]


@every_loss
def test_the_length_of_a_row_matters_only_without_normalisation(name):
    z = projections()
    longer = z * np.linspace(0.5, 2, len(z))[:, None]
    loss = built(name)
    np.testing.assert_allclose(loss(longer)[0], loss(z)[0], rtol=1e-9)
    plain = built(name, hidden_norm=False)
    assert abs(plain(longer)[0] - plain(z)[0]) > 1e-3


@pytest.mark.parametrize(
    "name", [name for name in losses.LOSSES if "block_size" in parameters(name)]
)
@pytest.mark.parametrize("block", [1, 3, IMAGES, 100])
def test_in_blocks_it_is_the_same_loss(name, block):
    value, gradient, metrics = step(built(name, loss_block_size="off"), projections())
    found = step(built(name, loss_block_size=block), projections())
    np.testing.assert_allclose(found[0], value, rtol=1e-12)
    np.testing.assert_allclose(found[1], gradient, rtol=1e-9, atol=1e-14)
    for key, expected in metrics.items():
        np.testing.assert_allclose(found[2][key], expected, rtol=1e-9)


@every_loss
def test_two_replicas_have_the_loss_of_the_joined_batch(name, two_replicas):
    """On replica r, the images r, r + 2 ..; 4 of each."""
    z, loss = projections(8), built(name)
    expected, gradient, _ = step(loss, z)
    rows = [np.r_[r:8:2, 8 + r : 16 : 2] for r in range(2)]
    shares = two_replicas.experimental_distribute_values_from_function(
        lambda context: tf.constant(z[rows[context.replica_id_in_sync_group]])
    )

    @tf.function
    def on_replica(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value, _ = loss(z)
        return value, tape.gradient(value, z)

    values, gradients = two_replicas.run(on_replica, args=(shares,))
    values = two_replicas.experimental_local_results(values)
    np.testing.assert_allclose(np.mean(values), expected, rtol=1e-12)
    for r, found in enumerate(two_replicas.experimental_local_results(gradients)):
        # of the sum of both losses; the joined loss is their mean
        np.testing.assert_allclose(found / 2, gradient[rows[r]], rtol=1e-9, atol=1e-15)


@every_loss
def test_the_size_of_the_batch_may_be_unknown(name):
    loss = built(name)
    traced = tf.function(
        lambda z: loss(z)[0], input_signature=[tf.TensorSpec([None, 5], tf.float64)]
    )
    for images in (2, IMAGES):
        z = projections(images)
        np.testing.assert_allclose(traced(z), loss(z)[0], rtol=1e-12)


@every_loss
@pytest.mark.parametrize("value", [0.0, -0.1, float("nan")])
def test_a_wrong_temperature_or_margin_is_refused(name, value):
    setting = "temperature" if "temperature" in parameters(name) else "margin"
    if setting == "margin" and value == 0:
        pytest.skip("a margin of 0 is one")
    with pytest.raises(ValueError, match=f"{setting} must be"):
        losses.LOSSES[name].function(projections(), **{setting: value})


@every_loss
@pytest.mark.parametrize("shape", [(5, 3), (4,), (2, 2, 3)])
def test_what_is_not_two_views_is_refused(name, shape):
    with pytest.raises(ValueError, match="projections must be"):
        losses.LOSSES[name].function(np.ones(shape, np.float32))


@every_loss
def test_settings_are_parameters_and_properties_of_the_config(name):
    record = losses.LOSSES[name]
    assert set(record.settings) <= set(parameters(name))
    assert all(hasattr(LossConfig(), key) for key in record.settings.values())
    assert "normalize" in record.settings


@every_loss
@pytest.mark.parametrize("images", [2, IMAGES])
def test_orthogonal_rows_cost_the_chance_level(name, images):
    """All similarities are 0, of the two views of an image too."""
    level, formula = losses.chance_level(
        LossConfig(loss=name), global_batch_size=images
    )
    loss, _ = built(name)(np.eye(2 * images))
    np.testing.assert_allclose(loss, level, rtol=1e-9)
    assert formula


def test_the_registry_has_the_losses_of_the_config():
    assert tuple(losses.LOSSES) == LOSSES
