"""NT-Xent in blocks against the plain form: one device, two replicas, XLA, memory."""

import importlib

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import distribution, losses
from simclr_tf2.losses.bands import Bands
from simclr_tf2.losses.blockwise import blockwise_nt_xent, blockwise_nt_xent_and_metrics

blockwise_file = importlib.import_module("simclr_tf2.losses.blockwise")
nt_xent_file = importlib.import_module("simclr_tf2.losses.nt_xent")
# Bounded, shifted by the maximum, and dot products of any size.
OPTIONS = [
    {"temperature": 0.1},
    {"temperature": 0.005},
    {"temperature": 0.02, "normalize": False},
]


def projections(n, d, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal([2 * n, d]).astype(dtype)


def step(function, z, upstream=1.0, **options):
    """Loss, its gradient by ``z`` times ``upstream``, metrics if there are any."""
    z = tf.convert_to_tensor(z)
    with tf.GradientTape() as tape:
        tape.watch(z)
        found = function(z, **options)
        loss, metrics = found if isinstance(found, tuple) else (found, {})
        scaled = upstream * loss / distribution.replica_count()
    return loss, tape.gradient(scaled, z), metrics


def assert_same(found, expected, rtol):
    np.testing.assert_allclose(found[0], expected[0], rtol=rtol)
    scale = np.abs(expected[1]).max()
    np.testing.assert_allclose(found[1] / scale, expected[1] / scale, atol=rtol)
    assert set(found[2]) == set(expected[2])
    for name, value in expected[2].items():
        np.testing.assert_allclose(found[2][name], value, rtol=rtol, err_msg=name)


@pytest.mark.parametrize(
    ("n", "block"), [(7, 1), (7, 2), (7, 3), (8, 4), (5, 5), (3, 64)]
)
@pytest.mark.parametrize("options", OPTIONS)
def test_equals_the_plain_form_in_float64(n, block, options):
    z = projections(n, 5)
    expected = step(losses.nt_xent_and_metrics, z, **options)
    found = step(blockwise_nt_xent_and_metrics, z, block_size=block, **options)
    assert_same(found, expected, rtol=1e-12)


@pytest.mark.parametrize("options", OPTIONS[:1])
def test_equals_the_plain_form_in_float32(options):
    z = projections(150, 32, dtype=np.float32)
    expected = step(losses.nt_xent_and_metrics, z, **options)
    found = step(blockwise_nt_xent_and_metrics, z, block_size=64, **options)
    assert_same(found, expected, rtol=1e-6)


def test_extreme_dot_products_stay_finite_and_right_with_padding():
    z = 100 * projections(5, 6)
    for temperature in (0.001, 0.1):
        options = {"temperature": temperature, "normalize": False}
        expected = step(losses.nt_xent, z, **options)
        assert np.isfinite(expected[1]).all()
        assert_same(step(blockwise_nt_xent, z, block_size=2, **options), expected, 1e-9)


def test_padding_is_no_candidate_when_all_similarities_are_far_below_0():
    """A simplex: all dot products equal; padding, at 0, would be the maximum."""
    n = 3  # in blocks of 2: one row of padding in each view
    z = 100 * (np.eye(2 * n) - 1 / (2 * n))
    options = {"temperature": 1.0, "normalize": False}
    assert (z @ z.T).min() < -1000
    expected = step(losses.nt_xent, z, **options)
    np.testing.assert_allclose(expected[0], np.log(2 * n - 1))
    assert_same(step(blockwise_nt_xent, z, block_size=2, **options), expected, 1e-12)


def test_upstream_gradients_of_any_sign_pass():
    z = projections(5, 4)
    for options in OPTIONS:
        expected = step(losses.nt_xent, z, -3.0, **options)
        found = step(blockwise_nt_xent, z, -3.0, block_size=2, **options)
        assert_same(found, expected, 1e-12)


@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_single_pair_has_no_loss_and_no_gradient(temperature):
    z = projections(1, 5, dtype=np.float32)
    loss, gradient, _ = step(
        blockwise_nt_xent, z, block_size=4, temperature=temperature
    )
    assert loss == 0
    np.testing.assert_array_equal(gradient, np.zeros([2, 5]))


def test_half_precision_input_is_computed_in_float32():
    z = tf.cast(projections(7, 8), tf.bfloat16)
    expected = step(losses.nt_xent_and_metrics, z)
    found = step(blockwise_nt_xent_and_metrics, z, block_size=3)
    assert found[0].dtype == tf.float32 and found[1].dtype == tf.bfloat16
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)


def run_on_replicas(strategy, function, shares, **options):
    values = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(shares[context.replica_id_in_sync_group])
    )

    @tf.function(autograph=False)
    def run(values):
        return strategy.run(lambda z: step(function, z, **options), [values])

    loss, gradient, metrics = run(values)
    local = strategy.experimental_local_results
    per_replica = {name: np.stack(local(value)) for name, value in metrics.items()}
    return np.stack(local(loss)), np.stack(local(gradient)), per_replica


@pytest.mark.parametrize(
    "options",
    [OPTIONS[0], *(pytest.param(x, marks=pytest.mark.slow) for x in OPTIONS[1:])],
)
def test_two_replicas_equal_the_plain_form_on_each(two_replicas, options):
    shares = np.stack([projections(5, 4, seed) for seed in (1, 2)])
    expected = run_on_replicas(
        two_replicas, losses.nt_xent_and_metrics, shares, **options
    )
    found = run_on_replicas(
        two_replicas, blockwise_nt_xent_and_metrics, shares, block_size=2, **options
    )
    assert_same(found, expected, rtol=1e-12)


def test_without_what_the_other_replica_sends_the_gradient_would_be_wrong(
    two_replicas, monkeypatch
):
    shares = np.stack([projections(5, 4, seed) for seed in (1, 2)])
    expected = run_on_replicas(two_replicas, losses.nt_xent, shares)
    gather, calls = distribution.all_gather, []

    def only_rows(x):
        calls.append(x.shape)
        x = gather(x)
        return x if x.shape[-1] == 4 else tf.zeros_like(x)

    monkeypatch.setattr(distribution, "all_gather", only_rows)
    found = run_on_replicas(two_replicas, blockwise_nt_xent, shares, block_size=2)
    assert [10, 4] in calls and [10, 2] in calls
    difference = np.abs(found[1] - expected[1]).max()
    assert difference > 0.1 * np.abs(expected[1]).max()


@pytest.mark.parametrize("temperature", [0.01, 0.1])
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_compiles_to_the_same_numbers(temperature, jit):
    z = tf.constant(projections(7, 8))
    run = tf.function(
        lambda z: step(
            blockwise_nt_xent_and_metrics, z, temperature=temperature, block_size=2
        ),
        jit_compile=jit,
        autograph=False,
    )
    expected = step(losses.nt_xent_and_metrics, z, temperature=temperature)
    assert_same(run(z), expected, rtol=1e-9)


def _tensors(graph):
    """Static element counts of all tensors of a graph and of its loop bodies."""
    for function in [graph, *(f.graph for f in graph._functions.values())]:
        for op in function.get_operations():
            yield from (output.shape.num_elements() or 0 for output in op.outputs)


def test_no_tensor_is_larger_than_a_band():
    n, block = 64, 8
    run = tf.function(
        lambda z: step(blockwise_nt_xent_and_metrics, z, block_size=block),
        autograph=False,
    )
    graph = run.get_concrete_function(tf.TensorSpec([2 * n, 4], tf.float32)).graph
    assert max(_tensors(graph)) == 2 * n * block


@pytest.mark.parametrize(("n", "block"), [(1, 1), (5, 2), (8, 4), (7, 100)])
def test_bands_meet_every_other_row_once(n, block):
    """Counts of visited (row, column) pairs, by the contract of ``visit_all``."""
    bands = Bands.of(n, block_size=block, replicas=2)
    assert bands.rows <= block
    ids = bands.cut(tf.range(1, 4 * n + 1))
    own = ids[0].numpy()
    seen = np.zeros([4 * n + 1, 4 * n + 1], int)

    def visit(state, columns, offset, masked, shared):
        for block_index in range(2 * bands.blocks):
            rows, others = own[block_index], columns.numpy()[block_index]
            for i, row in enumerate(rows):
                for j, other in enumerate(others):
                    if not (masked and i == j):
                        seen[row, other] += 1
                        seen[other, row] += shared
        return state

    bands.visit_all(visit, tf.zeros([]), ids)
    expected = np.ones([4 * n, 4 * n], int)
    own_part = expected[: 2 * n, : 2 * n]
    own_part -= np.tile(np.eye(n, dtype=int), [2, 2])
    expected[2 * n :] = 0
    np.testing.assert_array_equal(seen[1:, 1:], expected)


def test_join_undoes_cut():
    bands = Bands.of(7, block_size=3, replicas=1)
    rows = tf.range(14 * 2)
    rows = tf.reshape(rows, [14, 2])
    np.testing.assert_array_equal(bands.join(bands.cut(rows)[0]), rows)


def test_auto_is_plain_for_small_batches_and_blocks_for_large(monkeypatch):
    z = projections(7, 4)
    monkeypatch.setattr(blockwise_file, "Bands", None)  # blocks cannot be used
    blockwise_nt_xent(z, block_size="auto")
    blockwise_nt_xent(z, block_size=None)
    blockwise_nt_xent_and_metrics(z, block_size="auto")
    monkeypatch.setattr(blockwise_file, "AUTO_FROM_ELEMENTS", 14 * 14)
    with pytest.raises(AttributeError):
        blockwise_nt_xent(z, block_size="auto")


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "big"])
def test_rejects_a_block_size_that_is_none(size):
    with pytest.raises(ValueError, match="block_size must be"):
        blockwise_nt_xent(projections(3, 4), block_size=size)


def test_unknown_batch_size_is_plain_with_auto_and_refused_with_a_number():
    signature = [tf.TensorSpec([None, 4], tf.float64)]
    run = tf.function(blockwise_nt_xent, input_signature=signature, autograph=False)
    z = projections(5, 4)
    np.testing.assert_allclose(run(z), losses.nt_xent(z), rtol=1e-12)
    fixed = tf.function(
        lambda z: blockwise_nt_xent(z, block_size=2),
        input_signature=signature,
        autograph=False,
    )
    with pytest.raises(ValueError, match="known when traced"):
        fixed(z)


@pytest.mark.parametrize("shape", [(5, 3), (4,), (2, 2, 3)])
def test_rejects_what_is_not_two_views(shape):
    for size in ("auto", 2):
        with pytest.raises(ValueError, match="projections must be"):
            blockwise_nt_xent(np.ones(shape, np.float32), block_size=size)
