"""Representation metrics against loops and closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import metrics


def rows(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal([n, d])


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_std_is_zero_at_collapse_and_one_over_root_d_on_the_sphere():
    assert metrics.embedding_std(np.tile([[3.0, 4.0]], [5, 1])) == 0
    spread = metrics.embedding_std(rows(4000, 25))
    np.testing.assert_allclose(spread, 1 / 5, rtol=0.01)


def test_alignment_equals_the_loop_and_has_its_ends():
    x, y = rows(7, 3), rows(7, 3, seed=1)
    pairs = zip(x, y, strict=True)
    expected = np.mean([((unit(a) - unit(b)) ** 2).sum() for a, b in pairs])
    np.testing.assert_allclose(metrics.alignment(x, y), expected)
    np.testing.assert_allclose(metrics.alignment(x, 5 * x), 0, atol=1e-15)
    np.testing.assert_allclose(metrics.alignment(x, -x), 4)


def test_uniformity_equals_the_loop_over_pairs():
    x = unit(rows(7, 3))
    potentials = [
        np.exp(-2 * ((x[i] - x[j]) ** 2).sum()) for i in range(7) for j in range(i)
    ]
    expected = np.log(np.mean(potentials))
    np.testing.assert_allclose(metrics.uniformity(3 * x), expected, rtol=1e-12)


def test_uniformity_is_zero_at_collapse_and_about_minus_four_on_the_sphere():
    np.testing.assert_allclose(metrics.uniformity(np.ones([5, 3])), 0, atol=1e-12)
    assert -4.0 < metrics.uniformity(rows(1000, 512)) < -3.9


def test_uniformity_ignores_a_row_with_itself():
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(metrics.uniformity(opposite), -8.0)


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_rankme_of_equal_singular_values_is_their_number(rank):
    q, _ = np.linalg.qr(rows(11, rank))
    basis, _ = np.linalg.qr(rows(6, rank, seed=2))
    np.testing.assert_allclose(metrics.rankme(q @ basis.T), rank, rtol=1e-4)


def test_rankme_equals_the_formula():
    x = rows(9, 4)
    sigma = np.linalg.svd(x, compute_uv=False)
    p = sigma / sigma.sum() + 1e-7
    np.testing.assert_allclose(metrics.rankme(x), np.exp(-(p * np.log(p)).sum()))


def test_all_zero_embeddings_stay_finite():
    zeros = np.zeros([4, 3], np.float32)
    for value in (
        metrics.embedding_std(zeros),
        metrics.alignment(zeros, zeros),
        metrics.uniformity(zeros),
        metrics.rankme(zeros),
    ):
        assert np.isfinite(value)


def test_half_precision_is_computed_in_float32():
    x = tf.cast(rows(64, 16), tf.bfloat16)
    exact = tf.cast(x, tf.float64)
    for metric in (metrics.embedding_std, metrics.uniformity, metrics.rankme):
        assert metric(x).dtype == tf.float32
        np.testing.assert_allclose(metric(x), metric(exact), rtol=1e-4)


def test_works_inside_a_graph_with_unknown_rows():
    signature = [tf.TensorSpec([None, 3], tf.float64)]
    for metric in (metrics.embedding_std, metrics.uniformity, metrics.rankme):
        graph = tf.function(metric, input_signature=signature)
        np.testing.assert_allclose(graph(rows(5, 3)), metric(rows(5, 3)))
