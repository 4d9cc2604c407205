"""NT-Xent on one device: paper's algorithm as loops, derivatives, awkward inputs."""

import importlib
import math

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import losses
from simclr_tf2.config import LossConfig
from simclr_tf2.errors import ConfigError
from tests.support.loss_loops import nt_xent_loops

nt_xent_file = importlib.import_module("simclr_tf2.losses.nt_xent")


def projections(n, d, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal([2 * n, d]).astype(dtype)


def loss_and_gradient(z, **kwargs):
    z = tf.convert_to_tensor(z)
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss = losses.nt_xent(z, **kwargs)
    return loss.numpy(), tape.gradient(loss, z).numpy()


@pytest.mark.parametrize(("n", "d"), [(2, 3), (3, 5), (7, 4)])
@pytest.mark.parametrize("temperature", [0.02, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("normalize", [True, False])
def test_equals_algorithm_1_of_the_paper(n, d, temperature, normalize):
    z = projections(n, d)
    loss = losses.nt_xent(z, temperature=temperature, normalize=normalize)
    expected = nt_xent_loops(z, temperature, normalize)
    np.testing.assert_allclose(loss, expected, rtol=1e-11)


@pytest.mark.parametrize("temperature", [0.02, 0.5])
@pytest.mark.parametrize("normalize", [True, False])
def test_gradient_equals_central_differences(temperature, normalize):
    z = projections(3, 4, seed=1)
    options = {"temperature": temperature, "normalize": normalize}
    _, gradient = loss_and_gradient(z, **options)
    numeric = np.empty_like(z)
    for index in np.ndindex(*z.shape):
        step = np.zeros_like(z)
        step[index] = 1e-6
        up = losses.nt_xent(z + step, **options)
        numeric[index] = (up - losses.nt_xent(z - step, **options)) / 2e-6
    np.testing.assert_allclose(gradient, numeric, atol=1e-7 * abs(numeric).max())


def test_both_ways_of_shifting_the_exponent_agree(monkeypatch):
    z = projections(5, 8)
    bounded = loss_and_gradient(z, temperature=0.1)
    monkeypatch.setattr(nt_xent_file, "_LOWEST_BOUNDED_TEMPERATURE", 1e9)
    shifted = loss_and_gradient(z, temperature=0.1)
    np.testing.assert_allclose(bounded[0], shifted[0], rtol=1e-13)
    np.testing.assert_allclose(bounded[1], shifted[1], rtol=1e-10, atol=1e-14)


def test_collapsed_views_cost_the_chance_level():
    n = 7
    loss = losses.nt_xent(np.ones([2 * n, 3], np.float32))
    np.testing.assert_allclose(loss, math.log(2 * n - 1), rtol=1e-6)


def test_random_projections_cost_about_the_chance_level():
    loss = losses.nt_xent(projections(128, 512, dtype=np.float32), temperature=1.0)
    assert abs(loss - math.log(255)) < 0.02


def test_pairs_are_rows_i_and_n_plus_i_not_neighbours():
    view = projections(4, 16, seed=3)[:4]
    halves = losses.nt_xent(np.concatenate([view, view]))
    neighbours = losses.nt_xent(np.repeat(view, 2, axis=0))
    assert halves < 0.1 < 1 < neighbours


@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_single_pair_has_no_negatives_so_no_loss_and_no_gradient(temperature):
    loss, gradient = loss_and_gradient(
        projections(1, 5, dtype=np.float32), temperature=temperature
    )
    assert loss == 0
    np.testing.assert_array_equal(gradient, np.zeros([2, 5]))


def test_half_precision_input_is_computed_in_float32():
    z16 = tf.cast(projections(64, 32), tf.bfloat16)
    exact = losses.nt_xent(tf.cast(z16, tf.float64), temperature=0.1)
    for dtype in (tf.bfloat16, tf.float16):
        z = tf.cast(z16, dtype)
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss, metrics = losses.nt_xent_and_metrics(z, temperature=0.1)
        assert loss.dtype == tf.float32
        assert all(m.dtype == tf.float32 for m in metrics.values())
        assert tape.gradient(loss, z).dtype == dtype
        # Half-precision exponents would be off by a percent.
        np.testing.assert_allclose(loss, exact, rtol=2e-6)


def test_no_float32_policy_leaks_in():
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert losses.nt_xent(tf.ones([6, 3], tf.bfloat16)).dtype == tf.float32
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("temperature", [0.001, 0.01, 0.1])
def test_extreme_logits_stay_finite(temperature):
    z = 100 * projections(4, 6, dtype=np.float32)
    for normalize in (True, False):
        loss, gradient = loss_and_gradient(
            z, temperature=temperature, normalize=normalize
        )
        assert np.isfinite(loss) and np.isfinite(gradient).all()
    exact = losses.nt_xent(z.astype(np.float64), temperature=temperature)
    np.testing.assert_allclose(
        losses.nt_xent(z, temperature=temperature), exact, rtol=1e-4
    )


def test_zero_row_is_finite_and_gets_the_gradient_of_epsilon():
    z = projections(4, 6, dtype=np.float32)
    z[2] = 0
    loss, gradient = loss_and_gradient(z)
    assert np.isfinite(loss) and np.isfinite(gradient).all()
    assert np.linalg.norm(gradient[2]) > 1e4  # 1 / sqrt(1e-12) times a direction


def test_tiny_loss_keeps_its_digits_in_float32():
    view = projections(16, 128, seed=5, dtype=np.float32)[:16]
    z = np.concatenate([view, view])
    exact = nt_xent_loops(z, 0.05)
    assert exact < 1e-5
    np.testing.assert_allclose(losses.nt_xent(z, temperature=0.05), exact, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_compiles_with_xla_to_the_same_numbers(temperature):
    z = tf.constant(projections(5, 8, dtype=np.float32))

    def step(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss, metrics = losses.nt_xent_and_metrics(z, temperature=temperature)
        return loss, tape.gradient(loss, z), metrics

    loss, gradient, metrics = step(z)
    for function in (tf.function(step), tf.function(step, jit_compile=True)):
        compiled_loss, compiled_gradient, compiled_metrics = function(z)
        np.testing.assert_allclose(compiled_loss, loss, rtol=1e-5)
        np.testing.assert_allclose(compiled_gradient, gradient, rtol=1e-3, atol=1e-6)
        for name, value in metrics.items():
            np.testing.assert_allclose(compiled_metrics[name], value, atol=1e-5)


def test_single_pair_compiles_with_xla():
    step = tf.function(loss_and_gradient_graph, jit_compile=True)
    loss, gradient = step(tf.ones([2, 3]))
    assert loss == 0 and not np.any(gradient)


def loss_and_gradient_graph(z):
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss = losses.nt_xent(z)
    return loss, tape.gradient(loss, z)


def test_batch_size_may_be_unknown_when_traced():
    step = tf.function(
        losses.nt_xent_and_metrics,
        input_signature=[tf.TensorSpec([None, 4], tf.float32)],
    )
    for n in (3, 5):
        z = projections(n, 4, dtype=np.float32)
        loss, _ = step(z)
        np.testing.assert_allclose(loss, nt_xent_loops(z, 0.1), rtol=1e-5)


def test_graph_holds_no_tensor_larger_than_rows_times_columns():
    n, d = 8, 16
    step = tf.function(loss_and_gradient_graph)
    graph = step.get_concrete_function(tf.TensorSpec([2 * n, d], tf.float32)).graph
    shapes = [t.shape for op in graph.get_operations() for t in op.outputs]
    assert max(s.num_elements() or 0 for s in shapes) == (2 * n) ** 2


def test_metrics_count_the_best_of_the_other_view_only():
    # Row 0 and 1 of view 1 are equal: their own view must not be a candidate.
    view1 = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    view2 = np.array([[1, 0], [0.9, 0.5], [0, 1]], np.float32)
    _, metrics = losses.nt_xent_and_metrics(np.concatenate([view1, view2]))
    np.testing.assert_allclose(metrics["contrastive_accuracy"], 2 / 3, rtol=1e-6)


def test_metrics_at_collapse_are_one_hit_and_full_entropy():
    n = 5
    _, metrics = losses.nt_xent_and_metrics(np.ones([2 * n, 3], np.float32))
    np.testing.assert_allclose(metrics["contrastive_accuracy"], 1 / n, rtol=1e-6)
    np.testing.assert_allclose(metrics["contrastive_entropy"], math.log(n), rtol=1e-5)


def test_metrics_have_no_gradient():
    z = tf.constant(projections(3, 4))
    with tf.GradientTape() as tape:
        tape.watch(z)
        _, metrics = losses.nt_xent_and_metrics(z)
        entropy = metrics["contrastive_entropy"]
    assert tape.gradient(entropy, z) is None


@pytest.mark.parametrize("shape", [(5, 3), (4,), (2, 2, 3)])
def test_rejects_what_is_not_two_views(shape):
    with pytest.raises(ValueError, match="projections must be"):
        losses.nt_xent(np.ones(shape, np.float32))


@pytest.mark.parametrize("temperature", [0.0, -0.1, float("nan")])
def test_rejects_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(ValueError, match="temperature must be"):
        losses.nt_xent(np.ones([4, 2], np.float32), temperature=temperature)


def test_build_loss_reads_every_field():
    z = projections(3, 4)
    loss, metrics = losses.build_loss(LossConfig(temperature=0.5, hidden_norm=False))(z)
    np.testing.assert_allclose(loss, nt_xent_loops(z, 0.5, normalize=False), rtol=1e-11)
    assert set(metrics) == {"contrastive_accuracy", "contrastive_entropy"}


def test_unknown_loss_names_the_choices():
    section = LossConfig()
    object.__setattr__(section, "loss", "triplet")
    with pytest.raises(ConfigError, match="nt_xent"):
        losses.build_loss(section)
