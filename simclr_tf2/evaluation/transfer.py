"""Transfer to other data sets: a linear classifier on frozen features of each.

SimCLR, section 4.3 and appendix B.8: twelve sets, each with its own metric, and
L2-regularised logistic regression whose penalty is chosen on validation images.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simclr_tf2.config import ConfigError
from simclr_tf2.evaluation.features import Features
from simclr_tf2.evaluation.logistic_sweep import (
    LAMBDAS,
    LOSS_FLOOR,
    MAX_ITER,
    TOLERANCE,
    lbfgs_logistic,
)
from simclr_tf2.evaluation.threads import blas_threads
from simclr_tf2.metrics.average_precision import mean_average_precision

logger = logging.getLogger(__name__)

METRICS = {
    "top1": "top-1",
    "mean_per_class": "mean/class",
    "map11": "11-pt mAP",
}
PUBLISHED = "SimCLR R50 (4x), published"
NOT_IN_JSON = ("predictions", "confusion")  # 397 classes make a large table


@dataclass(frozen=True, kw_only=True)
class TransferSet:
    """One of the paper's data sets for transfer.

    Attributes:
        name: As ``TRANSFER_SETS`` lists it.
        title: As the paper writes it.
        dataset: TFDS name with the config of the paper's split; None where TFDS does
            not have it, so that it must be a folder of the user's.
        train: TFDS split to fit on.
        validation: To choose lambda on; a fixed slice of train where TFDS has none
            [ours: the last fifth].
        test: To report on.
        metric: In ``METRICS``.
        label_key: TFDS feature with the labels.
        published: Linear evaluation of the paper's ResNet-50 (4x), in [0, 1].
    """

    name: str
    title: str
    dataset: str | None
    published: float
    metric: str = "top1"
    train: str = "train[:80%]"
    validation: str = "train[80%:]"
    test: str = "test"
    label_key: str = "label"


_OWN = {"train": "train", "validation": "validation"}
_PER_CLASS = "mean_per_class"

# SimCLR, table 8, row of the linear evaluation. TFDS draws the 30 training images of
# each class of Caltech-101 itself; its split of DTD is the first of the ten; its SUN397
# comes reduced to 120,000 pixels; the test split of Food-101 is called "validation".
TRANSFER_SETS: dict[str, TransferSet] = {
    found.name: found
    for found in (
        TransferSet(
            name="food101",
            title="Food-101",
            dataset="food101",
            test="validation",
            published=0.769,
        ),
        TransferSet(
            name="cifar10", title="CIFAR-10", dataset="cifar10", published=0.953
        ),
        TransferSet(
            name="cifar100", title="CIFAR-100", dataset="cifar100", published=0.802
        ),
        TransferSet(name="birdsnap", title="Birdsnap", dataset=None, published=0.484),
        TransferSet(
            name="sun397",
            title="SUN397",
            dataset="sun397/standard-part1-120k",
            published=0.659,
        ),
        TransferSet(name="cars", title="Cars", dataset="cars196", published=0.600),
        TransferSet(
            name="aircraft",
            title="Aircraft",
            dataset=None,
            metric=_PER_CLASS,
            published=0.612,
        ),
        TransferSet(
            name="voc2007",
            title="VOC2007",
            dataset="voc/2007",
            metric="map11",
            label_key="labels",
            published=0.842,
            **_OWN,
        ),
        TransferSet(name="dtd", title="DTD", dataset="dtd", published=0.789, **_OWN),
        TransferSet(
            name="pets",
            title="Pets",
            dataset="oxford_iiit_pet",
            metric=_PER_CLASS,
            published=0.892,
        ),
        TransferSet(
            name="caltech101",
            title="Caltech-101",
            dataset="caltech101",
            metric=_PER_CLASS,
            published=0.939,
        ),
        TransferSet(
            name="flowers102",
            title="Flowers",
            dataset="oxford_flowers102",
            metric=_PER_CLASS,
            published=0.950,
            **_OWN,
        ),
    )
}


def run_linear(
    train: Features,
    validation: Features,
    test: Features,
    *,
    metric: str,
    seed: int,
    lambdas: Sequence[float] = LAMBDAS,
) -> dict[str, Any]:
    """Logistic regression with lambda chosen by ``metric``, refitted, then tested.

    Args:
        train: To fit on; labels ``[n]``, for ``map11`` ``[n, l]`` of 1, 0, -1.
        validation: To choose lambda on.
        test: Reported on, seen once.
        metric: ``"top1"``, ``"mean_per_class"`` or ``"map11"``.
        seed: Kept in the result; nothing is drawn.
        lambdas: To choose from, above 0.

    Returns:
        Ready for JSON: ``value`` in [0, 1] of ``measure`` on test, and what
        ``lbfgs_logistic`` returns but for predictions and the confusion matrix; for
        ``map11``, what ``binary_sweep`` returns.

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
    found["top1_ci95"] = found.pop("ci95")
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
    """One binary logistic regression per class; one lambda for all, by 11-point mAP.

    Each minimises the mean of ``log(1 + exp(-y (w x + b)))`` + lambda / 2 |w|^2 with y
    of 1 or -1. Labels that are ignored (-1) are left out of the fit and of the score
    [ours; the paper does not say]. The largest of the best lambdas wins.

    Args:
        train: Labels ``[n, l]``: 1 present, 0 absent, -1 ignored.
        validation: Likewise.
        test: Likewise.
        seed: Kept in the result; nothing is drawn.
        lambdas: To choose from, above 0.

    Returns:
        Ready for JSON: ``value`` (11-point mAP over the classes with a positive in
        test), ``average_precision`` of each class (None without a positive), and the
        same record of the choice as ``lbfgs_logistic`` makes.

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
    found = _decide(test.features, weights)
    mean, each, skipped = mean_average_precision(found, test.labels, points=11)
    if not all(reached):
        count = reached.count(False)
        logger.warning("%d of %d fits of mAP did not converge", count, len(reached))
    return {
        "value": mean,
        "measure": "map11",
        "average_precision": [None if np.isnan(ap) else float(ap) for ap in each],
        "classes_without_test_positives": skipped,
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
    """11-point mAP over the classes with a positive."""
    scores = _decide(validation.features, weights)
    return mean_average_precision(scores, validation.labels, points=11)[0]


def fit_binary(
    features: np.ndarray,
    labels: np.ndarray,
    lambdas: Sequence[float],
    *,
    start: np.ndarray | None = None,
    tolerance: float = TOLERANCE,
    max_iter: int = MAX_ITER,
) -> Iterator[tuple[np.ndarray, int, bool]]:
    """Fit all classes at once, one lambda after the other, each from the one before.

    The problems share no weight, so the optimum of their sum is that of each. L-BFGS
    runs on the principal components of the features, each divided by the root of its
    curvature (variance / 4, a bound of the sigmoid's, + lambda), which changes the path
    and not the optimum. A rotated copy of the features is held in memory, in
    float64: rounding would stop the line search.

    Args:
        features: ``[n, d]``.
        labels: ``[n, l]`` of 1, 0 and -1 (left out).
        lambdas: Above 0.
        start: ``[d + 1, l]`` to begin with; None is 0.
        tolerance: Largest component of the preconditioned gradient, times the smallest
            loss of a class.
        max_iter: For each lambda.

    Yields:
        For each lambda: weights and, in the last row, bias, float64 ``[d + 1, l]``;
        iterations; whether the tolerance was reached.
    """
    from scipy.optimize import minimize

    used = (labels >= 0).any(axis=1)
    features, labels = features[used], labels[used]
    mean, variances, basis, rotated = _principal_components(features)
    problem = _Binary(rotated, 2 * labels - 1, (labels >= 0) / (labels >= 0).sum(0))
    shape = (len(mean) + 1, labels.shape[1])
    inner = np.zeros(shape)
    if start is not None:
        inner = np.vstack([basis.T @ start[:-1], start[-1] + mean @ start[:-1]])
    for penalty in lambdas:
        scale = np.append(np.sqrt(variances / 4 + penalty), 1.0)[:, None]

        def objective(flat: np.ndarray, scale=scale, penalty=penalty):
            losses, gradient = problem(flat.reshape(shape) / scale, penalty)
            return losses.sum(), (gradient / scale).ravel()

        smallest = problem(inner, penalty)[0].min()
        goal = tolerance * min(1.0, max(LOSS_FLOOR, smallest))
        found = minimize(
            objective,
            (inner * scale).ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"gtol": goal, "ftol": 1e-14, "maxiter": max_iter},
        )
        inner = found.x.reshape(shape) / scale
        weights = basis @ inner[:-1]
        bias = inner[-1] - mean @ weights
        # It may stop a little earlier, when the loss no longer changes.
        reached = bool(np.abs(found.jac).max() <= 10 * goal)
        yield np.vstack([weights, bias]), int(found.nit), reached


def _principal_components(
    features: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean ``[d]``, variances ``[d]``, axes ``[d, d]``, components ``[n, d]``."""
    mean = features.mean(axis=0, dtype=np.float64)
    centred = features - mean
    variances, basis = np.linalg.eigh(centred.T @ centred / len(features))
    return mean, variances.clip(min=0), basis, centred @ basis


@dataclass(frozen=True)
class _Binary:
    """Losses of binary problems that share their features.

    Attributes:
        features: float64 ``[n, d]``.
        signs: ``[n, l]``, 1 or -1, anything where the share is 0.
        shares: ``[n, l]``, what an image counts; each column sums to 1.
    """

    features: np.ndarray
    signs: np.ndarray
    shares: np.ndarray

    def __call__(
        self, weights: np.ndarray, penalty: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Loss of each class ``[l]`` and gradient ``[d + 1, l]``, float64."""
        from scipy.special import expit

        margins = self.signs * _decide(self.features, weights)
        losses = (self.shares * np.logaddexp(0, -margins)).sum(axis=0)
        slopes = -self.shares * self.signs * expit(-margins)
        gradient = self.features.T @ slopes + penalty * weights[:-1]
        losses += penalty / 2 * (weights[:-1] ** 2).sum(axis=0)
        return losses, np.vstack([gradient, slopes.sum(axis=0)])


def _decide(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return features @ weights[:-1].astype(features.dtype) + weights[-1]


def _require_multi_label(*splits: Features) -> None:
    """Refuse what no binary problem per class can be made of."""
    train, validation, test = splits
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


def render_transfer(
    results: dict[str, dict[str, Any]], *, row: str = "this encoder"
) -> str:
    """Aligned plain text: ours above the paper's, a column per data set, in percent.

    The mean is over the sets that were measured; the paper's is given only where it
    has a value for each of them, so that the two compare.

    Args:
        results: Name -> record, as the transfer workflow returns them: ``value`` (None:
            not measured, with ``not_measured``), ``measure``, ``published`` (or None).
        row: Name of our row.
    """
    if not results:
        return "(no results)"
    measured = [record for record in results.values() if record["value"] is not None]
    published = [record["published"] for record in measured]
    ours = [record["value"] for record in measured]
    titles = ["linear, %", *map(_title, results), f"mean of {len(measured)}"]
    kinds = ["", *(METRICS[record["measure"]] for record in results.values()), ""]
    rows = [
        [row, *(_percent(r["value"]) for r in results.values()), _mean(ours)],
        [
            PUBLISHED,
            *(_percent(record["published"]) for record in results.values()),
            _mean(published),
        ],
    ]
    table = [titles, kinds, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [_line(cells, widths) for cells in table]
    lines.insert(2, "-" * max(map(len, lines)))
    notes = [
        f"{_title(name)} not measured: {record['not_measured']}"
        for name, record in results.items()
        if record["value"] is None
    ]
    return "\n".join([*lines, *notes])


def _title(name: str) -> str:
    return TRANSFER_SETS[name].title if name in TRANSFER_SETS else name


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    complete = bool(known) and len(known) == len(values)
    return _percent(sum(known) / len(known) if complete else None)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = (c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))
    return "   ".join([first, *rest]).rstrip()
