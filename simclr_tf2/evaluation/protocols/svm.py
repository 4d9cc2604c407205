"""One linear SVM per class on frozen features, judged by average precision."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from simclr_tf2.evaluation.classifiable import all_classes, require_classifiable
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.scoring import summarize
from simclr_tf2.evaluation.solvers import linear_svm
from simclr_tf2.evaluation.solvers.linear_svm import (
    COSTS,
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

FOLDS = 3


def svm(train: Features, test: Features, *, seed: int) -> dict[str, Any]:
    """Run ``voc_svm`` on two splits; single-label splits also get a top-1.

    Args:
        train: Features with labels ``[n]``, or ``[n, c]`` of 1, 0 and -1.
        test: As ``train``; single-label splits may lack classes, or have others
            (errors).
        seed: Of the bootstrap alone.

    Returns:
        What ``voc_svm`` returns without ``scores``. Single-label: what
        ``scoring.summarize`` returns, the class with the highest score predicted.
        Multi-label: ``value``, ``measure`` (``"map"``) and ``ci95`` of the mean, and
        ``class_values``, float64 ``[c]``: the average precisions, NaN where test has no
        positive.

    Raises:
        ConfigError: As for ``voc_svm``.
    """
    single = np.ndim(train.labels) == 1 and np.ndim(test.labels) == 1
    if single:
        require_classifiable(train, test)
    found = voc_svm(train.features, train.labels, test.features, test.labels, seed=seed)
    scores = found.pop("scores")
    if not single:
        extra = {
            "value": found["map"],
            "measure": "map",
            "ci95": found["map_ci95"],
            "class_values": np.array(found["average_precision"], np.float64),
        }
        return found | extra
    predictions = np.asarray(found["classes"])[scores.argmax(axis=1)]
    return found | summarize(test.labels, predictions, all_classes(train, test))


def voc_svm(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    *,
    seed: int,
    costs: Sequence[float] = COSTS,
    threads: int | None = None,
) -> dict[str, Any]:
    """Fit linear SVMs, the cost of each class from 3-fold average precision on train.

    Squared hinge, L2 penalty, positives weighted twice, features divided by (length +
    1e-5). An ignored label is a negative in training and left out of the test. The
    folds are stratified and not shuffled, as scikit-learn's ``cross_val_score`` makes
    them; the first of the best costs wins. Solved in the primal: the same optimum as
    the benchmark's dual, without its random order, and sooner at high costs.

    Args:
        train_features: ``[n, d]``.
        train_labels: ``[n]`` classes (one against the rest) or ``[n, c]`` of 1
            (present), 0 (absent) and -1 (ignored).
        test_features: ``[m, d]``.
        test_labels: Of the same kind as ``train_labels``.
        seed: Of the bootstrap alone.
        costs: To choose from, each above 0.
        threads: Over the classes; None takes the processors there are.

    Returns:
        Ready for JSON but for ``scores`` float64 ``[m, c]``: ``map`` (interpolated, as
        the benchmark reports), ``map_not_interpolated`` (as scikit-learn) and
        ``map_11_point``, each over the classes with a positive in test; ``map_ci95``
        of the first, over test images; ``average_precision``, ``costs_chosen`` and
        ``cross_validated`` per class; ``classes``; ``classes_without_test_positives``;
        ``fits`` and ``fits_not_converged``.

    Raises:
        ConfigError: Arrays that do not fit together, labels missing or of two kinds, a
            class with too few positives or negatives to cross-validate, no positive in
            test, features not finite, costs not above 0.
    """
    start = time.perf_counter()
    require_costs(costs)
    binary = prepare(train_features, train_labels, test_features, test_labels)
    require_positives(binary, at_least=FOLDS)
    fits = list(
        over_threads(
            lambda column: _fit_class(binary, column, costs),
            range(len(binary.classes)),
            numbers=binary.train.size,
            threads=threads,
        )
    )
    chosen, cross_validated, scores, missed = zip(*fits, strict=True)
    total = len(fits) * (len(costs) * FOLDS + 1)
    if sum(missed):
        logger.warning(
            "%d of %d SVM fits stopped at %d iterations",
            sum(missed),
            total,
            linear_svm.MAX_ITER,
        )
    result = _scores(np.stack(scores, axis=1), binary)
    interval = map_interval(result["scores"], binary.test_targets, seed=seed)
    return result | {
        "map_ci95": list(interval),
        "costs_chosen": list(chosen),
        "cross_validated": list(cross_validated),
        "costs": list(costs),
        "folds": FOLDS,
        "fits": total,
        "fits_not_converged": sum(missed),
        "converged": not sum(missed),
        "normalization": "x / (|x| + 1e-5)",
        "seed": seed,
        "seconds": time.perf_counter() - start,
    }


def _fit_class(
    binary: Binary, column: int, costs: Sequence[float]
) -> tuple[float, float, np.ndarray, int]:
    """Choose the cost of one class by cross-validation, then refit and score test.

    Returns:
        The cost, its cross-validated average precision, the scores of test, and the
        number of fits that did not converge.
    """
    from sklearn.model_selection import StratifiedKFold

    positive = binary.train_targets[:, column] == 1  # ignored are negatives
    found, missed = np.zeros((FOLDS, len(costs))), 0
    folds = StratifiedKFold(FOLDS).split(binary.train, positive)
    for index, (kept, held) in enumerate(folds):
        part, rest = binary.train[kept], binary.train[held]
        for number, cost in enumerate(costs):
            classifier, converged = fit(part, positive[kept], cost)
            missed += not converged
            found[index, number] = average_precision(
                classifier.decision_function(rest), positive[held].astype(np.int64)
            )
    mean = found.mean(axis=0)
    best = int(mean.argmax())
    classifier, converged = fit(binary.train, positive, costs[best])
    scores = classifier.decision_function(binary.test)
    return costs[best], float(mean[best]), scores, missed + (not converged)


def _scores(scores: np.ndarray, binary: Binary) -> dict[str, Any]:
    targets = binary.test_targets
    mean, each, skipped = mean_average_precision(scores, targets, points="interpolated")
    if skipped:
        logger.warning("%d class(es) have no positive in the test split", skipped)
    return {
        "map": mean,
        "map_not_interpolated": mean_average_precision(scores, targets)[0],
        "map_11_point": mean_average_precision(scores, targets, points=11)[0],
        "average_precision": [None if np.isnan(ap) else float(ap) for ap in each],
        "classes": binary.classes.tolist(),
        "classes_without_test_positives": skipped,
        "scores": scores,
    }
