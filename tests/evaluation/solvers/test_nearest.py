import logging

import numpy as np
import pytest
import tensorflow as tf
from sklearn.neighbors import KNeighborsClassifier

from simclr_tf2.config import KNN_METRICS
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.solvers.nearest import neighbours, vote

rng = np.random.default_rng(0)
BANK = rng.normal(2.0, 1.0, (113, 7)).astype(np.float32)
QUERIES = rng.normal(2.0, 1.0, (53, 7)).astype(np.float32)
LABELS = rng.integers(5, size=113)


def oracle(metric):
    """Similarities of all pairs in float64."""
    q, b = QUERIES.astype(np.float64), BANK.astype(np.float64)
    if metric == "euclidean":
        return -np.linalg.norm(q[:, None] - b[None], axis=-1)
    q, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, b))
    return q @ b.T


@pytest.mark.parametrize("chunk_bytes", [1, 3000, 20_000, 2**29])
@pytest.mark.parametrize("metric", KNN_METRICS)
def test_equals_brute_force_whatever_the_blocks(metric, chunk_bytes):
    count = 3 if chunk_bytes == 1 else 53  # one pair at a time is slow
    pairs = oracle(metric)[:count]
    expected = np.argsort(-pairs, axis=1)[:, :9]
    found, similarity = neighbours(
        QUERIES[:count], BANK, k=9, metric=metric, chunk_bytes=chunk_bytes
    )
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(
        similarity, np.take_along_axis(pairs, expected, 1), rtol=0, atol=2e-6
    )
    assert (found.dtype, similarity.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("metric", KNN_METRICS)
def test_votes_equal_scikit_learn(metric, k):
    index, similarity = neighbours(QUERIES, BANK, k=k, metric=metric)
    uniform = vote(LABELS[index], similarity, num_classes=5, weights="uniform")
    sklearn = KNeighborsClassifier(k, metric=metric, algorithm="brute")
    sklearn.fit(BANK, LABELS)
    np.testing.assert_array_equal(uniform.argmax(1), sklearn.predict(QUERIES))
    counts = np.exp(uniform)
    np.testing.assert_allclose(counts / k, sklearn.predict_proba(QUERIES), atol=1e-6)

    weighted = KNeighborsClassifier(
        k,
        metric=metric,
        algorithm="brute",
        weights=lambda d: np.exp((1 - d if metric == "cosine" else -d) / 0.3),
    )
    found = np.exp(vote(LABELS[index], similarity, num_classes=5, temperature=0.3))
    probabilities = weighted.fit(BANK, LABELS).predict_proba(QUERIES)
    np.testing.assert_allclose(
        found / found.sum(1, keepdims=True), probabilities, atol=2e-5
    )


def test_a_larger_search_holds_the_smaller_one():
    few, near = neighbours(QUERIES, BANK, k=3)
    many, nearer = neighbours(QUERIES, BANK, k=40)
    np.testing.assert_array_equal(many[:, :3], few)
    np.testing.assert_array_equal(nearer[:, :3], near)


def test_k_above_the_bank_is_clipped_and_said(caplog):
    with caplog.at_level(logging.WARNING):
        found, _ = neighbours(QUERIES, BANK[:4], k=200)
    assert found.shape == (53, 4)
    assert "k=200 clipped to the 4" in caplog.text
    np.testing.assert_array_equal(
        np.sort(found, axis=1), np.tile(np.arange(4), (53, 1))
    )


@pytest.mark.parametrize("chunk_bytes", [1, 2**29])
def test_equal_rows_keep_the_order_of_the_bank(chunk_bytes):
    bank = np.repeat(np.eye(3, dtype=np.float32), [2, 3, 2], axis=0)
    found, similarity = neighbours(
        np.eye(3, dtype=np.float32), bank, k=3, chunk_bytes=chunk_bytes
    )
    assert found.tolist() == [[0, 1, 2], [2, 3, 4], [5, 6, 0]]
    assert similarity[0].tolist() == [1, 1, 0]


def test_euclidean_survives_a_mean_far_from_zero():
    found, similarity = neighbours(QUERIES + 1000, BANK + 1000, k=1, metric="euclidean")
    expected = oracle("euclidean")
    np.testing.assert_array_equal(found[:, 0], expected.argmax(1))
    np.testing.assert_allclose(similarity[:, 0], expected.max(1), rtol=1e-3)


def test_a_row_of_zeros_is_similar_to_none():
    found, similarity = neighbours(np.zeros((1, 7), np.float32), BANK, k=2)
    assert found.tolist() == [[0, 1]] and similarity.tolist() == [[0, 0]]


def test_memory_maps_of_other_types_are_read(tmp_path):
    np.save(tmp_path / "bank.npy", BANK.astype(np.float64))
    bank = np.load(tmp_path / "bank.npy", mmap_mode="r")
    found, _ = neighbours(QUERIES, bank, k=3, chunk_bytes=3000)
    np.testing.assert_array_equal(found, neighbours(QUERIES, BANK, k=3)[0])


def test_tiny_temperatures_do_not_overflow():
    index, similarity = neighbours(QUERIES, BANK, k=5)
    scores = vote(LABELS[index], similarity, num_classes=5, temperature=1e-9)
    np.testing.assert_array_equal(scores.argmax(1), LABELS[index[:, 0]])
    voted = (LABELS[index][:, :, None] == np.arange(5)).any(axis=1)
    np.testing.assert_array_equal(np.isfinite(scores), voted)
    assert scores.max() == 0 and not np.isnan(scores).any()


def test_tensor_float_32_is_off_inside_and_as_before_after(monkeypatch):
    seen, multiply = [], tf.matmul
    enabled = tf.config.experimental.tensor_float_32_execution_enabled

    def spy(*args, **kwargs):
        seen.append(enabled())
        return multiply(*args, **kwargs)

    monkeypatch.setattr(tf, "matmul", spy)
    before = enabled()
    neighbours(QUERIES, BANK, k=1)
    assert before is True and enabled() is True and seen and not any(seen)


NAN = np.where(np.arange(113)[:, None] == 100, np.nan, BANK)


@pytest.mark.parametrize(
    ("queries", "bank", "kwargs", "message"),
    [
        (QUERIES, BANK, {"k": 0}, "k must be 1"),
        (QUERIES, BANK, {"k": 1, "metric": "l1"}, "cosine, euclidean"),
        (QUERIES[:, :3], BANK, {"k": 1}, "one dimension"),
        (QUERIES[0], BANK, {"k": 1}, "one dimension"),
        (QUERIES[:0], BANK, {"k": 1}, "no image"),
        (QUERIES, BANK[:0], {"k": 1}, "no image"),
        (QUERIES, NAN, {"k": 1, "chunk_bytes": 3000}, "row 100 of the bank is not"),
        (QUERIES, NAN, {"k": 1, "metric": "euclidean"}, "row 100 of the bank is not"),
        (NAN, BANK, {"k": 1, "chunk_bytes": 3000}, "row 100 of the queries is not"),
    ],
)
def test_bad_input_is_one_clear_line(queries, bank, kwargs, message):
    with pytest.raises(ConfigError, match=message) as error:
        neighbours(queries, bank, **kwargs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("labels", "kwargs", "message"),
    [
        ([[0, 1]], {"weights": "distance"}, "exp, uniform"),
        ([[0, 1]], {"temperature": 0.0}, "temperature"),
        ([[0, 1]], {"temperature": float("nan")}, "temperature"),
        ([[0, -1]], {}, "-1 to 0"),
        ([[0, 2]], {}, "0 to 2"),
        ([0, 1], {}, "both be"),
    ],
)
def test_bad_votes_are_one_clear_line(labels, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        vote(np.array(labels), np.ones((1, 2)), num_classes=2, **kwargs)
