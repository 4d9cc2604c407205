"""Averages of weights follow their formula, and are put into a model and out again.

``test_equal_trainings`` compares them on several devices.
"""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import losses, optimizers
from simclr_tf2.config import LossConfig, OptimizerConfig
from simclr_tf2.training import cached_gradients, steps
from simclr_tf2.training.weight_average import WeightAverage, averaging
from tests.support import small_networks

SIZE, IMAGES, STEPS = 8, 6, 4
DECAY = 0.3  # the third step is the first that is limited by it


def batches():
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        views = tuple(rng.random((IMAGES, SIZE, SIZE, 3)) for _ in "12")
        yield {
            "views": tuple(tf.constant(view, tf.float32) for view in views),
            "label": tf.constant(rng.integers(0, 3, IMAGES)),
        }


def values(variables):
    return [variable.numpy() for variable in variables]


@pytest.mark.usefixtures("short_network")
@pytest.mark.parametrize(
    ("micro", "compiled"), [(0, False), (3, False), (0, True)], ids=str
)
def test_averages_are_the_recursion_of_the_weights_of_each_step(micro, compiled):
    """Moving statistics, which change twice in a step of two micro-batches, as well."""
    model = small_networks.narrow_network(SIZE, {"resnet_depth": 10})
    optimizer = optimizers.build_optimizer(
        OptimizerConfig(optimizer="momentum"), learning_rate=0.1
    )
    optimizer.build(model.trainable_variables)
    make = steps.pretrain_step
    if micro:
        make = functools.partial(
            cached_gradients.cached_gradient_step, micro_batch_size=micro
        )
    loss = losses.build_loss(LossConfig(temperature=0.5))
    average = WeightAverage(model, DECAY)
    step = tf.function(
        averaging(make(model, optimizer, loss, supervised=True), average),
        autograph=False,
        jit_compile=compiled,
    )
    expected = values(model.variables)
    for t, batch in enumerate(batches(), 1):
        step(batch)
        d = min(DECAY, (1 + t) / (10 + t))
        expected = [
            d * old + (1 - d) * new
            for old, new in zip(expected, values(model.variables), strict=True)
        ]
    assert average.updates.numpy() == STEPS
    found = average.variables
    assert [*found] == [variable.path for variable in model.variables]
    for variable, mean in zip(model.variables, expected, strict=True):
        where, scale = variable.path, np.abs(mean).max()
        error = np.abs(found[where].numpy() - mean).max()
        assert error <= 1e-6 * scale, where
        assert np.abs(variable.numpy() - mean).max() > 1e-5 * scale, where


class OneWeight(keras.Model):
    def __init__(self):
        super().__init__()
        self.weight = self.add_weight(shape=(3,), initializer="ones", dtype="float64")


def test_averages_are_those_of_tensorflow():
    """Its class has the rule; on replicas it would communicate."""
    model = OneWeight()
    average = WeightAverage(model, 0.9)
    count = tf.Variable(0.0)
    theirs = tf.train.ExponentialMovingAverage(0.9, num_updates=count)
    followed = tf.Variable(model.weight.numpy())
    theirs.apply([followed])  # makes its average of the first weights
    (mean,) = average.variables.values()
    rng = np.random.default_rng(0)
    for t in range(1, 101):  # 0.9 is reached at t = 80
        model.weight.assign(rng.standard_normal(3))
        followed.assign(model.weight.numpy())
        count.assign(t)
        theirs.apply([followed])
        average.update()
        np.testing.assert_allclose(
            mean.numpy(), theirs.average(followed).numpy(), rtol=1e-5, atol=1e-6
        )


def test_the_model_gets_its_weights_back_also_after_an_error():
    model = OneWeight()
    average = WeightAverage(model, 0.9)
    model.weight.assign([0.1, 0.2, 0.3])
    average.update()
    expected = 1 + 9 / 11 * (np.array([0.1, 0.2, 0.3]) - 1)
    with pytest.raises(ZeroDivisionError), average.in_model():
        np.testing.assert_allclose(model.weight.numpy(), expected, rtol=1e-14)
        raise ZeroDivisionError
    np.testing.assert_array_equal(model.weight.numpy(), [0.1, 0.2, 0.3])
    average.assign_to_model()
    np.testing.assert_allclose(model.weight.numpy(), expected, rtol=1e-14)


def test_a_restart_forgets_earlier_weights():
    model = OneWeight()
    average = WeightAverage(model, 0.9)
    average.update()
    model.weight.assign([0.1, 0.2, 0.3])
    average.restart()
    assert average.updates.numpy() == 0
    (mean,) = average.variables.values()
    np.testing.assert_array_equal(mean.numpy(), [0.1, 0.2, 0.3])
