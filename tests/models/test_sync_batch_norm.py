"""One message a layer: values, gradients and statistics of the stock layer's three."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import models
from simclr_tf2.config import ModelConfig
from simclr_tf2.models.layers import SyncBatchNormalization

SHAPES = [(3, 5, 4, 7), (6, 7)]
KINDS = (keras.layers.BatchNormalization, SyncBatchNormalization)


def found(strategy, kind, shape, dtype, monkeypatch, *, training=True, **arguments):
    """Outputs, gradients and moving statistics on two replicas; messages sent."""
    rng = np.random.default_rng(0)
    with strategy.scope():
        layer = kind(
            momentum=0.9, epsilon=1e-5, dtype=dtype, synchronized=True, **arguments
        )
        layer.build((None, *shape[1:]))
        layer.set_weights([rng.random(w.shape) + 0.5 for w in layer.weights])
    halves = [1 + rng.standard_normal(shape), 3 + 2 * rng.standard_normal(shape)]
    probes = [rng.standard_normal(shape) for _ in halves]
    sent = []
    context = tf.distribute.ReplicaContext
    real = context.all_reduce

    def counted(self, *args, **kwargs):
        sent.append(args)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(context, "all_reduce", counted)

    def each(values):
        cast = [tf.constant(value, tf.float32) for value in values]
        return strategy.experimental_distribute_values_from_function(
            lambda context: cast[context.replica_id_in_sync_group]
        )

    def step(x, probe):
        x = tf.cast(x, layer.compute_dtype)
        variables = [w.value for w in layer.trainable_weights]
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
            loss = tf.reduce_sum(tf.cast(y, tf.float32) * probe)
        return y, *tape.gradient(loss, [x, *variables])

    run = tf.function(lambda *a: strategy.run(step, args=a), autograph=False)
    outputs = run(each(halves), each(probes))
    monkeypatch.undo()
    local = [strategy.experimental_local_results(o) for o in outputs]
    flat = [tf.cast(t, tf.float32).numpy() for values in local for t in values]
    statistics = [layer.moving_mean.numpy(), layer.moving_variance.numpy()]
    return local[0][0].dtype, flat + statistics, len(sent) // 2


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("arguments", [{}, {"center": False}], ids=str)
def test_it_is_the_stock_layer(two_replicas, monkeypatch, shape, dtype, arguments):
    stock, ours = (
        found(two_replicas, kind, shape, dtype, monkeypatch, **arguments)
        for kind in KINDS
    )
    assert ours[0] == stock[0]
    limit = 2e-5 if dtype == "float32" else 0.02
    for one, other in zip(ours[1], stock[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=limit, atol=limit)
    assert ours[2] < stock[2]


def test_one_message_forward_and_one_backward(two_replicas, monkeypatch):
    _, _, sent = found(two_replicas, KINDS[1], SHAPES[0], "float32", monkeypatch)
    assert sent == 2


def test_inference_sends_nothing(two_replicas, monkeypatch):
    for kind in KINDS:
        _, _, sent = found(
            two_replicas, kind, SHAPES[0], "float32", monkeypatch, training=False
        )
        assert sent == 0


def test_networks_on_several_replicas_are_made_of_it():
    config = ModelConfig(resnet_depth=10, width_multiplier=0.0625, num_proj_layers=2)

    def kinds(**options):
        model = models.build_simclr(config, image_size=16, **options)
        layers = [*model.backbone.layers, *model.projection_head.layers]
        norms = [x for x in layers if isinstance(x, keras.layers.BatchNormalization)]
        return {type(x).__name__ for x in norms}

    assert kinds(num_replicas=2) == {"SyncBatchNormalization"}
    assert kinds(num_replicas=2, export=True) == {"BatchNormalization"}
