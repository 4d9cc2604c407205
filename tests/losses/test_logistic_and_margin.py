"""NT-Logistic and the margin loss: loops over the definitions, replicas, edges."""

import math

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import distribution, losses
from simclr_tf2.config import LossConfig
from simclr_tf2.errors import ConfigError
from tests.support.loss_loops import LOOPS, margin_loops, nt_logistic_loops

FUNCTIONS = {
    "nt_logistic": losses.nt_logistic_and_metrics,
    "margin": losses.margin_triplet_and_metrics,
}
VARIANTS = [
    ("nt_logistic", {"temperature": 0.2}),
    ("nt_logistic", {"temperature": 1.0, "semi_hard": True}),
    ("margin", {"margin": 0.4}),
    ("margin", {"margin": 0.8, "semi_hard": True}),
]
each_variant = pytest.mark.parametrize(("name", "options"), VARIANTS)


def projections(n, d, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal([2 * n, d]).astype(dtype)


def step(z, name, options):
    """The loss, d loss / d z over the replicas, and the metrics."""
    z = tf.convert_to_tensor(z)
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss, metrics = FUNCTIONS[name](z, **options)
        scaled = loss / distribution.replica_count()
    return loss, tape.gradient(scaled, z), metrics


@pytest.mark.parametrize(("n", "d"), [(2, 3), (3, 5), (7, 4)])
@pytest.mark.parametrize("semi_hard", [False, True])
@pytest.mark.parametrize("normalize", [True, False])
def test_equal_loops_over_the_definition_on_the_grid_of_the_paper(
    n, d, semi_hard, normalize
):
    z = projections(n, d)
    options = {"normalize": normalize, "semi_hard": semi_hard}
    for temperature in (0.1, 0.2, 0.5, 1.0):
        loss = losses.nt_logistic(z, temperature=temperature, **options)
        expected = nt_logistic_loops(z, temperature, **options)
        np.testing.assert_allclose(loss, expected, rtol=1e-11)
    for margin in (0.0, 0.4, 0.8, 1.6):
        loss = losses.margin_triplet(z, margin=margin, **options)
        expected = margin_loops(z, margin, **options)
        np.testing.assert_allclose(loss, expected, rtol=1e-11, atol=1e-15)
        assert (loss == 0) == (semi_hard and margin == 0) or n == 2


@each_variant
@pytest.mark.parametrize("normalize", [True, False])
def test_gradient_equals_central_differences(name, options, normalize):
    z = projections(4, 3, seed=1)
    options = {**options, "normalize": normalize}
    _, gradient, _ = step(z, name, options)
    numeric = np.empty_like(z)
    for index in np.ndindex(*z.shape):
        change = np.zeros_like(z)
        change[index] = 1e-6
        up, down = (LOOPS[name](z + s * change, **options) for s in (1, -1))
        numeric[index] = (up - down) / 2e-6
    assert abs(numeric).max() > 0.01
    np.testing.assert_allclose(gradient, numeric, atol=2e-8 * abs(numeric).max() + 1e-9)


def test_orthogonal_rows_cost_the_chance_level():
    z = np.eye(10, dtype=np.float32)
    np.testing.assert_allclose(losses.nt_logistic(z), 2 * math.log(2), rtol=1e-6)
    np.testing.assert_allclose(losses.margin_triplet(z, margin=0.4), 0.4, rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "options", "expected"),
    [
        (losses.margin_triplet, {"margin": 1.5}, [0, 3]),
        (losses.margin_triplet, {"margin": 0.5}, []),
        (losses.nt_logistic, {"temperature": 1.0}, [0, 3]),
    ],
)
def test_semi_hard_is_the_most_similar_below_the_positive(loss, options, expected):
    # Row 0 has similarity 5 to its positive; 7, 5, 4 and 1 to its negatives: of them
    # 4 is it, unless the margin is too small. All other rows of view 1 are 0.
    z = np.zeros([10, 3])
    z[0, 0] = 1
    z[5:, 0] = [5, 7, 5, 4, 1]
    z = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = loss(z, normalize=False, semi_hard=True, **options)
    moved = np.flatnonzero(tape.gradient(value, z)[5:, 0])
    assert moved.tolist() == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_without_a_semi_hard_negative_are_finite_and_cost_no_second_term(dtype):
    rng = np.random.default_rng(0)
    unit = rng.standard_normal([4, 5])
    cases = {"collapse": (np.ones([8, 5]), 1.0), "one pair": (np.ones([2, 5]), 1.0)}
    # Opposite views of one axis each: no negative is below the positive.
    cases["opposite"] = np.concatenate([np.eye(5), -np.eye(5)]), -1.0
    for z, positive in cases.values():
        z = z.astype(dtype)
        loss, gradient, _ = step(z, "margin", {"semi_hard": True})
        assert loss == 0 and not np.any(gradient)
        options = {"temperature": 0.5, "semi_hard": True}
        loss, gradient, _ = step(z, "nt_logistic", options)
        expected = math.log1p(math.exp(-positive / 0.5))
        np.testing.assert_allclose(loss, expected, rtol=1e-6)
        assert np.isfinite(gradient).all()
    z = np.concatenate([unit, -unit]).astype(dtype)  # a mixture of both kinds of rows
    z[0] = 0
    for name, options in VARIANTS:
        loss, gradient, metrics = step(z, name, options)
        assert np.isfinite(loss) and np.isfinite(gradient).all()
        assert all(np.isfinite(m) for m in metrics.values())


def test_single_pair_has_no_negatives():
    z = np.array([[1, 0], [0, 1]], np.float32)
    np.testing.assert_allclose(losses.nt_logistic(z), math.log(2), rtol=1e-6)
    loss, gradient, _ = step(z, "margin", {})
    assert loss == 0 and not np.any(gradient)


@each_variant
def test_half_precision_input_is_computed_in_float32(name, options):
    z16 = tf.cast(projections(16, 8), tf.bfloat16)
    exact, _, _ = step(tf.cast(z16, tf.float64), name, options)
    for dtype in (tf.bfloat16, tf.float16):
        loss, gradient, metrics = step(tf.cast(z16, dtype), name, options)
        assert loss.dtype == tf.float32 and gradient.dtype == dtype
        assert metrics["contrastive_accuracy"].dtype == tf.float32
        np.testing.assert_allclose(loss, exact, rtol=2e-6)


@each_variant
def test_extreme_logits_stay_finite(name, options):
    z = 1000 * projections(4, 6, dtype=np.float32)
    if name == "nt_logistic":
        options = {**options, "temperature": 1e-3}
    for normalize in (True, False):
        loss, gradient, _ = step(z, name, {**options, "normalize": normalize})
        assert np.isfinite(loss) and np.isfinite(gradient).all()


@pytest.mark.slow
@each_variant
def test_compiles_with_xla_and_for_any_batch_size(name, options):
    specs = [tf.TensorSpec([None, 4], tf.float32)]
    any_size = tf.function(
        lambda z: step(z, name, options), input_signature=specs, autograph=False
    )
    xla = tf.function(lambda z: step(z, name, options), jit_compile=True)
    for n in (3, 5):
        z = tf.constant(projections(n, 4, dtype=np.float32))
        loss, gradient, metrics = step(z, name, options)
        for function in (any_size, xla):
            compiled = function(z)
            np.testing.assert_allclose(compiled[0], loss, rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(compiled[1], gradient, rtol=1e-4, atol=1e-6)
            np.testing.assert_array_equal(
                *(list(m.values()) for m in (compiled[2], metrics))
            )


@each_variant
def test_graph_holds_no_tensor_larger_than_rows_times_candidates(name, options):
    n, d = 8, 3
    traced = tf.function(lambda z: step(z, name, options), autograph=False)
    graph = traced.get_concrete_function(tf.TensorSpec([2 * n, d], tf.float32)).graph
    shapes = [t.shape for op in graph.get_operations() for t in op.outputs]
    assert max(s.num_elements() or 0 for s in shapes) == 2 * n * n


@each_variant
def test_accuracy_is_that_of_nt_xent(name, options):
    ties = np.ones([6, 3])
    for z in (projections(7, 3), projections(16, 2, seed=2), ties):
        _, _, metrics = step(z, name, options)
        _, expected = losses.nt_xent_and_metrics(z)
        assert set(metrics) == {"contrastive_accuracy"}
        np.testing.assert_array_equal(
            metrics["contrastive_accuracy"], expected["contrastive_accuracy"]
        )


def on_two_replicas(strategy, z, name, options):
    """``step`` on halves of both views: losses, gradients in order of z, metrics."""
    parts = [np.split(view, 2) for view in np.split(z, 2)]
    shares = [np.concatenate(pair) for pair in zip(*parts, strict=True)]
    values = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(shares[context.replica_id_in_sync_group])
    )

    @tf.function
    def run(values):
        return strategy.run(lambda z: step(z, name, options), [values])

    loss, gradient, metrics = tf.nest.map_structure(
        lambda v: np.stack(strategy.experimental_local_results(v)), run(values)
    )
    views = [np.split(g, 2) for g in gradient]
    gradient = np.concatenate([np.concatenate(v) for v in zip(*views, strict=True)])
    return loss, gradient, metrics["contrastive_accuracy"]


@each_variant
def test_two_replicas_match_one_with_joined_batch(two_replicas, name, options):
    z = projections(6, 3)
    expected, expected_gradient, metrics = step(z, name, options)
    loss, gradient, accuracy = on_two_replicas(two_replicas, z, name, options)
    np.testing.assert_allclose(loss.mean(), expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(accuracy.mean(), metrics["contrastive_accuracy"])


@each_variant
def test_a_gather_without_gradient_would_be_noticed(
    two_replicas, monkeypatch, name, options
):
    z = projections(6, 3)
    expected, expected_gradient, _ = step(z, name, options)
    gather = distribution.all_gather
    monkeypatch.setattr(
        distribution, "all_gather", lambda x: tf.stop_gradient(gather(x))
    )
    loss, gradient, _ = on_two_replicas(two_replicas, z, name, options)
    np.testing.assert_allclose(loss.mean(), expected, rtol=1e-12)
    largest = abs(expected_gradient.numpy()).max()
    assert abs(gradient - expected_gradient.numpy()).max() > 0.1 * largest


@pytest.mark.parametrize("normalize", [True, False])
def test_build_loss_gives_each_loss_its_fields(normalize):
    z = projections(5, 3)
    fields = {
        "temperature": 0.5,
        "margin": 0.4,
        "semi_hard": True,
        "hidden_norm": normalize,
    }
    expected = {
        "nt_logistic": nt_logistic_loops(z, 0.5, normalize, semi_hard=True),
        "margin": margin_loops(z, 0.4, normalize, semi_hard=True),
    }
    for name, value in expected.items():
        loss, _ = losses.build_loss(LossConfig(loss=name, **fields))(z)
        np.testing.assert_allclose(loss, value, rtol=1e-11)
    plain_fields = fields | {"semi_hard": False}
    loss, _ = losses.build_loss(LossConfig(loss="nt_xent", **plain_fields))(z)
    plain = losses.nt_xent(z, temperature=0.5, normalize=normalize)
    np.testing.assert_array_equal(loss, plain)


def test_a_loss_that_would_always_be_zero_is_refused():
    with pytest.raises(ConfigError, match="--margin must be greater than 0"):
        losses.build_loss(LossConfig(loss="margin", margin=0.0, semi_hard=True))
    losses.build_loss(LossConfig(loss="margin", margin=0.0, semi_hard=False))
