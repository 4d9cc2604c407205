"""Logistic regression on frozen features."""

from __future__ import annotations

import logging
import time
import warnings
from typing import Any

import numpy as np

from simclr_tf2 import metrics
from simclr_tf2.evaluation.classifiable import (
    all_classes,
    require_classifiable,
    standardize,
)
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.linear_classifier import of_scikit_learn
from simclr_tf2.evaluation.scoring import summarize
from simclr_tf2.evaluation.solvers.blas_threads import blas_threads

logger = logging.getLogger(__name__)

C = 1.0  # inverse strength of the L2 penalty, scikit-learn's default
MAX_ITER = 1200


def logistic_regression(
    train: Features, test: Features, *, seed: int
) -> dict[str, Any]:
    """Fit multinomial logistic regression on standardised features.

    StandardScaler fitted on train, then scikit-learn's LogisticRegression with L-BFGS,
    C = 1, at most 1200 iterations: the protocol of published STL-10 tables of SimCLR
    re-implementations, not the paper's own (appendix B.8.1 sweeps the penalty).
    Features that were scaled before (the PCA baseline) are read as they are.

    Args:
        train: Labelled features to fit on.
        test: Labelled features to score; may lack classes, or have others (errors).
        seed: For ``random_state``; L-BFGS itself draws nothing.

    Returns:
        What ``scoring.summarize`` returns, ``top5`` with more than 5 classes, the
        settings, ``converged``: False when L-BFGS stopped before its tolerance, and
        ``classifier``, a ``LinearClassifier``.

    Raises:
        ConfigError: Splits that no classifier can be fitted on.
    """
    from sklearn.linear_model import LogisticRegression

    require_classifiable(train, test)
    start = time.perf_counter()
    train_x, test_x, scaler = standardize(train, test)
    classifier = LogisticRegression(
        solver="lbfgs", C=C, max_iter=MAX_ITER, random_state=seed
    )
    classes = all_classes(train, test)
    with blas_threads(train_x.size * len(classes)):
        converged = _fit(classifier, train_x, train.labels)
        scores = classifier.decision_function(test_x)
    if scores.ndim == 1:  # two classes: scikit-learn scores only the second
        scores = np.stack([-scores, scores], axis=1)
    known = classifier.classes_
    result = summarize(test.labels, known[scores.argmax(axis=1)], classes)
    if len(classes) > 5:
        result["top5"] = _top5(scores, known, test.labels)
    return result | {
        "C": C,
        "solver": "lbfgs",
        "max_iter": MAX_ITER,
        "iterations": int(np.max(classifier.n_iter_)),
        "converged": converged,
        "classifier": of_scikit_learn(classifier, train),
        "scaler": scaler,
        "seed": seed,
        "seconds": time.perf_counter() - start,
    }


def _top5(scores: np.ndarray, known: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of labels among the 5 best of the classes ``known``.

    Those are the classes that the classifier knows.
    """
    column = np.searchsorted(known, labels).clip(max=len(known) - 1)
    targets = np.where(known[column] == labels, column, -1)  # -1 is never found
    hits = int(metrics.top_k_count(scores, targets, k=5))
    return metrics.accuracy(hits, len(labels))


def _fit(classifier: Any, features: np.ndarray, labels: np.ndarray) -> bool:
    """Fit, and return whether the solver reached its tolerance.

    Logs a warning where it did not.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        classifier.fit(features, labels)
    failed = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    if failed:
        logger.warning(
            "logistic regression did not converge in %d iterations (at most %d)",
            int(np.max(classifier.n_iter_)),
            MAX_ITER,
        )
    return not failed
