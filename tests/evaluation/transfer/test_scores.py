"""Values and intervals by each metric of the transfer sets, against brute force."""

import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import Features
from simclr_tf2.evaluation.scoring import interval95
from simclr_tf2.evaluation.transfer.scores import score_logits
from simclr_tf2.metrics.average_precision import map_interval, mean_average_precision


def logits(n=41, classes=7, seed=0):
    """Logits that are right more often than not, of classes of unequal size."""
    rng = np.random.default_rng(seed)
    labels = np.minimum(rng.geometric(0.4, n) - 1, classes - 1)
    scores = rng.normal(size=(n, classes)) + 2 * np.eye(classes)[labels]
    return Features(scores.astype(np.float32), labels, "test")


def test_single_labels_are_scored_by_their_metric():
    found = logits()
    right = found.features.argmax(1) == found.labels
    by_class = score_logits(found, metric="mean_per_class", seed=3)
    expected = balanced_accuracy_score(found.labels, found.features.argmax(1))
    assert by_class["value"] == pytest.approx(expected) != right.mean()
    low, high = by_class["ci95"]
    assert low < by_class["value"] < high
    top1 = score_logits(found, metric="top1", seed=3)
    assert top1["value"] == right.mean() <= top1["top5"] <= 1
    assert top1["ci95"] == list(interval95(right.sum(), 41))
    assert "ci95" not in score_logits(found, metric="top1")
    json.dumps([by_class, top1])


def presence(n=29, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice([1, 0, -1], size=(n, 3), p=[0.3, 0.6, 0.1])
    scores = np.round(rng.normal(size=(n, 3)) + labels, 1)  # some are equal
    return Features(scores.astype(np.float32), labels, "test")


def test_the_interval_of_eleven_points_is_one_of_resampled_images():
    found = presence()
    drawn = np.random.default_rng(7).integers(29, size=(200, 29))
    means = [
        mean_average_precision(found.features[rows], found.labels[rows], points=11)[0]
        for rows in drawn
    ]
    mean = mean_average_precision(found.features, found.labels, points=11)[0]
    half = 1.959964 * np.std(means)
    low, high = map_interval(
        found.features, found.labels, seed=7, samples=200, points=11
    )
    assert (low, high) == pytest.approx((mean - half, min(1, mean + half)), abs=1e-6)
    record = score_logits(found, metric="map11", seed=7)
    assert record["value"] == mean and record["ci95"][0] < mean < record["ci95"][1]
    assert len(record["average_precision"]) == 3
    json.dumps(record)


def test_labels_of_the_other_kind_are_refused():
    several, single = presence(), logits()
    nothing = Features(several.features, np.zeros_like(several.labels))
    for found, metric in ((single, "map11"), (nothing, "map11")):
        with pytest.raises(ConfigError, match="for mAP"):
            score_logits(found, metric=metric)
    outside = Features(single.features[:, :2], single.labels, "test")
    with pytest.raises(ConfigError, match="labels of test must be from 0 to 1"):
        score_logits(outside, metric="top1")
