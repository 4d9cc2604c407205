"""Classifiers of a few labelled images per class: k-shot curves, frozen features."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.classifiable import (
    all_classes,
    require_classifiable,
    standardize,
)
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.scoring import interval95, summarize
from simclr_tf2.evaluation.solvers.blas_threads import blas_threads
from simclr_tf2.evaluation.solvers.low_shot_svm import (
    KS,
    SAMPLES,
    require_counts,
    usable,
    voc_low_shot,
)
from simclr_tf2.metrics.significance import mean_per_class_interval

logger = logging.getLogger(__name__)

# As logistic_regression.
C = 1.0
LOGREG_ITER = 1200


def low_shot(train: Features, test: Features, *, seed: int) -> dict[str, Any]:
    """Run ``k_shot`` on single-label splits, ``voc_low_shot`` on multi-label ones."""
    if np.ndim(train.labels) == 1 and np.ndim(test.labels) == 1:
        return k_shot(train, test, seed=seed)
    found = voc_low_shot(
        train.features, train.labels, test.features, test.labels, seed=seed
    )
    return {
        "value": found["map_mean"][-1],
        "measure": "map",
        "ci95": found["map_ci95"],
    } | found


def k_shot(
    train: Features,
    test: Features,
    *,
    seed: int,
    ks: Sequence[int] = KS,
    samples: int = SAMPLES,
) -> dict[str, Any]:
    """Fit logistic regression on k images of each class, several times [ours].

    As ``logistic_regression`` (C = 1, L-BFGS), fitted on the chosen images alone: they
    give the scaler its mean and variance too.

    Args:
        train: Labelled features to choose from.
        test: Labelled features to score; may lack classes, or have others (errors).
        seed: Of the choices; each (sample, k, class) has a generator of its own.
        ks: Images per class. One that a class does not have is skipped and logged.
        samples: Number of choices for each k.

    Returns:
        ``shots`` (the ks used), ``top1_mean``, ``top1_std`` (over the samples) and
        ``top1_values`` for each; ``skipped`` {k: why}. For the largest k used: what
        ``scoring.summarize`` says of all samples together (``confusion`` counts each
        test image once per sample), ``ci95`` over test images, and ``predictions``
        ``[n, samples]``. ``fits_not_converged`` and settings.

    Raises:
        ConfigError: Splits that cannot be scored, or no k that every class has.
    """
    if np.ndim(train.labels) != 1 or np.ndim(test.labels) != 1:
        raise ConfigError(
            "k-shot logistic regression needs one label per image; multi-label splits "
            "have voc_low_shot"
        )
    require_classifiable(train, test)
    require_counts(ks, samples)
    start = time.perf_counter()
    classes, sizes = np.unique(train.labels, return_counts=True)
    smallest = int(sizes.argmin())
    why = f"class {classes[smallest]} has {sizes[smallest]} training image(s)"
    used, skipped = usable(ks, {k: why for k in ks if k > sizes[smallest]})
    values, missed, predictions = [], 0, []
    for k in used:
        fits = [
            _logreg(train, test, _balanced(train.labels, k, (seed, sample, k)), seed)
            for sample in range(samples)
        ]
        predictions = [predicted for predicted, _ in fits]
        missed += sum(not converged for _, converged in fits)
        values.append([float((p == test.labels).mean()) for p in predictions])
    if missed:
        logger.warning("%d k-shot fits stopped at %d iterations", missed, LOGREG_ITER)
    summary = summarize(
        np.tile(test.labels, samples),
        np.concatenate(predictions),
        all_classes(train, test),
    )
    correct = round(summary["top1"] * len(test))
    return summary | {
        "ci95": list(interval95(correct, len(test))),
        "mean_per_class_ci95": list(
            mean_per_class_interval(summary["confusion"], seed=seed, images=len(test))
        ),
        "predictions": np.stack(predictions, axis=1),
        "shots": used,
        "top1_mean": [float(np.mean(v)) for v in values],
        "top1_std": [float(np.std(v)) for v in values],
        "top1_values": values,
        "skipped": skipped,
        "samples": samples,
        "k": used[-1],
        "C": C,
        "fits_not_converged": missed,
        "converged": not missed,
        "scaler": train.scaler or "StandardScaler of the chosen images",
        "seed": seed,
        "seconds": time.perf_counter() - start,
    }


def _balanced(labels: np.ndarray, k: int, key: tuple[int, ...]) -> np.ndarray:
    """Draw k images of each class and return their positions, sorted."""
    return np.sort(
        np.concatenate(
            [
                np.random.default_rng([*key, int(label)]).permutation(
                    np.flatnonzero(labels == label)
                )[:k]
                for label in np.unique(labels)
            ]
        )
    )


def _logreg(
    train: Features, test: Features, rows: np.ndarray, seed: int
) -> tuple[np.ndarray, bool]:
    """Return the predicted labels of test and whether the fit reached its tolerance."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    chosen = Features(
        train.features[rows], train.labels[rows], train.name, train.scaler
    )
    train_x, test_x, _ = standardize(chosen, test)
    classifier = LogisticRegression(C=C, max_iter=LOGREG_ITER, random_state=seed)
    classes = len(np.unique(chosen.labels))
    with warnings.catch_warnings(), blas_threads(train_x.size * classes):
        warnings.simplefilter("ignore", ConvergenceWarning)  # counted instead
        classifier.fit(train_x, chosen.labels)
        predictions = classifier.predict(test_x)
    return predictions, int(np.max(classifier.n_iter_)) < LOGREG_ITER
