import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.evaluation import assert_unchanged, extract

IMAGES = np.random.default_rng(0).uniform(size=[5, 4, 4, 3]).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return keras.Sequential(
        [
            keras.layers.Input([4, 4, 3]),
            keras.layers.Conv2D(3, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def test_inference_passes(model):
    with assert_unchanged(model):
        extract(lambda x: model(x, training=False), [{"image": IMAGES}])


def test_a_moved_batch_statistic_trips_it_and_is_named(model):
    with pytest.raises(RuntimeError, match=r"changed 2 of 6 weights.*moving_mean"):
        with assert_unchanged(model):
            extract(lambda x: model(x, training=True), [{"image": IMAGES}])


def test_the_smallest_change_of_one_weight_trips_it(model):
    kernel = model.weights[0]
    with pytest.raises(RuntimeError, match="changed 1 of 6 weights.*kernel"):
        with assert_unchanged(model):
            value = kernel.numpy()
            value.flat[3] = np.nextafter(value.flat[3], np.float32(9))
            kernel.assign(value)


def test_an_error_inside_comes_out_as_it_is(model):
    with pytest.raises(KeyError), assert_unchanged(model):
        model(IMAGES, training=True)
        raise KeyError("something else")


def test_a_tf_module_is_guarded_too():
    module = tf.Module()
    module.scale = tf.Variable(1.0, name="scale")
    with assert_unchanged(module):
        module.scale.read_value()
    with pytest.raises(RuntimeError, match="scale"), assert_unchanged(module):
        module.scale.assign(2.0)


def test_replicated_weights_are_guarded(two_replicas):
    with two_replicas.scope():
        model = keras.Sequential(
            [keras.layers.Input([3]), keras.layers.BatchNormalization()]
        )

    @tf.function
    def step(training):
        two_replicas.run(lambda: model(tf.ones([2, 3]), training=training))

    with assert_unchanged(model):
        step(False)
    with pytest.raises(RuntimeError, match="moving"), assert_unchanged(model):
        step(True)
