"""NT-Xent against vectors from the reference code, on one device and on two."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import distribution, losses

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def cases():
    return np.load(GOLDEN / "contrastive_loss.npz")


@pytest.fixture(scope="module")
def replica_cases():
    return np.load(GOLDEN / "contrastive_loss_replicas2.npz")


def step(z, temperature, normalize):
    """The loss, d loss / d z and the metrics of one replica."""
    z = tf.convert_to_tensor(z)
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss, metrics = losses.nt_xent_and_metrics(
            z, temperature=temperature, normalize=normalize
        )
        scaled = loss / distribution.replica_count()
    return loss, tape.gradient(scaled, z), metrics


def run_on_replicas(strategy, shares, temperature, normalize):
    """``step`` on every replica: lists of losses, gradients, metrics."""
    values = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(shares[context.replica_id_in_sync_group])
    )

    @tf.function
    def run(values):
        return strategy.run(lambda z: step(z, temperature, normalize), [values])

    loss, gradient, metrics = run(values)
    local = strategy.experimental_local_results
    per_replica = {name: local(value) for name, value in metrics.items()}
    return np.stack(local(loss)), np.stack(local(gradient)), per_replica


def split_views(z, replicas):
    """Rows of all views -> what each replica gets: its rows of both views."""
    by_view = np.split(z, 2)
    parts = [np.split(view, replicas) for view in by_view]
    return np.stack([np.concatenate(pair) for pair in zip(*parts, strict=True)])


@pytest.mark.golden
@pytest.mark.parametrize("case", range(16))
def test_loss_is_half_of_the_reference(cases, case):
    get = lambda key: cases[f"case{case:02d}_{key}"]  # noqa: E731
    loss, gradient, metrics = step(
        get("hidden"), float(get("temperature")), bool(get("hidden_norm"))
    )
    np.testing.assert_allclose(2 * loss, get("loss_float64_numpy"), rtol=3e-6)
    # The loss of case 7 is 2e-5, where the reference's own float32 is off by 2e-3
    expected, rtol = get("grad_hidden"), 5e-3 if case == 7 else 1e-4
    scale = max(abs(expected).max(), 1e-30)
    np.testing.assert_allclose(2 * gradient / scale, expected / scale, atol=rtol)
    assert metrics["contrastive_accuracy"] == get("contrast_acc")
    np.testing.assert_allclose(
        metrics["contrastive_entropy"], get("contrast_entropy"), rtol=1e-4, atol=1e-7
    )


@pytest.mark.golden
@pytest.mark.parametrize("case", range(16))
def test_float64_loss_matches_an_independent_float64_evaluation(cases, case):
    get = lambda key: cases[f"case{case:02d}_{key}"]  # noqa: E731
    loss, _, _ = step(
        get("hidden").astype(np.float64),
        round(float(get("temperature")), 6),
        bool(get("hidden_norm")),
    )
    expected = get("loss_float64_numpy")
    np.testing.assert_allclose(2 * loss, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.golden
@pytest.mark.parametrize("case", range(3))
def test_two_replicas_match_the_reference(two_replicas, replica_cases, case):
    get = lambda key: replica_cases[f"r2_case{case}_{key}"]  # noqa: E731
    options = float(get("temperature")), bool(get("hidden_norm"))
    loss, gradient, metrics = run_on_replicas(
        two_replicas, get("replica_hidden"), *options
    )
    # atol: case 2 has a replica with loss 1e-6, below the reference's float32 digits
    np.testing.assert_allclose(2 * loss, get("replica_loss"), rtol=2e-5, atol=2e-8)
    np.testing.assert_allclose(2 * loss.mean(), get("single_loss"), rtol=2e-5)
    expected = get("replica_grad_of_loss_over_R")
    scale = abs(expected).max()
    np.testing.assert_allclose(2 * gradient / scale, expected / scale, atol=1e-4)
    hits = get("replica_logits_ab").argmax(-1) == get("replica_labels_argmax")
    np.testing.assert_allclose(
        np.stack(metrics["contrastive_accuracy"]), hits.mean(-1), rtol=1e-6
    )


@pytest.mark.parametrize(("temperature", "normalize"), [(0.1, True), (0.5, False)])
def test_two_replicas_match_one_with_joined_batch(two_replicas, temperature, normalize):
    z = np.random.default_rng(0).standard_normal([2 * 6, 5])
    joined_loss, joined_gradient, joined_metrics = step(z, temperature, normalize)
    loss, gradient, metrics = run_on_replicas(
        two_replicas, split_views(z, 2), temperature, normalize
    )
    np.testing.assert_allclose(loss.mean(), joined_loss, rtol=1e-10)
    np.testing.assert_allclose(
        gradient, split_views(joined_gradient.numpy(), 2), rtol=1e-10, atol=1e-14
    )
    for name, value in joined_metrics.items():
        np.testing.assert_allclose(np.mean(metrics[name]), value, rtol=1e-10)


def test_call_in_a_scope_but_outside_of_run_is_local(two_replicas):
    z = np.random.default_rng(0).standard_normal([2 * 6, 5])
    expected, _, _ = step(z, 0.1, True)
    with two_replicas.scope():
        np.testing.assert_allclose(losses.nt_xent(z, temperature=0.1), expected)


def test_collapse_scores_one_hit_in_the_whole_batch_on_two_replicas(two_replicas):
    # Equal candidates: the first of the GLOBAL batch is taken, on either replica.
    ones = np.ones([2, 2 * 3, 4], np.float32)
    _, _, metrics = run_on_replicas(two_replicas, ones, 0.1, True)
    np.testing.assert_allclose(metrics["contrastive_accuracy"], [1 / 3, 0], rtol=1e-6)


def test_a_gather_in_wrong_order_would_be_noticed(two_replicas, monkeypatch):
    z = np.random.default_rng(0).standard_normal([2 * 6, 5])
    joined_loss, _, _ = step(z, 0.1, True)
    gather = distribution.all_gather

    def reversed_order(x):
        return tf.concat(tf.split(gather(x), 2)[::-1], axis=0)

    monkeypatch.setattr(distribution, "all_gather", reversed_order)
    loss, _, _ = run_on_replicas(two_replicas, split_views(z, 2), 0.1, True)
    assert abs(loss.mean() - joined_loss) > 0.5


@pytest.mark.parametrize("factor", [0.0, 0.5], ids=["no gradient", "1/W of it"])
def test_a_gather_with_a_wrong_gradient_would_be_noticed(
    two_replicas, monkeypatch, factor
):
    z = np.random.default_rng(0).standard_normal([2 * 6, 5])
    _, joined_gradient, _ = step(z, 0.1, True)
    gather = distribution.all_gather

    def damped(x):
        x = gather(x)
        return factor * x + tf.stop_gradient((1 - factor) * x)

    monkeypatch.setattr(distribution, "all_gather", damped)
    _, gradient, _ = run_on_replicas(two_replicas, split_views(z, 2), 0.1, True)
    expected = split_views(joined_gradient.numpy(), 2)
    assert abs(gradient - expected).max() > 0.1 * abs(expected).max()
