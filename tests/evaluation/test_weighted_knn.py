import logging
import math

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.config import ConfigError
from simclr_tf2.evaluation import Features, knn, weighted_knn
from tests.evaluation.clusters import clusters


def oracle(train, test, k, temperature):
    """Top-1 and top-5 of the definition, in loops and float64."""
    classes = sorted({*train.labels.tolist(), *test.labels.tolist()})
    bank = [row / np.linalg.norm(row) for row in train.features.astype(np.float64)]
    right = [0, 0]
    for row, label in zip(test.features.astype(np.float64), test.labels, strict=True):
        similarity = [float(row / np.linalg.norm(row) @ other) for other in bank]
        order = sorted(range(len(bank)), key=lambda i: -similarity[i])[:k]
        score = dict.fromkeys(classes, 0.0)
        for i in order:
            score[int(train.labels[i])] += math.exp(similarity[i] / temperature)
        ranked = sorted((c for c in classes if score[c] > 0), key=lambda c: -score[c])
        right[0] += int(label in ranked[:1])
        right[1] += int(label in ranked[:5])
    return right[0] / len(test), right[1] / len(test)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("chunk", [None, 1, 7, 1000])
def test_equals_the_definition_in_loops(temperature, chunk):
    train = clusters(61, classes=7, noise=2.0, seed=1)
    test = clusters(33, classes=7, noise=2.0, seed=2)
    ks = (1, 3, 10, 57)
    found = weighted_knn(train, test, ks=ks, temperature=temperature, chunk=chunk)
    for k in ks:
        expected = oracle(train, test, k, temperature)
        assert (found[f"top1_k{k}"], found[f"top5_k{k}"]) == pytest.approx(expected)
    assert 0.2 < found["top1_k10"] < 0.9  # neither trivial nor hopeless
    assert found["top5_k57"] > found["top1_k57"]


def test_k_above_the_bank_is_clipped_and_said(caplog):
    train, test = clusters(9, seed=1), clusters(7, seed=2)
    with caplog.at_level(logging.WARNING):
        found = weighted_knn(train, test)
    assert found["k_used"] == {10: 9, 20: 9, 100: 9, 200: 9}
    assert "k=200 clipped to the 9 training images" in caplog.text
    assert found["top1_k200"] == pytest.approx(oracle(train, test, 9, 0.07)[0])


@pytest.mark.parametrize("size", [1, 3])
def test_a_tiny_test_set_is_scored(size):
    train, test = clusters(50, seed=1), clusters(size, seed=2)
    found = weighted_knn(train, test)
    assert found["top1_k20"] == pytest.approx(oracle(train, test, 20, 0.07)[0])


def test_a_test_split_without_some_classes_changes_no_score():
    train = clusters(70, classes=7, seed=1)
    test = clusters(7, classes=7, seed=2, labels=[1, 1, 3, 3, 3, 1, 1])
    found = weighted_knn(train, test, ks=(20,))
    expected = oracle(train, test, 20, 0.07)
    assert (found["top1_k20"], found["top5_k20"]) == pytest.approx(expected)


def test_a_class_that_the_bank_lacks_counts_as_an_error(caplog):
    train = clusters(60, classes=7, seed=1, labels=np.arange(60) % 6)
    test = clusters(14, classes=7, noise=0.01, seed=2, labels=np.arange(14) % 7)
    found = weighted_knn(train, test, ks=(5, 60))
    assert found["top1_k5"] <= 12 / 14
    assert found["top5_k60"] <= 12 / 14
    assert "no training image" in caplog.text


def test_a_class_without_neighbours_is_no_top5_hit():
    train = clusters(70, classes=7, noise=0.01, seed=1, labels=np.arange(70) % 7)
    wrong = clusters(7, classes=7, noise=0.01, seed=2, labels=np.arange(7))
    wrong = Features(wrong.features, (wrong.labels + 1) % 7)
    assert weighted_knn(train, wrong, ks=(10,))["top5_k10"] == 0.0


def test_labels_need_not_be_consecutive():
    train, test = clusters(40, seed=1), clusters(20, seed=2)
    code = np.array([4, 17, 900])
    far = weighted_knn(
        Features(train.features, code[train.labels]),
        Features(test.features, code[test.labels]),
    )
    assert far == weighted_knn(train, test)


def test_small_temperature_does_not_overflow():
    train, test = clusters(40, seed=1), clusters(20, seed=2)
    sharp = weighted_knn(train, test, ks=(20,), temperature=1e-3)
    assert sharp["top1_k20"] == weighted_knn(train, test, ks=(1,))["top1_k1"]


def test_scores_work_on_tensors_in_a_graph():
    train, test = clusters(40, seed=1), clusters(5, seed=2)

    @tf.function(input_signature=[tf.TensorSpec([None, 5]), tf.TensorSpec([None, 5])])
    def scores(queries, bank):
        labels = tf.constant(train.labels, tf.int32)
        return knn.class_scores(
            queries, knn.normalized(bank), labels, num_classes=3, ks=(7,)
        )[7]

    found = scores(test.features, train.features)
    eager = knn.class_scores(
        test.features,
        knn.normalized(train.features),
        tf.constant(train.labels, tf.int32),
        num_classes=3,
        ks=(7, 9),
    )
    np.testing.assert_allclose(found, eager[7], rtol=1e-5)
    assert eager[9].shape == (5, 3)


def test_the_similarities_held_at_once_are_bounded(monkeypatch):
    rows = []
    real = knn.class_scores
    monkeypatch.setattr(knn, "CHUNK_BYTES", 4 * 50 * 6)
    monkeypatch.setattr(
        knn, "class_scores", lambda q, *a, **k: rows.append(len(q)) or real(q, *a, **k)
    )
    weighted_knn(clusters(50, seed=1), clusters(20, seed=2))
    assert rows == [6, 6, 6, 2]


def test_a_bank_larger_than_the_budget_still_goes_row_by_row(monkeypatch):
    monkeypatch.setattr(knn, "CHUNK_BYTES", 1)
    train, test = clusters(50, seed=1), clusters(3, seed=2)
    assert weighted_knn(train, test)["chunk"] == 1


@pytest.mark.parametrize("bad", [{"ks": ()}, {"ks": (0,)}, {"temperature": 0.0}])
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(ConfigError, match="kNN needs"):
        weighted_knn(clusters(9), clusters(9), **bad)
