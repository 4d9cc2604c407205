"""Muon against NumPy's singular values, a plain Newton-Schulz loop, and Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.optimizers import Muon
from simclr_tf2.optimizers.muon import UPDATE_RMS, orthogonal
from tests.support.orthogonal import newton_schulz


@pytest.fixture
def rng():
    return np.random.default_rng(0)


SHAPES = [(9, 4), (4, 9), (5, 5), (144, 16)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_iteration_on_the_gram_matrix_is_the_iteration_on_the_matrix(shape, rng):
    matrix = rng.normal(size=shape)
    found = orthogonal(tf.constant(matrix)).numpy()
    np.testing.assert_allclose(found, newton_schulz(matrix), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_vectors_stay_and_singular_values_are_near_1(shape, rng):
    left, values, right = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    values = np.linspace(1, 0.05, len(values))
    matrix = (left * values) @ right
    found = orthogonal(tf.constant(matrix, tf.float32)).numpy()
    new = left.T @ found @ right.T
    np.testing.assert_allclose(new - np.diag(np.diag(new)), 0, atol=1e-4)
    assert np.diag(new).min() > 0.6
    assert np.diag(new).max() < 1.25


def test_single_precision_is_enough_for_badly_conditioned_matrices(rng):
    matrix = rng.normal(size=(1152, 128)) * np.logspace(0, -4, 128)
    found = orthogonal(tf.constant(matrix, tf.float32)).numpy()
    np.testing.assert_allclose(found, newton_schulz(matrix), atol=2e-4)


def test_the_zero_matrix_stays_zero():
    assert not orthogonal(tf.zeros([3, 2])).numpy().any()


def updates(optimizer, variable, gradients):
    """Apply gradients one after another; return the values after each."""
    optimizer.build([variable])
    found = []
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
        found.append(np.array(variable))
    return found


@pytest.mark.parametrize("shape", [(6, 4), (3, 3, 2, 4)])
def test_a_kernel_moves_by_the_formula(shape, rng):
    start, *gradients = rng.normal(size=(4, *shape))
    variable = keras.Variable(start, dtype="float64", name="kernel")
    optimizer = Muon(0.03, momentum=0.8, weight_decay=0.5)
    found = updates(optimizer, variable, gradients)
    w, m = start, np.zeros(shape)
    rows, columns = np.prod(shape[:-1]), shape[-1]
    for gradient, value in zip(gradients, found, strict=True):
        w = w - 0.03 * 0.5 * w
        m = 0.8 * m + gradient
        direction = (gradient + 0.8 * m).reshape(rows, columns)
        step = UPDATE_RMS * np.sqrt(max(rows, columns)) * newton_schulz(direction)
        w = w - 0.03 * step.reshape(shape)
        np.testing.assert_allclose(value, w, rtol=1e-6)  # the rate is float32


def test_the_size_of_an_update_is_that_of_adam(rng):
    """Its root mean square is near 0.2 times the rate, whatever the shape."""
    for shape in [(64, 64), (3, 3, 16, 32), (256, 64)]:
        variable = keras.Variable(np.zeros(shape), name="kernel")
        updates(Muon(1.0), variable, [rng.normal(size=shape).astype("float32")])
        rms = np.sqrt(np.mean(np.square(variable)))
        assert 0.6 * UPDATE_RMS < rms < 1.25 * UPDATE_RMS


def test_a_dense_kernel_moves_as_in_keras(rng):
    start, *gradients = rng.normal(size=(4, 8, 6)).astype("float32")
    ours = keras.Variable(start, name="kernel")
    theirs = keras.Variable(start, name="kernel")
    stock = keras.optimizers.Muon(0.01, momentum=0.9, weight_decay=None)
    if getattr(stock, "rms_rate", None) != UPDATE_RMS:
        pytest.skip("this version of Keras scales the update of Muon in another way")
    expected = updates(stock, theirs, gradients)
    found = updates(Muon(0.01, momentum=0.9), ours, gradients)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "options"), [((5,), {}), ((6, 4), {"adam": ("kernel",)})]
)
def test_the_rest_moves_as_with_adam(shape, options, rng):
    start, *gradients = rng.normal(size=(5, *shape)).astype("float32")
    ours, theirs = (keras.Variable(start, name="kernel") for _ in range(2))
    expected = updates(keras.optimizers.Adam(0.02), theirs, gradients)
    found = updates(Muon(0.02, **options), ours, gradients)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


def test_excluded_variables_are_not_decayed():
    kernel = keras.Variable(np.ones((2, 2)), name="kernel")
    bias = keras.Variable(np.ones(2), name="bias")
    optimizer = Muon(0.1, weight_decay=0.5, exclude=("bias",))
    optimizer.build([kernel, bias])
    zeros = [tf.zeros([2, 2]), tf.zeros([2])]
    optimizer.apply_gradients(zip(zeros, [kernel, bias], strict=True))
    np.testing.assert_allclose(kernel, 0.95)
    np.testing.assert_allclose(bias, 1)


def test_a_kernel_has_one_slot_and_other_variables_two():
    kernel = keras.Variable(np.ones((2, 3)), name="kernel")
    bias = keras.Variable(np.ones(3), name="bias")
    optimizer = Muon(0.1)
    optimizer.build([kernel, bias])
    shapes = sorted(tuple(v.shape) for v in optimizer.variables if len(v.shape))
    assert shapes == [(2, 3), (3,), (3,)]


def test_the_config_makes_the_same_optimizer():
    first = Muon(0.3, momentum=0.7, weight_decay=0.1, exclude=("a",), adam=("b",))
    again = Muon.from_config(first.get_config())
    assert again.get_config() == first.get_config()


@pytest.mark.parametrize(
    ("options", "named"),
    [({"momentum": 1}, "momentum"), ({"weight_decay": -1}, "decay")],
)
def test_values_out_of_range_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        Muon(0.1, **options)
