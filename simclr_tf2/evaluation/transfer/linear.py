"""Transfer to other data sets: a linear classifier on frozen features of each.

SimCLR, section 4.3 and appendix B.8: each set with its own metric, and L2-regularised
logistic regression whose penalty is chosen on validation images.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from simclr_tf2.data.transfer_sets import METRICS
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.solvers.binary_lbfgs import decide, fit_binary
from simclr_tf2.evaluation.solvers.blas_threads import blas_threads
from simclr_tf2.evaluation.solvers.penalty_sweep import LAMBDAS, lbfgs_logistic
from simclr_tf2.evaluation.transfer.scores import score_logits
from simclr_tf2.metrics.average_precision import mean_average_precision

logger = logging.getLogger(__name__)

NOT_IN_JSON = ("predictions", "confusion")  # 397 classes make a large table


def run_linear(
    train: Features,
    validation: Features,
    test: Features,
    *,
    metric: str,
    seed: int,
    lambdas: Sequence[float] = LAMBDAS,
) -> dict[str, Any]:
    """Fit logistic regression with lambda chosen by ``metric``, refit, then test.

    Args:
        train: To fit on; labels ``[n]``, for ``map11`` ``[n, l]`` of 1, 0, -1.
        validation: To choose lambda on.
        test: Reported on, seen once.
        metric: ``"top1"``, ``"mean_per_class"`` or ``"map11"``.
        seed: Of the bootstrap; nothing else is drawn.
        lambdas: To choose from, above 0.

    Returns:
        Ready for JSON: ``value`` in [0, 1] of ``measure`` on test, its ``ci95``, and
        what ``lbfgs_logistic`` returns but for predictions and the confusion matrix;
        for ``map11``, what ``binary_sweep`` returns.

    Raises:
        ConfigError: An unknown metric, labels of the other kind, or splits that cannot
            be fitted or scored.
    """
    if metric not in METRICS:
        raise ConfigError(
            f"a transfer set is scored by one of {', '.join(METRICS)}. "
            f"Received: {metric!r}."
        )
    if metric == "map11":
        return binary_sweep(train, validation, test, seed=seed, lambdas=lambdas)
    found = lbfgs_logistic(
        train, validation, test, seed=seed, lambdas=lambdas, measure=metric
    )
    if metric == "mean_per_class":
        found["top1_ci95"] = found.pop("ci95")
        found["ci95"] = found["mean_per_class_ci95"]
    kept = {key: value for key, value in found.items() if key not in NOT_IN_JSON}
    return {"value": found[metric], "measure": metric, **kept}


def binary_sweep(
    train: Features,
    validation: Features,
    test: Features,
    *,
    seed: int,
    lambdas: Sequence[float] = LAMBDAS,
) -> dict[str, Any]:
    """Fit a binary logistic regression per class; one lambda for all, by 11-point mAP.

    Each minimises the mean of ``log(1 + exp(-y (w x + b)))`` + lambda / 2 |w|^2 with y
    of 1 or -1. Labels that are ignored (-1) are left out of the fit and of the score
    [ours; the paper does not say]. The largest of the best lambdas wins.

    Args:
        train: Labels ``[n, l]``: 1 present, 0 absent, -1 ignored.
        validation: Likewise.
        test: Likewise.
        seed: Of the bootstrap; nothing else is drawn.
        lambdas: To choose from, above 0.

    Returns:
        Ready for JSON: ``value`` (11-point mAP over the classes with a positive in
        test) with ``ci95``, ``average_precision`` of each class (None without a
        positive), and the same record of the choice as ``lbfgs_logistic`` makes.

    Raises:
        ConfigError: Labels that are not ``[n, l]`` of the same l, a class without a
            positive or a negative in train, no positive in validation or test.
    """
    start = time.perf_counter()
    _require_multi_label(train, validation, test)
    if not len(lambdas) or not all(0 < value < np.inf for value in lambdas):
        raise ConfigError(
            "lambdas must be one or more numbers above 0. "
            f"Received: {list(lambdas)[:5]}."
        )
    ordered = sorted(map(float, lambdas), reverse=True)
    scores, counts, reached, best = [], [], [], None
    with blas_threads(train.features.size * train.labels.shape[1]):
        for weights, iterations, converged in fit_binary(
            train.features, train.labels, ordered
        ):
            scores.append(_score(validation, weights))
            counts.append(iterations)
            reached.append(converged)
            if scores[-1] == max(scores) and scores.count(scores[-1]) == 1:
                best = weights
        chosen = int(np.argmax(scores))
        weights, iterations, converged = next(
            fit_binary(
                np.concatenate([train.features, validation.features]),
                np.concatenate([train.labels, validation.labels]),
                [ordered[chosen]],
                start=best,
            )
        )
    reached.append(converged)
    found = decide(test.features, weights)
    scored = Features(found, test.labels, test.name)
    if not all(reached):
        count = reached.count(False)
        logger.warning("%d of %d fits of mAP did not converge", count, len(reached))
    return {
        **score_logits(scored, metric="map11", seed=seed),
        "measure": "map11",
        "lambda": ordered[chosen],
        "lambda_at_edge": len(ordered) > 1 and chosen in (0, len(ordered) - 1),
        "lambdas": ordered,
        "validation_scores": scores,
        "validation_measure": "map11",
        "validation": validation.name,
        "validation_examples": len(validation),
        "train_only_examples": len(train),
        "refit": "train and validation",
        "objective": "mean binary cross-entropy + lambda / 2 |w|^2, bias not penalised",
        "ignored_labels": "left out of fit and score",
        "solver": "L-BFGS",
        "iterations": [*counts, iterations],
        "converged": all(reached),
        "scaler": train.scaler,
        "seed": seed,
        "seconds": time.perf_counter() - start,
    }


def _score(validation: Features, weights: np.ndarray) -> float:
    """Return the 11-point mAP over the classes with a positive."""
    scores = decide(validation.features, weights)
    return mean_average_precision(scores, validation.labels, points=11)[0]


def _require_multi_label(*splits: Features) -> None:
    """Refuse splits of which no binary problem per class can be made."""
    train, _validation, _test = splits
    for role, split in zip(("train", "validation", "test"), splits, strict=True):
        where = f"the {role} split{f' ({split.name})' if split.name else ''}"
        if split.labels.ndim != 2 or not np.isin(split.labels, (-1, 0, 1)).all():
            raise ConfigError(
                f"{where} needs several yes-or-no labels an image (1, 0, -1) for mAP"
            )
        if split.labels.shape[1] != train.labels.shape[1]:
            raise ConfigError(
                f"{where} has {split.labels.shape[1]} classes, train has "
                f"{train.labels.shape[1]}; they must be the same"
            )
        if split.features.shape[1] != train.features.shape[1]:
            raise ConfigError(
                f"{where} has features of dimension {split.features.shape[1]}, train "
                f"of {train.features.shape[1]}; they must be the same"
            )
        if not (split.labels == 1).any():
            raise ConfigError(f"{where} has no image of any class")
    for value, kind in ((1, "positive"), (0, "negative")):
        counts = (train.labels == value).sum(axis=0)
        if not counts.all():
            raise ConfigError(
                f"class {int(counts.argmin())} has no {kind} image in the train split; "
                "use more images or leave the class out"
            )
