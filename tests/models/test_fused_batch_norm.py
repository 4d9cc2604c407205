"""The fused layer against the stock one: values, gradients, statistics, config."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.models.layers import FusedBatchNormalization


def pair(channels=5, *, dtype="float32", **arguments):
    """A stock and a fused layer with the same, non-trivial weights."""
    layers = [
        kind(momentum=0.9, epsilon=1e-5, dtype=dtype, name="bn", **arguments)
        for kind in (keras.layers.BatchNormalization, FusedBatchNormalization)
    ]
    rng = np.random.default_rng(1)
    layers[0].build((None, 7, 3, channels))
    layers[1].build((None, 7, 3, channels))
    weights = [rng.random(w.shape) + 0.5 for w in layers[0].weights]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def images(channels=5, dtype="float32"):
    rng = np.random.default_rng(2)
    values = 3 + 2 * rng.standard_normal((3, 7, 3, channels))
    return tf.cast(tf.constant(values), dtype)


def run(layer, x, training):
    probe = tf.constant(np.random.default_rng(3).standard_normal(x.shape), tf.float32)
    variables = [w.value for w in layer.trainable_weights]
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
        loss = tf.reduce_sum(tf.cast(y, tf.float32) * probe)
    gradients = tape.gradient(loss, [x, *variables])
    statistics = [layer.moving_mean.numpy(), layer.moving_variance.numpy()]
    as_float = [tf.cast(t, tf.float32).numpy() for t in (y, *gradients)]
    return y.dtype.name, [*as_float, *statistics]


def closed_form(layer, x, training):
    """Float64 numpy: output, and the moving statistics after the call."""
    x = tf.cast(x, tf.float64).numpy()
    mean, variance = (
        v.numpy().astype(np.float64) for v in (layer.moving_mean, layer.moving_variance)
    )
    after = mean, variance
    if training:
        batch = x.mean((0, 1, 2)), x.var((0, 1, 2))  # the biased variance
        after = 0.9 * mean + 0.1 * batch[0], 0.9 * variance + 0.1 * batch[1]
        mean, variance = batch
    y = (x - mean) / np.sqrt(variance + 1e-5)
    y = y * layer.gamma.numpy() + layer.beta.numpy()
    return y, *after


@pytest.mark.parametrize("training", [True, False])
def test_fused_equals_the_formula_with_biased_moving_variance(training):
    _, layer = pair()
    x = images()
    expected = closed_form(layer, x, training)
    y = layer(x, training=training).numpy()
    got = y, layer.moving_mean.numpy(), layer.moving_variance.numpy()
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arguments", [{}, {"center": False}, {"scale": False}])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("trainable", [True, False])
def test_fused_equals_stock_in_values_gradients_and_statistics(
    training, trainable, arguments
):
    stock, fused = pair(**arguments)
    for layer in (stock, fused):
        layer.trainable = trainable
    (_, expected), (_, got) = (run(la, images(), training) for la in (stock, fused))
    assert len(expected) == len(got)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("training", [True, False])
def test_fused_equals_stock_under_mixed_bfloat16(training):
    stock, fused = pair(dtype="mixed_bfloat16")
    x = images(dtype="bfloat16")
    (kind, expected), (fused_kind, got) = (
        run(la, x, training) for la in (stock, fused)
    )
    assert kind == fused_kind == "bfloat16"
    for a, b in zip(got, expected, strict=True):
        # bfloat16 keeps 8 bits; both sides round at different places.
        np.testing.assert_allclose(a, b, rtol=2**-6, atol=2**-6 * np.abs(b).max())
    # Statistics are float32 sums of the same bfloat16 inputs.
    for a, b in zip(got[-2:], expected[-2:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_frozen_layer_keeps_its_statistics_and_ignores_the_batch():
    _, layer = pair()
    before = layer.get_weights()
    layer.trainable = False
    a = layer(images(), training=True)
    b = layer(images(), training=False)
    np.testing.assert_array_equal(a, b)
    for new, old in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("shape", [(7, 5), (3, 7, 5)])
def test_ranks_the_kernel_lacks_fall_back_to_stock(shape):
    x = tf.constant(np.random.default_rng(0).standard_normal(shape), tf.float32)
    layers = [
        kind(momentum=0.9)
        for kind in (keras.layers.BatchNormalization, FusedBatchNormalization)
    ]
    expected, got = (layer(x, training=True) for layer in layers)
    np.testing.assert_array_equal(got, expected)


def test_float64_falls_back_to_stock():
    stock, fused = pair(dtype="float64")
    x = images(dtype="float64")
    np.testing.assert_array_equal(fused(x, training=True), stock(x, training=True))


def test_graph_and_xla_agree_with_eager():
    _, layer = pair()
    start, x = layer.get_weights(), images()
    results = []
    for call in (
        layer,
        tf.function(lambda x, training: layer(x, training=training)),
        tf.function(lambda x, training: layer(x, training=training), jit_compile=True),
    ):
        layer.set_weights(start)
        results.append((call(x, training=True).numpy(), layer.moving_variance.numpy()))
    for y, variance in results[1:]:
        np.testing.assert_allclose(y, results[0][0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(variance, results[0][1], rtol=1e-5)


def test_each_replica_normalises_its_own_share(two_replicas):
    with two_replicas.scope():
        _, layer = pair()
    x = images()[:2]
    start = layer.get_weights()

    @tf.function
    def step():
        def replica():
            i = tf.distribute.get_replica_context().replica_id_in_sync_group
            return layer(x[i : i + 1], training=True)

        return two_replicas.run(replica)

    outputs = two_replicas.experimental_local_results(step())
    for i, output in enumerate(outputs):
        _, alone = pair()
        alone.set_weights(start)
        expected = alone(x[i : i + 1], training=True)
        np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)
    assert np.isfinite(layer.moving_mean.numpy()).all()


def test_config_round_trip_keeps_type_and_arguments():
    layer = FusedBatchNormalization(
        momentum=0.7, epsilon=1e-4, center=False, gamma_initializer="zeros", name="bn"
    )
    config = layer.get_config()
    copy = FusedBatchNormalization.from_config(config)
    assert copy.get_config() == config
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert type(again) is FusedBatchNormalization and again.get_config() == config
    copy.build((None, 3, 3, 5))
    assert not copy.gamma.numpy().any() and copy.beta is None


def test_variables_are_those_of_the_stock_layer():
    stock, fused = pair()
    assert [w.path for w in fused.weights] == [w.path for w in stock.weights]
