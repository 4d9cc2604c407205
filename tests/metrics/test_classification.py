"""Counts, accuracy per class, and their awkward inputs."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics as sklearn_metrics

from simclr_tf2 import metrics


def test_top_k_count_equals_sorting():
    rng = np.random.default_rng(0)
    scores, labels = rng.standard_normal([31, 7]), rng.integers(0, 7, 31)
    for k in (1, 3, 5, 7):
        best = np.argsort(-scores, axis=1)[:, :k]
        expected = sum(label in row for label, row in zip(labels, best, strict=True))
        assert metrics.top_k_count(scores, labels, k=k) == expected


def test_constant_scores_are_not_right_for_every_class():
    assert metrics.top_k_count(np.zeros([5, 5]), np.arange(5)) == 1
    assert metrics.top_k_count(np.zeros([5, 5]), np.arange(5), k=3) == 3


def test_k_beyond_the_classes_counts_every_known_label():
    assert metrics.top_k_count(np.ones([3, 2]), np.array([0, 1, 9]), k=5) == 2


def test_padding_does_not_count():
    scores, labels = np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 0, 0])
    mask = np.array([True, True, True, False])
    assert metrics.top_k_count(scores, labels, mask=mask) == 2


def test_counts_summed_over_batches_equal_one_pass_with_a_short_last_batch():
    rng = np.random.default_rng(1)
    scores, labels = rng.standard_normal([10, 3]), rng.integers(0, 3, 10)
    parts = [slice(0, 4), slice(4, 8), slice(8, 10)]
    count = sum(int(metrics.top_k_count(scores[s], labels[s])) for s in parts)
    expected = sklearn_metrics.accuracy_score(labels, scores.argmax(1))
    assert metrics.accuracy(count, 10) == pytest.approx(expected)


def test_top_k_count_compiles_with_xla():
    count = tf.function(lambda s, t: metrics.top_k_count(s, t, k=2), jit_compile=True)
    assert count(tf.eye(3), tf.constant([0, 1, 2], tf.int64)) == 3


def test_confusion_and_per_class_accuracy_equal_sklearn():
    rng = np.random.default_rng(2)
    labels, found = rng.integers(0, 5, 57), rng.integers(0, 5, 57)
    confusion = metrics.confusion_matrix(labels, found, num_classes=5)
    np.testing.assert_array_equal(
        confusion, sklearn_metrics.confusion_matrix(labels, found)
    )
    expected = sklearn_metrics.balanced_accuracy_score(labels, found)
    assert metrics.mean_per_class_accuracy(confusion) == pytest.approx(expected)


def test_a_class_missing_from_the_test_split_is_left_out_of_the_mean():
    confusion = metrics.confusion_matrix([0, 0, 2], [0, 1, 2], num_classes=4)
    assert confusion.shape == (4, 4)
    np.testing.assert_array_equal(
        metrics.per_class_accuracy(confusion), [0.5, np.nan, 1.0, np.nan]
    )
    assert metrics.mean_per_class_accuracy(confusion) == 0.75


@pytest.mark.parametrize(
    ("labels", "predictions"), [([0, 3], [0, 1]), ([0, 1], [0, -1]), ([0], [0, 1])]
)
def test_confusion_rejects_what_it_cannot_count(labels, predictions):
    with pytest.raises(ValueError, match="must be"):
        metrics.confusion_matrix(labels, predictions, num_classes=3)


def test_nothing_evaluated_is_an_error_not_zero():
    with pytest.raises(ValueError, match="at least one example"):
        metrics.accuracy(0, 0)
    with pytest.raises(ValueError, match="one"):
        metrics.mean_per_class_accuracy(np.zeros([3, 3], np.int64))


@pytest.mark.parametrize(
    ("labels", "rate"), [([0, 0, 1], 2 / 3), ([5, 2, 9], 1 / 3), ([4], 1.0)]
)
def test_no_information_rate_is_the_share_of_the_largest_class(labels, rate):
    assert metrics.no_information_rate(np.array(labels)) == rate
