import logging
import math

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import Features, weighted_knn
from simclr_tf2.evaluation.protocols import knn
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
@pytest.mark.parametrize("chunk_bytes", [2000, 10_000, 2**29])
def test_equals_the_definition_in_loops(temperature, chunk_bytes):
    train = clusters(61, classes=7, noise=2.0, seed=1)
    test = clusters(33, classes=7, noise=2.0, seed=2)
    ks = (1, 3, 10, 57)
    found = weighted_knn(
        train, test, ks=ks, temperature=temperature, chunk_bytes=chunk_bytes
    )
    for k in ks:
        expected = oracle(train, test, k, temperature)
        assert (found[f"top1_k{k}"], found[f"top5_k{k}"]) == pytest.approx(expected)
    assert 0.2 < found["top1_k10"] < 0.9  # neither trivial nor hopeless
    assert found["top5_k57"] > found["top1_k57"]


def brute_force(train, test, k, temperature):
    """Top-1 and top-5 by Euclidean votes in float64, sums of exp in logarithms."""
    classes = np.union1d(train.labels, test.labels)
    right = np.zeros(2)
    for row, label in zip(test.features.astype(np.float64), test.labels, strict=True):
        distance = np.linalg.norm(row - train.features.astype(np.float64), axis=1)
        near = np.argsort(distance, kind="stable")[:k]
        found = {
            c: np.logaddexp.reduce(-distance[near][mine] / temperature)
            for c in classes
            if (mine := train.labels[near] == c).any()
        }
        ranked = sorted(found, key=lambda c: -found[c])
        right += label in ranked[:1], label in ranked[:5]
    return tuple(right / len(test))


@pytest.mark.parametrize("scale", [1, 10, 30])
def test_distant_neighbours_vote_too(scale):
    """exp(-distance / 0.07) of them is 0 in float32, and at scale 30 in float64."""
    parts = (clusters(n, classes=9, noise=2.0, seed=s) for n, s in ((95, 1), (61, 2)))
    train, test = (Features(scale * p.features, p.labels) for p in parts)
    ks = (5, 20, 90)
    found = weighted_knn(train, test, ks=ks, metric="euclidean")
    for k in ks:
        expected = brute_force(train, test, k, 0.07)
        assert (found[f"top1_k{k}"], found[f"top5_k{k}"]) == pytest.approx(expected)
    assert found["top5_k20"] > found["top1_k20"]


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


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("weighting", ["exp", "uniform"])
def test_metrics_and_weightings_equal_scikit_learn(metric, weighting):
    train = clusters(61, classes=7, noise=2.0, seed=1)
    test = clusters(33, classes=7, noise=2.0, seed=2)
    shift = 1 if metric == "cosine" else 0

    def votes(distances):
        return np.exp((shift - distances) / 0.2) if weighting == "exp" else None

    found = weighted_knn(
        train, test, ks=(3, 11), temperature=0.2, metric=metric, weighting=weighting
    )
    for k in (3, 11):
        oracle = KNeighborsClassifier(
            k,
            metric=metric,
            algorithm="brute",
            weights=votes if weighting == "exp" else "uniform",
        )
        oracle.fit(train.features.astype(np.float64), train.labels)
        expected = oracle.score(test.features.astype(np.float64), test.labels)
        assert found[f"top1_k{k}"] == pytest.approx(expected)
    assert (found["metric"], found["weighting"]) == (metric, weighting)


def test_the_row_of_the_table_is_the_last_k():
    train = clusters(61, classes=7, noise=2.0, seed=1)
    test = clusters(33, classes=7, noise=2.0, seed=2)
    found = knn.weighted_knn_top1(
        train, test, seed=0, ks=(57, 1, 5), weighting="uniform"
    )
    assert found["top1"] == found["top1_k5"] != found["top1_k1"]
    assert (found["top5"], found["k"]) == (found["top5_k5"], 5)
    assert found["top1"] == np.mean(found["predictions"] == test.labels)
    assert found["votes"] == "uniform"
    found = knn.weighted_knn_top1(train, test, seed=0, metric="euclidean")
    assert found["votes"] == "exp(-distance / 0.07)"


def test_all_neighbours_of_all_images_are_never_held(monkeypatch):
    """Neither n x n similarities nor n x classes scores: blocks of both."""
    rows = []
    vote = knn.vote
    monkeypatch.setattr(
        knn,
        "vote",
        lambda near, *a, **k: rows.append(near.shape) or vote(near, *a, **k),
    )
    train, test = clusters(50, seed=1), clusters(20, seed=2)
    weighted_knn(train, test, ks=(7,), chunk_bytes=24 * (3 + 7) * 6)
    assert rows == [(6, 7), (6, 7), (6, 7), (2, 7)]


@pytest.mark.parametrize(
    "bad",
    [
        {"ks": ()},
        {"ks": (0,)},
        {"temperature": 0.0},
        {"metric": "l1"},
        {"weighting": "distance"},
    ],
)
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(ConfigError, match="kNN"):
        weighted_knn(clusters(9), clusters(9), **bad)
