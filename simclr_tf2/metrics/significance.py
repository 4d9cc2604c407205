"""Intervals of one result, and paired tests of two trained networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

CHUNK = 2**22  # numbers drawn at once: 32 MiB, whatever the size of the test set


def bootstrap_interval(
    values: np.ndarray,
    *,
    seed: int,
    samples: int = 1000,
    level: float = 0.95,
    statistic: Callable[..., np.ndarray] = np.mean,
) -> tuple[float, float]:
    """Return the percentile interval of a statistic over resampled examples.

    Efron's percentile bootstrap (Annals of Statistics 7 (1979) 1-26): too short for
    few examples (values that are all equal give no width), where a closed form is
    better.

    Args:
        values: ``[n]`` per example (1 or 0 for right or wrong), or ``[n, d]``: rows are
            drawn together.
        seed: Of the draws.
        samples: Number of resampled sets.
        level: Of the interval, between 0 and 1.
        statistic: Called with ``[s, n]`` or ``[s, n, d]`` and ``axis=1``; returns
            ``[s]``, the statistic of each of s sets.

    Raises:
        ValueError: No value, one not finite, ``samples`` or ``level`` out of range.
    """
    values = _finite(values, "values")
    _require_samples(samples)
    _require_level(level)
    rng = np.random.default_rng(seed)
    found = []
    for size in _chunks(samples, values.size):
        drawn = values[rng.integers(len(values), size=(size, len(values)))]
        found.append(statistic(drawn, axis=1))
    low, high = np.quantile(np.concatenate(found), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_per_class_interval(
    confusion: np.ndarray,
    *,
    seed: int,
    images: int | None = None,
    samples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of the mean accuracy over classes.

    It is over resampled images.

    Whole images are drawn, as by ``bootstrap_interval``. An image counts by its class
    and by whether it is right, so that the counts are one multinomial draw and no image
    has to be drawn alone. The mean is over the classes that a resample has.

    Args:
        confusion: ``[c, c]`` counts, rows true and columns predicted.
        seed: Of the draws.
        images: How many are drawn, where the counts have each image several times.
        samples: Number of resampled sets, 1 or more.
        level: Of the interval, between 0 and 1.

    Raises:
        ValueError: No image, ``samples`` or ``level`` out of range.
    """
    counts = np.asarray(confusion, np.int64)
    right = np.diag(counts)
    cells = np.concatenate([right, counts.sum(axis=1) - right])
    total = images or int(cells.sum())
    if not cells.any():
        raise ValueError("mean per-class accuracy needs at least one example.")
    _require_samples(samples)
    _require_level(level)
    rng, found = np.random.default_rng(seed), []
    for size in _chunks(samples, len(cells)):
        drawn = rng.multinomial(total, cells / cells.sum(), size=size)
        hits, missed = np.split(drawn, 2, axis=1)
        sizes = hits + missed
        recalls = np.divide(hits, sizes, out=np.zeros(hits.shape), where=sizes > 0)
        found.append(recalls.sum(axis=1) / (sizes > 0).sum(axis=1))
    low, high = np.quantile(np.concatenate(found), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> dict[str, Any]:
    """Test whether two classifiers are right equally often on examples like these.

    Among the examples that only one of them gets right, each is as likely to be that
    one: two-sided binomial test (McNemar, Psychometrika 12 (1947) 153-157). It is about
    these two classifiers as they are trained, not about what trained them.

    Args:
        correct_a: ``[n]`` bool, whether the first is right on each example.
        correct_b: ``[n]`` bool, the second on the same examples in the same order.

    Returns:
        ``p_value`` in (0, 1], ``only_a`` and ``only_b`` (discordant counts), ``both``,
        ``neither``, ``difference`` (accuracy of a minus that of b).

    Raises:
        ValueError: No example, lengths that differ, or values other than 0 and 1.
    """
    from scipy.stats import binomtest

    a, b = _paired(correct_a, correct_b)
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise ValueError("McNemar's test needs right or wrong (1 or 0) per example")
    only_a, only_b = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    discordant = only_a + only_b
    p = binomtest(only_a, discordant).pvalue if discordant else 1.0
    return {
        "p_value": float(p),
        "only_a": only_a,
        "only_b": only_b,
        "both": int(((a == 1) & (b == 1)).sum()),
        "neither": int(((a == 0) & (b == 0)).sum()),
        "difference": (only_a - only_b) / len(a),
    }


def paired_interval(
    only_a: int, only_b: int, examples: int, *, level: float = 0.95
) -> tuple[float, float]:
    """Return an interval for the difference of two accuracies on the same examples.

    The adjusted Wald interval of Bonett and Price (J. Educ. Behav. Stat. 37 (2012)
    479-488): one example is added to each discordant count.

    Args:
        only_a: Number of examples that only the first classifier gets right.
        only_b: Number of examples that only the second gets right.
        examples: Number of all examples, 1 or more.
        level: Of the interval, between 0 and 1.

    Returns:
        Low and high, of accuracy of a minus that of b, in [-1, 1].

    Raises:
        ValueError: Counts that cannot be, or ``level`` out of range.
    """
    from scipy.stats import norm

    _require_level(level)
    if min(only_a, only_b) < 0 or examples < max(1, only_a + only_b):
        raise ValueError(
            "the discordant counts must be 0 or greater and together at most the "
            f"number of examples. Received: {only_a}, {only_b} of {examples}."
        )
    share_a, share_b = ((count + 1) / (examples + 2) for count in (only_a, only_b))
    middle = share_a - share_b
    variance = (share_a + share_b - middle**2) / (examples + 2)
    half = float(norm.ppf((1 + level) / 2)) * variance**0.5
    return max(-1.0, middle - half), min(1.0, middle + half)


def permutation_test(
    values_a: np.ndarray, values_b: np.ndarray, *, seed: int, samples: int = 10_000
) -> dict[str, Any]:
    """Test whether the mean of paired differences is 0: two-sided, by random signs.

    If a and b are exchangeable, each difference could as well have the other sign.
    p = (1 + number of random sign patterns at least as far from 0) / (1 + samples),
    which never is 0 (Phipson and Smyth, SAGMB 9 (2010) 39). Pairs that are equal do not
    move the mean and are not drawn for.

    Args:
        values_a: ``[n]`` a number per example or per run of the first.
        values_b: ``[n]`` of the second, paired with it.
        seed: Of the signs.
        samples: Number of sign patterns drawn.

    Returns:
        ``p_value``, ``difference`` (mean of a - b), ``samples``.

    Raises:
        ValueError: No value, one not finite, lengths that differ, ``samples`` below 1.
    """
    a, b = _paired(values_a, values_b)
    _require_samples(samples)
    differences = (a - b)[a != b]
    observed = abs(differences.sum())
    slack = 1e-12 * np.abs(differences).sum()  # sums in another order are equal
    rng = np.random.default_rng(seed)
    extreme = 0
    for size in _chunks(samples, len(differences)):
        signs = rng.integers(2, size=(size, len(differences))) * 2 - 1
        extreme += int((np.abs(signs @ differences) >= observed - slack).sum())
    return {
        "p_value": (1 + extreme) / (1 + samples),
        "difference": float((a - b).mean()),
        "samples": samples,
    }


def _chunks(samples: int, width: int) -> list[int]:
    """Return sizes that add up to ``samples``, each of at most ``CHUNK`` numbers."""
    size = max(1, min(samples, CHUNK // max(1, width)))
    return [min(size, samples - start) for start in range(0, samples, size)]


def _finite(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim == 0 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"{name} must be one or more finite numbers")
    return values


def _paired(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = _finite(a, "values of a"), _finite(b, "values of b")
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(
            "a paired test needs one value per example from both. "
            f"Received: {a.shape} and {b.shape}."
        )
    return a, b


def _require_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1. Received: {level}.")


def _require_samples(samples: int) -> None:
    if samples < 1:
        raise ValueError(f"samples must be 1 or greater. Received: {samples}.")
