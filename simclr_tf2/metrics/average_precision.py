"""Average precision of a ranking, with ignored examples and exact under ties."""

from __future__ import annotations

from statistics import NormalDist
from typing import Literal

import numpy as np

Points = Literal["all", "interpolated", 11]
POINTS: tuple[Points, ...] = ("all", "interpolated", 11)
CHUNK = 2**20  # counts drawn at once by ``map_interval``: 8 MiB


def average_precision(
    scores: np.ndarray, labels: np.ndarray, *, points: Points = "all"
) -> float:
    """Return the area under the precision-recall curve of one class, 0 to 1.

    Equal scores are one group: precision and recall are read after the whole group, so
    the result does not depend on the order of the examples. Code that sorts and then
    walks through ties one by one (the VOC development kit) gives a number that depends
    on that order; without ties all agree.

    Args:
        scores: ``[n]``, higher is more likely the class; finite.
        labels: ``[n]`` integers: 1 positive, 0 negative, -1 ignored (left out).
        points: ``"all"``: sum over recall steps of step x precision at the step
            (scikit-learn's ``average_precision_score``). ``"interpolated"``: precision
            replaced by the highest one at the same or a higher recall, as VOC does
            since 2010 and the VOC07 SVM benchmarks do. ``11``: mean of that at
            recall 0, 0.1, ... 1, as in VOC2007.

    Raises:
        ValueError: Shapes, labels or ``points`` other than above, a score that is not
            finite, or no positive.
    """
    if points not in POINTS:
        raise ValueError(f"points must be one of {POINTS}. Received: {points!r}.")
    scores, labels = _checked(scores, labels, ndim=1)
    if not (labels == 1).any():
        raise ValueError("average precision needs at least one positive (label 1)")
    kept = labels >= 0
    precision, recall = _curve(scores[kept], labels[kept])
    if points == "all":
        return float(np.sum(np.diff(recall, prepend=0.0) * precision))
    best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or higher
    if points == "interpolated":
        return float(np.sum(np.diff(recall, prepend=0.0) * best))
    # Tenths as whole numbers of positives: 0.3 as a float could miss recall 3 / 10.
    positives = int(labels[kept].sum())
    found = np.rint(recall * positives).astype(np.int64)
    at = np.searchsorted(10 * found, np.arange(11) * positives)
    return float(best[at].mean())


def mean_average_precision(
    scores: np.ndarray, labels: np.ndarray, *, points: Points = "all"
) -> tuple[float, np.ndarray, int]:
    """Average the average precision over the classes that have a positive.

    Args:
        scores: ``[n, c]``.
        labels: ``[n, c]`` of 1, 0 and -1.
        points: ``"all"``, ``"interpolated"`` or ``11``, see ``average_precision``.

    Returns:
        The mean in [0, 1]; the average precision of each class ``[c]``, NaN where it
        has no positive; the number of such classes, which the mean leaves out.

    Raises:
        ValueError: As for ``average_precision``; no class has a positive.
    """
    scores, labels = _checked(scores, labels, ndim=2)
    skipped = ~(labels == 1).any(axis=0)
    if skipped.all():
        raise ValueError("mean average precision needs a class with a positive")
    each = np.full(labels.shape[1], np.nan)
    for index in np.flatnonzero(~skipped):
        each[index] = average_precision(
            scores[:, index], labels[:, index], points=points
        )
    return float(np.nanmean(each)), each, int(skipped.sum())


def map_interval(
    scores: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int,
    samples: int = 1000,
    level: float = 0.95,
    points: Points = "interpolated",
) -> tuple[float, float]:
    """Return an interval of the mean: +- normal quantile x bootstrap deviation.

    Not the bootstrap's own percentiles: copies of one example are ties, which raise the
    precision of weak rankings, so those may lie above the mean itself.
    Each resample draws whole examples (all classes of an image together); its mean is
    over the classes that have a positive in it; resamples without any are left out.

    Args:
        scores: ``[n, c]``.
        labels: ``[n, c]`` of 1, 0 and -1.
        seed: Of the draws.
        samples: Number of resamples, 1 or more.
        level: Of the interval, between 0 and 1.
        points: ``"interpolated"`` or ``11``, see ``average_precision``.

    Raises:
        ValueError: As for ``mean_average_precision``; a number out of range.
    """
    scores, labels = _checked(scores, labels, ndim=2)
    assert points != "all", points
    if samples < 1 or not 0 < level < 1 or not (labels == 1).any():
        raise ValueError(
            "map_interval needs a positive, samples of 1 or more and a level between 0 "
            f"and 1. Received: samples={samples}, level={level}."
        )
    rng, n = np.random.default_rng(seed), len(labels)
    size = max(1, min(samples, CHUNK // n))
    means = []
    for start in range(0, samples, size):
        rows = min(size, samples - start)
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        columns = [
            _weighted(scores[:, column], labels[:, column], counts, points)
            for column in np.flatnonzero((labels == 1).any(axis=0))
        ]
        each = np.stack(columns)
        classes = (~np.isnan(each)).sum(axis=0)
        means.append((np.nansum(each, axis=0) / np.maximum(classes, 1))[classes > 0])
    mean = mean_average_precision(scores, labels, points=points)[0]
    half = NormalDist().inv_cdf((1 + level) / 2) * float(np.concatenate(means).std())
    return max(0.0, mean - half), min(1.0, mean + half)


def _weighted(
    scores: np.ndarray, labels: np.ndarray, counts: np.ndarray, points: Points
) -> np.ndarray:
    """Return average precision ``[s]`` with ``counts[s, i]`` copies of example i.

    NaN where no positive was drawn.
    """
    kept = np.flatnonzero(labels >= 0)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    ordered = scores[kept]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    total = np.cumsum(counts[:, kept], axis=1)[:, last]
    hits = np.cumsum(counts[:, kept] * labels[kept], axis=1)[:, last]
    precision = hits / np.maximum(total, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    positives = hits[:, -1].astype(np.float64)
    if points == 11:
        rows = np.arange(len(hits))
        # In tenths of positives, as above.
        at = [(10 * hits >= t * hits[:, -1:]).argmax(axis=1) for t in range(11)]
        eleven = np.mean([best[rows, a] for a in at], axis=0)
        return np.where(positives > 0, eleven, np.nan)
    area = (np.diff(hits, axis=1, prepend=0) * best).sum(axis=1)
    average = np.full(len(hits), np.nan)
    np.divide(area, positives, out=average, where=positives > 0)
    return average


def _checked(
    scores: np.ndarray, labels: np.ndarray, *, ndim: int
) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    if scores.ndim != ndim or scores.shape != labels.shape:
        raise ValueError(
            f"scores and labels must have one shape of {ndim} dimension(s). "
            f"Received: {scores.shape} and {labels.shape}."
        )
    if not np.isin(labels, (-1, 0, 1)).all():
        raise ValueError("labels must be 1 (positive), 0 (negative) or -1 (ignored)")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    return scores, labels.astype(np.int64)


def _curve(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall after each group of equal scores, the best first."""
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(labels[order])
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    return hits[last] / (last + 1.0), hits[last] / hits[-1]
