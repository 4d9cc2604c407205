import itertools

import numpy as np
import pytest
from scipy import stats

from simclr_tf2.metrics import significance
from simclr_tf2.metrics.significance import (
    bootstrap_interval,
    mcnemar,
    mean_per_class_interval,
    permutation_test,
)


def test_bootstrap_of_a_proportion_is_near_the_binomial_quantiles():
    values = np.arange(200) < 130  # 0.65
    low, high = bootstrap_interval(values, seed=1, samples=4000)
    # The mean of a resample is binomial(200, 0.65) / 200, exactly.
    expected = stats.binom(200, 0.65).ppf([0.025, 0.975]) / 200
    np.testing.assert_allclose([low, high], expected, atol=0.0075)


def test_bootstrap_agrees_with_scipy_on_other_statistics_and_levels():
    values = np.random.default_rng(3).exponential(size=61)
    ours = bootstrap_interval(
        values, seed=0, samples=4000, level=0.8, statistic=np.median
    )
    theirs = stats.bootstrap(
        (values,),
        np.median,
        confidence_level=0.8,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    np.testing.assert_allclose(ours, [theirs.low, theirs.high], atol=0.04)
    wide = bootstrap_interval(values, seed=0, level=0.99)
    narrow = bootstrap_interval(values, seed=0, level=0.5)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_bootstrap_draws_rows_together():
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    pairs = np.stack([x, x], axis=1)  # a difference of columns is 0 in every resample
    found = bootstrap_interval(
        pairs,
        seed=0,
        samples=101,
        statistic=lambda drawn, axis: np.ptp(drawn.mean(axis=axis), axis=-1),
    )
    assert found == (0.0, 0.0)


def test_bootstrap_depends_on_the_seed_alone(monkeypatch):
    values = np.random.default_rng(0).normal(size=7)
    once = bootstrap_interval(values, seed=5, samples=101)
    assert bootstrap_interval(values, seed=5, samples=101) == once
    assert bootstrap_interval(values, seed=6, samples=101) != once
    monkeypatch.setattr(significance, "CHUNK", 30)  # 4 resamples at once
    assert bootstrap_interval(values, seed=5, samples=101) == once
    assert bootstrap_interval(np.ones(3), seed=0) == (1.0, 1.0)


def test_mcnemar_is_the_exact_binomial_test_of_the_discordant_pairs():
    a = np.array([1, 1, 1, 1, 1, 1, 0, 0, 1, 0], bool)
    b = np.array([0, 0, 0, 0, 0, 1, 1, 0, 1, 0], bool)
    found = mcnemar(a, b)
    assert (found["only_a"], found["only_b"]) == (5, 1)
    assert (found["both"], found["neither"]) == (2, 2)
    assert found["difference"] == pytest.approx(0.4)
    # Twice the tail: (1 + 6) of the 64 outcomes
    assert found["p_value"] == pytest.approx(14 / 64)
    assert mcnemar(b, a)["p_value"] == found["p_value"]
    assert mcnemar(b, a)["difference"] == pytest.approx(-0.4)


def test_mcnemar_of_one_run_with_itself_is_one():
    right = np.array([1, 0, 1])
    assert mcnemar(right, right)["p_value"] == 1.0


def test_permutation_test_approaches_the_enumeration_of_all_signs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=9) + 0.1, rng.normal(size=9)
    sums = [abs(np.dot(s, a - b)) for s in itertools.product([-1, 1], repeat=9)]
    exact = np.mean(np.array(sums) >= abs((a - b).sum()) - 1e-12)
    found = permutation_test(a, b, seed=1, samples=20_000)
    assert 0.01 < exact < 0.9
    assert found["p_value"] == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000))
    assert found["difference"] == pytest.approx((a - b).mean())
    assert permutation_test(b, a, seed=1)["difference"] == -found["difference"]


def test_permutation_test_of_right_and_wrong_agrees_with_mcnemar():
    rng = np.random.default_rng(0)
    a, b = rng.random(101) < 0.7, rng.random(101) < 0.6
    expected = mcnemar(a, b)["p_value"]
    found = permutation_test(a, b, seed=0, samples=20_000)["p_value"]
    assert 0.02 < expected < 0.9
    assert found == pytest.approx(expected, abs=0.015)


def test_permutation_test_knows_its_bounds(monkeypatch):
    same = np.array([0.2, 0.5, 0.9])
    assert permutation_test(same, same, seed=0, samples=11)["p_value"] == 1.0
    apart = permutation_test(np.ones(50), np.zeros(50), seed=0, samples=99)
    assert apart["p_value"] == 1 / 100  # never 0
    a, b = np.random.default_rng(1).normal(size=(2, 7))
    once = permutation_test(a, b, seed=3, samples=101)
    monkeypatch.setattr(significance, "CHUNK", 30)
    assert permutation_test(a, b, seed=3, samples=101) == once


def test_false_alarms_come_as_often_as_promised():
    rng = np.random.default_rng(7)
    p = [
        permutation_test(*rng.normal(size=(2, 11)), seed=i, samples=199)["p_value"]
        for i in range(300)
    ]
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.09


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([], seed=0), "one or more finite"),
        (lambda: bootstrap_interval([1, np.nan], seed=0), "one or more finite"),
        (lambda: bootstrap_interval([1], seed=0, samples=0), "samples must be"),
        (lambda: bootstrap_interval([1], seed=0, level=95), "level must be"),
        (lambda: mcnemar([1, 0], [1]), "one value per example"),
        (lambda: mcnemar([2, 0], [1, 0]), "right or wrong"),
        (lambda: mcnemar([], []), "one or more finite"),
        (lambda: permutation_test([1], [1, 2], seed=0), "one value per example"),
        (lambda: permutation_test([1], [2], seed=0, samples=0), "samples must be"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_mean_per_class_interval_is_the_bootstrap_of_images():
    """Against resamples drawn image by image, of classes of 60, 25 and 4 images."""
    confusion = np.array([[40, 10, 10], [5, 15, 5], [1, 0, 3]])
    rng = np.random.default_rng(1)
    true = np.repeat([0, 1, 2], confusion.sum(axis=1))
    right = np.concatenate(
        [np.arange(n) < r for r, n in zip((40, 15, 3), (60, 25, 4), strict=True)]
    )
    means = []
    for _ in range(4000):
        rows = rng.integers(len(true), size=len(true))
        recalls = [
            right[rows][true[rows] == c].mean() for c in set(true[rows].tolist())
        ]
        means.append(np.mean(recalls))
    found = mean_per_class_interval(confusion, seed=0, samples=4000)
    np.testing.assert_allclose(found, np.quantile(means, [0.025, 0.975]), atol=0.012)
    again = mean_per_class_interval(confusion, seed=0, samples=4000)
    assert again == found
    twice = mean_per_class_interval(2 * confusion, seed=0, images=89, samples=4000)
    assert twice == found


@pytest.mark.parametrize(
    ("confusion", "kwargs", "message"),
    [
        (np.zeros((3, 3)), {}, "at least one"),
        (np.eye(3), {"samples": 0}, "samples must be"),
        (np.eye(3), {"level": 1.0}, "level must be"),
    ],
)
def test_mean_per_class_interval_refuses(confusion, kwargs, message):
    with pytest.raises(ValueError, match=message):
        mean_per_class_interval(confusion, seed=0, **kwargs)
