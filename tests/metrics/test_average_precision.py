import itertools

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from simclr_tf2.metrics import average_precision as module
from simclr_tf2.metrics.average_precision import (
    POINTS,
    average_precision,
    map_interval,
    mean_average_precision,
)


def voc_devkit(scores, labels, points):
    """Walks down the ranking one example at a time; only for scores without ties."""
    ranked = labels[np.argsort(-scores)]
    ranked = ranked[ranked >= 0]
    tp, fp = np.cumsum(ranked == 1), np.cumsum(ranked == 0)
    recall, precision = tp / tp[-1], tp / (tp + fp)
    if points == 11:
        return np.mean(
            [
                max(precision[recall >= t - 1e-9], default=0.0)
                for t in np.linspace(0, 1, 11)
            ]
        )
    area, before = 0.0, 0.0
    for i in range(len(ranked)):
        area += (recall[i] - before) * precision[i:].max()
        before = recall[i]
    return area


@pytest.mark.parametrize("decimals", [8, 1, 0])  # 1 and 0: many ties
@pytest.mark.parametrize("n", [1, 3, 7, 61])
def test_all_points_equal_scikit_learn_also_with_ties(n, decimals):
    for seed in range(5):
        rng = np.random.default_rng([n, seed])
        scores = rng.normal(size=n).round(decimals)
        labels = rng.integers(2, size=n)
        labels[0] = 1
        found = average_precision(scores, labels)
        assert found == pytest.approx(average_precision_score(labels, scores))


@pytest.mark.parametrize("points", ["interpolated", 11])
@pytest.mark.parametrize("n", [1, 3, 7, 61])
def test_voc_rules_equal_a_walk_down_the_ranking(n, points):
    for seed in range(5):
        rng = np.random.default_rng([n, seed])
        scores, labels = rng.normal(size=n), rng.integers(-1, 2, size=n)
        labels[0] = 1
        found = average_precision(scores, labels, points=points)
        assert found == pytest.approx(voc_devkit(scores, labels, points))


def test_hand_made_ranking():
    # Ranked + - + -: precision 1, 1/2, 2/3, 1/2 at recall 1/2, 1/2, 1, 1.
    scores, labels = np.array([4, 3, 2, 1]), np.array([1, 0, 1, 0])
    assert average_precision(scores, labels) == pytest.approx((1 + 2 / 3) / 2)
    eleven = average_precision(scores, labels, points=11)
    assert eleven == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    # Ranked - + +: precision 0, 1/2, 2/3; the best at or after each is 2/3.
    scores, labels = np.array([3, 2, 1]), np.array([0, 1, 1])
    assert average_precision(scores, labels) == pytest.approx((1 / 2 + 2 / 3) / 2)
    found = average_precision(scores, labels, points="interpolated")
    assert found == pytest.approx(2 / 3)


@pytest.mark.parametrize("points", POINTS)
def test_ties_do_not_depend_on_the_order_of_examples(points):
    scores, labels = np.array([2, 1, 1, 1, 0]), np.array([0, 1, 0, 1, 1])
    found = {
        round(average_precision(scores[o], labels[o], points=points), 12)
        for o in map(list, itertools.permutations(range(5)))
    }
    assert len(found) == 1
    constant = average_precision(np.zeros(5), labels, points=points)
    assert constant == pytest.approx(3 / 5)  # the share of positives


@pytest.mark.parametrize("points", POINTS)
def test_ignored_examples_are_as_if_absent(points):
    scores = np.array([9.0, 5.0, 5.0, 3.0, 2.0, 1.0])
    labels = np.array([-1, 1, -1, 0, 1, -1])
    kept = labels >= 0
    found = average_precision(scores, labels, points=points)
    assert found == average_precision(scores[kept], labels[kept], points=points)
    as_negatives = np.where(labels < 0, 0, labels)
    assert found != average_precision(scores, as_negatives, points=points)


def test_recall_three_tenths_is_reached_by_three_of_ten():
    # 3 * 0.1 > 3 / 10 as floats: precision 1 up to recall 0.3, 10 / 11 beyond.
    labels = np.array([1] * 3 + [0] + [1] * 7)
    found = average_precision(-np.arange(11.0), labels, points=11)
    assert found == pytest.approx((4 * 1 + 7 * 10 / 11) / 11)


@pytest.mark.parametrize("positives", [3, 7, 10, 11, 49])
def test_eleven_points_hit_recalls_that_are_exact_tenths(positives):
    # All positives first, then one negative, then nothing: 1 at every point. One
    # positive after the negative: precision falls only beyond recall (p - 1) / p.
    labels = np.array([1] * (positives - 1) + [0, 1])
    scores = -np.arange(positives + 1.0)
    reached = sum(10 * (positives - 1) >= t * positives for t in range(11))
    expected = (reached + (11 - reached) * positives / (positives + 1)) / 11
    assert average_precision(scores, labels, points=11) == pytest.approx(expected)


def test_mean_leaves_out_and_counts_classes_without_positives():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(7, 3))
    labels = np.array([[1, 0, 0], [0, -1, 0], [1, 0, 1]] + [[0, 0, 0]] * 4)
    mean, each, skipped = mean_average_precision(scores, labels)
    expected = [average_precision_score(labels[:, c], scores[:, c]) for c in (0, 2)]
    assert skipped == 1 and np.isnan(each[1])
    np.testing.assert_allclose(each[[0, 2]], expected)
    assert mean == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("chunk", [1, 50, 2**20])
@pytest.mark.parametrize("decimals", [8, 0])
def test_interval_equals_a_loop_over_resamples(decimals, chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(11, 3)).round(decimals)
    labels = rng.integers(-1, 2, size=(11, 3))
    labels[:, 1] = np.arange(11) == 4  # often not drawn
    labels[:, 2] = 0  # never a positive
    rng = np.random.default_rng(5)
    means = [
        mean_average_precision(scores[rows], labels[rows], points="interpolated")[0]
        for rows in rng.integers(11, size=(40, 11))
    ]
    found = map_interval(scores, labels, seed=5, samples=40, level=0.8)
    mean = mean_average_precision(scores, labels, points="interpolated")[0]
    half = 1.2815516 * np.std(means)
    np.testing.assert_allclose(found, [max(0, mean - half), mean + half])


def test_interval_lies_around_the_mean_and_narrows_with_more_examples():
    rng = np.random.default_rng(0)
    widths = []
    for n in (50, 2000):
        labels = rng.integers(2, size=(n, 3))
        scores = labels + 1.5 * rng.normal(size=(n, 3))
        low, high = map_interval(scores, labels, seed=0, samples=300)
        mean = mean_average_precision(scores, labels, points="interpolated")[0]
        assert low < mean < high
        widths.append(high - low)
    assert 4 < widths[0] / widths[1] < 10  # sqrt(2000 / 50) is 6.3


def test_interval_holds_the_mean_of_a_ranking_at_chance():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(30):
        labels = (rng.random((400, 5)) < 0.3).astype(int)
        scores = rng.normal(size=(400, 5))
        low, high = map_interval(scores, labels, seed=seed, samples=100)
        # The mean of 4,000 such rankings is 0.331: interpolation lifts it above 0.3.
        held += low <= 0.331 <= high
    assert held >= 26


@pytest.mark.parametrize(
    "change", [{"samples": 0}, {"level": 95}, {"labels": np.zeros((3, 2), int)}]
)
def test_interval_refuses_numbers_out_of_range(change):
    good = {"scores": np.eye(3, 2), "labels": np.eye(3, 2, dtype=int), "seed": 0}
    assert map_interval(**good) == (1.0, 1.0)  # resamples without a positive left out
    with pytest.raises(ValueError, match="map_interval needs"):
        map_interval(**(good | change))


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1, 2], [0, 0], "at least one positive"),
        ([1, 2], [-1, 0], "at least one positive"),
        ([1, np.nan], [1, 0], "finite"),
        ([1, 2], [1, 2], "labels must be"),
        ([1, 2], [1, np.nan], "labels must be"),
        ([1, 2, 3], [1, 0], "one shape"),
        ([[1], [2]], [[1], [0]], "one shape"),
    ],
)
def test_bad_input_is_refused(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        average_precision(np.array(scores), np.array(labels))


def test_an_unknown_rule_and_no_positive_at_all_are_refused():
    with pytest.raises(ValueError, match="points must be"):
        average_precision(np.array([1.0]), np.array([1]), points=10)
    with pytest.raises(ValueError, match="a class with a positive"):
        mean_average_precision(np.zeros((3, 2)), np.zeros((3, 2), int))
