"""Gradients of convolutions of small maps, beside those of the stock layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import startup
from simclr_tf2.models import convolution


def value_and_gradients(layer, x, weights):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
        loss = tf.reduce_sum(y * weights)
    return y, *tape.gradient(loss, [x, layer.kernel.value])


# [n, h, w, c], filters, kernel: a part, several even and uneven parts, odd shapes
CASES = [
    ((8, 4, 4, 16), 24, 3),
    ((300, 4, 4, 8), 8, 3),  # three parts
    ((83, 7, 7, 4), 6, 3),  # uneven parts
    ((1, 1, 1, 8), 4, 3),
    ((2100, 1, 1, 4), 4, 3),
    ((16, 2, 5, 8), 8, 5),
    ((64, 7, 7, 3), 5, 3),
]


@pytest.mark.parametrize(("shape", "filters", "size"), CASES)
def test_values_and_gradients_are_those_of_the_stock_layer(shape, filters, size):
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=shape), tf.float32)
    weights = tf.constant(random.normal(size=(*shape[:-1], filters)), tf.float32)
    stock = keras.layers.Conv2D(filters, size, padding="same", use_bias=False)
    ours = convolution.Conv2D(filters, size, padding="same", use_bias=False)
    stock.build(shape)
    ours.build(shape)
    stock.kernel.assign(random.normal(size=stock.kernel.shape))
    ours.kernel.assign(stock.kernel)
    assert ours._pays(x) == startup.onednn_is_on()
    for found, expected in zip(
        value_and_gradients(ours, x, weights),
        value_and_gradients(stock, x, weights),
        strict=True,
    ):
        # float32 sums of up to 2,100 x 25 products: a relative error of the largest
        scale = float(tf.reduce_max(tf.abs(expected)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)


def test_the_filter_gradient_is_the_sum_that_defines_it():
    random = np.random.default_rng(1)
    x, dy = random.normal(size=(3, 4, 5, 2)), random.normal(size=(3, 4, 5, 6))
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    expected = [
        [
            np.einsum("nijc,nijf->cf", padded[:, u : u + 4, v : v + 5], dy)
            for v in range(3)
        ]
        for u in range(3)
    ]
    found = convolution.filter_gradient(tf.constant(x), tf.constant(dy), size=3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((4, 8, 8, 4), {}),  # too large a map
        ((4, 4, 4, 4), {"strides": 2}),
        ((4, 4, 4, 4), {"padding": "valid"}),
        ((4, 4, 4, 4), {"kernel_size": 1}),
        ((4, 4, 4, 4), {"kernel_size": 2}),
        ((4, 4, 4, 4), {"dilation_rate": 2}),
        ((4, 4, 4, 4), {"groups": 2}),
        ((4, 4, 4, 4), {"dtype": "bfloat16"}),
    ],
)
def test_other_convolutions_stay_the_stock_layers(shape, arguments):
    arguments = {"kernel_size": 3, "padding": "same", **arguments}
    layer = convolution.Conv2D(4, **arguments)
    x = tf.zeros(shape, arguments.get("dtype", "float32"))
    assert not layer._pays(x)
    stock = keras.layers.Conv2D(4, **arguments)
    assert layer(x).shape == stock(x).shape


def test_a_network_in_training_has_the_layer_and_its_export_does_not():
    from simclr_tf2 import models
    from simclr_tf2.config import ModelConfig

    settings = ModelConfig(resnet_depth=10, width_multiplier=0.125, stem="stride2")
    model = models.build_simclr(settings, image_size=32, num_classes=3)
    copy = models.export_copy(model)

    def kinds(network):
        layers = network._flatten_layers()
        return {type(x) for x in layers if isinstance(x, keras.layers.Conv2D)}

    assert kinds(model) == {convolution.Conv2D}
    assert kinds(copy) == {keras.layers.Conv2D}
