"""Logistic regression by L-BFGS with the penalty chosen on held-out examples."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from simclr_tf2 import metrics
from simclr_tf2.data.label_subset import balanced_subset
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.classifiable import require_classifiable
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.solvers.blas_threads import blas_threads
from simclr_tf2.evaluation.solvers.lbfgs import COPY_BYTES, Part, fit_logistic
from simclr_tf2.evaluation.solvers.sgd_heads import columns_of, score_linear

logger = logging.getLogger(__name__)


# SimCLR, appendix B.8.1: 45 logarithmically spaced values, chosen on validation.
LAMBDAS = tuple(np.logspace(-6, 5, 45).tolist())


MEASURES = ("top1", "mean_per_class")


VALIDATION_SHARE = 0.2  # [ours] where a data set has no validation split


def hold_out(labels: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of images to fit on, and of a class-balanced fifth to choose on.

    A class with one image keeps it for fitting.

    Args:
        labels: ``[n]``.
        seed: Of the draw; 0 or more.

    Raises:
        ConfigError: No class with two images.
    """
    classes, counts = np.unique(labels, return_counts=True)
    divisible = np.isin(labels, classes[counts > 1]).nonzero()[0]
    if not len(divisible):
        raise ConfigError(
            "no class of the train split has two images, so none can be kept for "
            "validation; use a protocol without a choice (--protocols=knn)"
        )
    held = balanced_subset(labels[divisible], seed=seed, fraction=VALIDATION_SHARE)
    is_held = np.zeros(len(labels), bool)
    is_held[divisible[held]] = True
    return (~is_held).nonzero()[0], is_held.nonzero()[0]


def lbfgs_logistic(
    train: Features,
    validation: Features,
    test: Features,
    *,
    seed: int,
    lambdas: Sequence[float] = LAMBDAS,
    measure: str = "top1",
) -> dict[str, Any]:
    """Fit multinomial logistic regression as in SimCLR, appendix B.8.1.

    Minimises the mean cross-entropy + lambda / 2 |W|^2, the bias free of the penalty,
    features not scaled [ours: the paper does not say], from the largest lambda to the
    smallest, each from the solution before. The first lambda with the best
    ``measure`` on validation wins, that is the largest among equals; then the fit is
    repeated on train and validation together and reported on test. In scikit-learn's
    terms C = 1 / (lambda n); of two classes, where it has one weight vector for our
    two, C = 2 / (lambda n). Features are read block by block: memory maps stay maps.

    Args:
        train: Labelled features to fit on.
        validation: Labelled features to choose lambda on.
        test: Labelled features to report on; may have classes nobody else has (errors).
        seed: Kept in the result; nothing is drawn.
        lambdas: To choose from, above 0, any order.
        measure: ``"top1"`` or ``"mean_per_class"``, of the choice.

    Returns:
        What ``scoring.summarize`` returns on test, ``top5`` with more than 5 classes,
        ``lambda``, ``lambdas`` and their ``validation_scores`` in the order fitted,
        ``lambda_at_edge`` (the best is the first or the last), ``iterations``,
        ``converged``, the sizes of the splits, and the settings.

    Raises:
        ConfigError: Splits that no classifier can be fitted on, an unknown measure, or
            lambdas that are not above 0.
    """
    require_classifiable(train, validation)
    require_classifiable(train, test)
    known = np.union1d(train.labels, validation.labels)
    return sweep(
        [part_of(train, None, known)],
        [part_of(validation, None, known)],
        test,
        classes=(known, np.union1d(known, test.labels)),
        measure=measure,
        lambdas=lambdas,
    ) | {"validation": validation.name, "scaler": train.scaler, "seed": seed}


def sweep(
    train: list[Part],
    validation: list[Part],
    test: Features,
    *,
    classes: tuple[np.ndarray, np.ndarray],
    measure: str,
    lambdas: Sequence[float],
) -> dict[str, Any]:
    """Choose lambda on validation, refit on train and validation, report on test.

    ``classes`` are those known to the classifier, and all.
    """
    start = time.perf_counter()
    _require_sweep(lambdas, measure)
    known, every = classes
    ordered = sorted(map(float, lambdas), reverse=True)
    size = train[0].features.shape[1] * sum(len(part.targets) for part in train)
    best, chosen, scores, counts, reached = -1.0, 0, [], [], []
    with blas_threads(size * len(known)):
        fits = fit_logistic(train, ordered, len(known))
        for index, (weights, iterations, converged) in enumerate(fits):
            scores.append(_score(validation, weights, measure))
            counts.append(iterations)
            reached.append(converged)
            if scores[-1] > best:
                best, chosen, warm = scores[-1], index, weights
        refit = fit_logistic(
            train + validation, [ordered[chosen]], len(known), start=warm
        )
        weights, iterations, converged = next(refit)
        found = score_linear(test, weights[:-1], weights[-1], known, every)
    if not all([*reached, converged]):
        logger.warning(
            "logistic regression: %d of %d fits stopped short of the optimum",
            [*reached, converged].count(False),
            len(reached) + 1,
        )
    return found | {
        "lambda": ordered[chosen],
        "lambda_at_edge": len(ordered) > 1 and chosen in (0, len(ordered) - 1),
        "lambdas": ordered,
        "validation_scores": scores,
        "validation_measure": measure,
        "validation_examples": sum(len(part.targets) for part in validation),
        "train_only_examples": sum(len(part.targets) for part in train),
        "refit": "train and validation",
        "objective": "mean cross-entropy + lambda / 2 |W|^2, bias not penalised",
        "solver": "L-BFGS",
        "iterations": [*counts, iterations],
        "converged": all([*reached, converged]),
        "seconds": time.perf_counter() - start,
    }


def _score(parts: Sequence[Part], weights: np.ndarray, measure: str) -> float:
    classes = weights.shape[1]
    confusion = np.zeros((classes, classes), np.int64)
    for part in parts:
        for x, y in part.chunks(classes):
            best = (x @ weights[:-1].astype(x.dtype) + weights[-1]).argmax(axis=1)
            confusion += metrics.confusion_matrix(y, best, num_classes=classes)
    if measure == "mean_per_class":
        return metrics.mean_per_class_accuracy(confusion)
    return metrics.accuracy(int(np.trace(confusion)), int(confusion.sum()))


def part_of(split: Features, rows: np.ndarray | None, known: np.ndarray) -> Part:
    """Return the rows of a split, copied where that is small, with their targets."""
    targets = columns_of(split.labels, known)
    if rows is None:
        return Part(split.features, targets)
    if len(rows) * split.features.shape[1] * 4 <= COPY_BYTES:
        return Part(split.features[rows], targets[rows])
    return Part(split.features, targets[rows], rows)


def _require_sweep(lambdas: Sequence[float], measure: str) -> None:
    if measure not in MEASURES:
        raise ConfigError(
            f"lambda is chosen by one of {', '.join(MEASURES)}. Received: {measure!r}."
        )
    if not len(lambdas) or not all(0 < value < np.inf for value in lambdas):
        raise ConfigError(
            "lambdas must be one or more numbers above 0. "
            f"Received: {list(lambdas)[:5]}."
        )
