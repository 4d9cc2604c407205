"""The VOC07 low-shot protocol: linear SVMs on k positives and 19 k negatives."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.solvers.linear_svm import (
    COSTS,
    MAX_ITER,
    fit,
    over_threads,
    require_costs,
)
from simclr_tf2.evaluation.solvers.one_vs_rest import Binary, prepare, require_positives
from simclr_tf2.metrics.average_precision import (
    average_precision,
    map_interval,
    mean_average_precision,
)

logger = logging.getLogger(__name__)

# The VOC07 low-shot benchmark (arXiv 1905.01235, section 6.2, and its public code).
KS = (1, 2, 4, 8, 16, 32, 64, 96)
SAMPLES = 5
NEGATIVES = 19  # per positive


def voc_low_shot(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    *,
    seed: int,
    ks: Sequence[int] = KS,
    samples: int = SAMPLES,
    costs: Sequence[float] = COSTS,
    threads: int | None = None,
) -> dict[str, Any]:
    """Fit linear SVMs on k positives and 19 k negatives of each class, several times.

    One cost per k for all classes and samples: the one with the best mean ON THE TEST
    SPLIT, as the benchmark does, so the numbers are optimistic; ``map_by_cost`` has
    what each cost alone gives. Ignored labels are left out of training and test.

    Args:
        train_features: ``[n, d]``.
        train_labels: ``[n, c]`` of 1, 0 and -1 (ignored), or ``[n]`` classes.
        test_features: ``[m, d]``.
        test_labels: Of the same kind as ``train_labels``.
        seed: Of the choices; each (sample, k, class) has a generator of its own.
        ks: Positives per class. One that needs more positives or negatives than a
            class has is skipped and logged.
        samples: Number of choices for each k.
        costs: To choose from, each above 0.
        threads: As for ``svm.over_threads``.

    Returns:
        Ready for JSON but for ``class_values``: ``shots`` (the ks used); for each, over
        the samples at ``costs_chosen``, ``map_mean``, ``map_std``, ``map_min`` and
        ``map_max`` (interpolated, in [0, 1]); ``map_by_cost``, the means at all
        ``costs``; of the largest k ``map_ci95`` over test images (the mean of the
        samples' intervals) and ``class_values``, float64 ``[c]``: average precision,
        mean over samples;
        ``skipped`` {k: why}; ``costs_chosen_on``; ``fits_not_converged`` and settings.

    Raises:
        ConfigError: As for ``voc_svm``, or no k that every class can fill.
    """
    start = time.perf_counter()
    require_costs(costs)
    require_counts(ks, samples)
    binary = prepare(train_features, train_labels, test_features, test_labels)
    require_positives(binary, at_least=1)
    used, skipped = usable(ks, _too_large(binary, ks))
    scored = np.flatnonzero((binary.test_targets == 1).any(axis=0))
    places = [(k, s, int(c)) for k in used for s in range(samples) for c in scored]
    aps, missed = _all_aps(binary, places, costs, seed, threads=threads)
    shape = (len(used), samples, len(scored), len(costs))
    values = np.reshape(aps, shape).mean(axis=2)  # [k, sample, cost]
    best = values.mean(axis=1).argmax(axis=1)
    at_best = values[np.arange(len(used)), :, best]  # [k, sample]
    interval, class_values = _at_last_k(
        binary, used[-1], scored, samples, costs[best[-1]], seed
    )
    return {
        "shots": used,
        "map_mean": at_best.mean(axis=1).tolist(),
        "map_std": at_best.std(axis=1).tolist(),
        "map_min": at_best.min(axis=1).tolist(),
        "map_max": at_best.max(axis=1).tolist(),
        "map_ci95": interval,
        "class_values": class_values,
        "costs_chosen": [costs[index] for index in best],
        "costs_chosen_on": "mean over samples on the test split, as the benchmark does",
        "map_by_cost": values.mean(axis=1).tolist(),
        "costs": list(costs),
        "skipped": skipped,
        "samples": samples,
        "classes": binary.classes.tolist(),
        "classes_without_test_positives": len(binary.classes) - len(scored),
        "fits": len(places) * len(costs),
        "fits_not_converged": missed,
        "converged": not missed,
        "normalization": "x / (|x| + 1e-5)",
        "seed": seed,
        "seconds": time.perf_counter() - start,
    }


def _at_last_k(
    binary: Binary,
    k: int,
    scored: np.ndarray,
    samples: int,
    cost: float,
    seed: int,
) -> tuple[list[float], np.ndarray]:
    """Return the 95 % interval of the mean, and each class's mean over samples.

    The interval is that of the mean over classes, averaged over samples.
    """
    targets = binary.test_targets[:, scored]
    intervals, values = [], []
    for sample in range(samples):
        columns = []
        for column in scored:
            rows = _chosen(binary, (k, sample, int(column)), seed)
            positive = binary.train_targets[rows, column] == 1
            classifier, _ = fit(binary.train[rows], positive, cost)
            columns.append(classifier.decision_function(binary.test))
        scores = np.stack(columns, axis=1)
        intervals.append(map_interval(scores, targets, seed=seed))
        values.append(mean_average_precision(scores, targets, points="interpolated")[1])
    each = np.full(len(binary.classes), np.nan)
    each[scored] = np.mean(values, axis=0)
    return np.mean(intervals, axis=0).tolist(), each


def _chosen(binary: Binary, place: tuple[int, int, int], seed: int) -> np.ndarray:
    """Draw the training images of one (k, sample, class); return them sorted."""
    k, sample, column = place
    rng = np.random.default_rng([seed, sample, k, column])
    targets = binary.train_targets[:, column]
    positives = rng.permutation(np.flatnonzero(targets == 1))[:k]
    negatives = rng.permutation(np.flatnonzero(targets == 0))[: NEGATIVES * k]
    return np.sort(np.concatenate([positives, negatives]))


def _all_aps(
    binary: Binary,
    places: Sequence[tuple[int, int, int]],
    costs: Sequence[float],
    seed: int,
    *,
    threads: int | None,
) -> tuple[list[list[float]], int]:
    """Call ``_class_aps`` for each place, in threads.

    Returns:
        Average precisions by place and cost, and the number of fits that did not
        converge, which is logged.
    """
    largest = max(k for k, _, _ in places)
    fits = over_threads(
        lambda place: _class_aps(binary, place, costs, seed),
        places,
        numbers=20 * largest * binary.train.shape[1],
        threads=threads,
    )
    aps = [found for found, _ in fits]
    missed = sum(count for _, count in fits)
    if missed:
        logger.warning(
            "%d of %d SVM fits stopped at %d iterations",
            missed,
            len(places) * len(costs),
            MAX_ITER,
        )
    return aps, missed


def _class_aps(
    binary: Binary, place: tuple[int, int, int], costs: Sequence[float], seed: int
) -> tuple[list[float], int]:
    """Fit the SVMs of one (k, sample, class), one per cost, and score them on test.

    Returns:
        The average precision at each cost, and the number of fits that did not
        converge.
    """
    column = place[2]
    targets = binary.train_targets[:, column]
    rows = _chosen(binary, place, seed)
    features, found, missed = binary.train[rows], [], 0
    for cost in costs:
        classifier, converged = fit(features, targets[rows] == 1, cost)
        missed += not converged
        scores = classifier.decision_function(binary.test)
        found.append(
            average_precision(
                scores, binary.test_targets[:, column], points="interpolated"
            )
        )
    return found, missed


def _too_large(binary: Binary, ks: Sequence[int]) -> dict[int, str]:
    """Return the ks that some class cannot fill, with the first such class."""
    positives = (binary.train_targets == 1).sum(axis=0)
    negatives = (binary.train_targets == 0).sum(axis=0)
    found = {}
    for k in ks:
        short = (positives < k) | (negatives < NEGATIVES * k)
        if short.any():
            column = int(short.argmax())
            found[k] = (
                f"class {binary.classes[column]} has {positives[column]} positive and "
                f"{negatives[column]} negative training image(s), {k} and "
                f"{NEGATIVES * k} are needed"
            )
    return found


def usable(
    ks: Sequence[int], refused: dict[int, str]
) -> tuple[list[int], dict[str, str]]:
    """Return the ks that can be drawn, ascending, and why the others cannot."""
    used = sorted({int(k) for k in ks if k not in refused})
    if not used:
        raise ConfigError(
            f"no k of the low-shot protocol ({min(ks)} or more images per class) can "
            f"be drawn: {refused[min(refused)]}"
        )
    for k, why in sorted(refused.items()):
        logger.warning("low-shot: k=%d is skipped: %s", k, why)
    return used, {str(k): why for k, why in sorted(refused.items())}


def require_counts(ks: Sequence[int], samples: int) -> None:
    """Refuse an empty list of ks, and ks or ``samples`` below 1."""
    if not ks or min(ks) < 1 or samples < 1:
        raise ConfigError(
            "low-shot needs k and samples of 1 or more. "
            f"Received: k={tuple(ks)}, samples={samples}."
        )
