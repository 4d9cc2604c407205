"""A learning rate per variable equals, for every optimizer, steps taken by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import optimizers
from simclr_tf2.config import OptimizerConfig
from simclr_tf2.optimizers import with_multipliers
from tests.support.orthogonal import newton_schulz

DECAY, RATES = 0.1, (0.25, 0.125)  # of the first and the second step
FACTORS = {"head": 3.0, "backbone": 0.5}
START = {
    "head": np.linspace(-1, 1, 6).reshape(2, 3),
    "backbone": np.linspace(1, 2, 6).reshape(3, 2),
    "other": np.linspace(-2, 1, 5),
}


class TwoRates(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return tf.where(tf.cast(step, tf.float32) < 1, *RATES)

    def get_config(self):
        return {}


def gradient(w):
    return np.sin(w) + 0.5 if isinstance(w, np.ndarray) else tf.sin(w) + 0.5


def norm(x):
    return np.sqrt((x**2).sum())


def momentum(w, rates):
    v = 0.0
    for rate in rates:
        g = gradient(w)
        v = 0.9 * v - rate * g
        w = w + 0.9 * v - rate * g  # Nesterov
    return w


def lars(w, rates):
    v = 0.0
    for rate in rates:
        g = gradient(w) + DECAY * w
        v = 0.9 * v + rate * 0.001 * norm(w) / norm(g) * g
        w = w - v
    return w


def adam(w, rates, *, decay=0.0, adapt=False, epsilon=1e-7):
    m = v = 0.0
    for t, rate in enumerate(rates, 1):
        g = gradient(w)
        w = w - rate * decay * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        update = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + epsilon)
        w = w - rate * (norm(w) / norm(update) if adapt else 1) * update
    return w


def muon(w, rates):
    if w.ndim != 2:
        return adam(w, rates, decay=DECAY)
    m = 0.0
    for rate in rates:
        g = gradient(w)
        w = w - rate * DECAY * w
        m = 0.9 * m + g
        w = w - rate * 0.2 * max(w.shape) ** 0.5 * newton_schulz(g + 0.9 * m)
    return w


BY_HAND = {
    "momentum": momentum,
    "lars": lars,
    "adam": adam,
    "adamw": lambda w, rates: adam(w, rates, decay=DECAY),
    "lamb": lambda w, rates: adam(w, rates, decay=DECAY, adapt=True),
    "muon": muon,
}


def make(name):
    config = OptimizerConfig(optimizer=name, weight_decay=DECAY)
    return optimizers.build_optimizer(config, learning_rate=TwoRates())


def variables():
    return [keras.Variable(value, name=name) for name, value in START.items()]


def test_every_optimizer_has_a_step_by_hand():
    assert set(BY_HAND) == set(optimizers.OPTIMIZERS)


@pytest.mark.parametrize("name", BY_HAND)
def test_two_steps_equal_those_by_hand_with_each_variables_own_rate(name):
    optimizer, weights = with_multipliers(make(name), FACTORS), variables()
    optimizer.build(weights)

    @tf.function
    def step():
        optimizer.apply_gradients([(gradient(w.value), w) for w in weights])

    step()
    step()
    for weight in weights:
        factor = FACTORS.get(weight.path, 1.0)
        start = START[weight.path]
        expected = BY_HAND[name](start, [factor * rate for rate in RATES])
        plain = BY_HAND[name](start, RATES)
        np.testing.assert_allclose(weight.numpy(), expected, atol=5e-5)
        if factor != 1:
            assert abs(expected - plain).max() > 3e-4  # or the test says nothing


@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_replicas_take_the_same_steps(two_replicas, name):
    with two_replicas.scope():
        optimizer, weights = with_multipliers(make(name), FACTORS), variables()
        optimizer.build(weights)

    def half():  # gradients are summed over replicas
        grads = [(gradient(tf.convert_to_tensor(w.value)) / 2, w) for w in weights]
        optimizer.apply_gradients(grads)

    for _ in RATES:
        tf.function(lambda: two_replicas.run(half))()
    for weight in weights:
        rates = [FACTORS.get(weight.path, 1.0) * rate for rate in RATES]
        expected = BY_HAND[name](START[weight.path], rates)
        np.testing.assert_allclose(weight.numpy(), expected, atol=5e-5)


def test_weights_left_out_of_decay_stay_out():
    config = OptimizerConfig(optimizer="adamw", weight_decay=DECAY)
    plain = optimizers.build_optimizer(config, learning_rate=0.25, exclude=["head"])
    optimizer, weights = with_multipliers(plain, FACTORS), variables()
    optimizer.build(weights)
    optimizer.apply_gradients([(tf.zeros(w.shape), w) for w in weights])
    left = [w.numpy() / START[w.path] for w in weights]
    for found, share in zip(
        left, (1, 1 - 0.25 * DECAY / 2, 1 - 0.25 * DECAY), strict=True
    ):
        np.testing.assert_allclose(found, share, rtol=1e-6)


def test_factors_of_one_change_nothing_and_slots_keep_their_names():
    plain = make("lars")
    assert with_multipliers(plain, {"head": 1.0}) is plain
    scaled = with_multipliers(make("lars"), FACTORS)
    for optimizer in (plain, scaled):
        optimizer.build(variables())
    assert [v.path for v in plain.variables] == [v.path for v in scaled.variables]
    assert type(scaled).__name__ == "LARS"
