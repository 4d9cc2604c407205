"""L2-regularised logistic regression with the penalty chosen on validation images."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simclr_tf2 import metrics
from simclr_tf2.config import ConfigError
from simclr_tf2.evaluation.features import Features
from simclr_tf2.evaluation.linear import columns_of, judge
from simclr_tf2.evaluation.semi_supervised import balanced_subset
from simclr_tf2.evaluation.splits import all_classes, require_classifiable
from simclr_tf2.evaluation.threads import blas_threads

logger = logging.getLogger(__name__)

# SimCLR, appendix B.8.1: 45 logarithmically spaced values, chosen on validation.
LAMBDAS = tuple(np.logspace(-6, 5, 45).tolist())
MEASURES = ("top1", "mean_per_class")
VALIDATION_SHARE = 0.2  # [ours] where a data set has no validation split
# [ours] Largest component of the preconditioned gradient, as a share of the loss, or of
# LOSS_FLOOR if that is larger. float32 products leave about 1e-5 of the loss as noise.
TOLERANCE = 1e-5
LOSS_FLOOR = 0.01
MAX_ITER = 1000
# [ours] Above it, each dimension is divided by its own curvature and none is rotated:
# the eigenvectors of 8,192 dimensions take 0.5 GB and about a minute.
ROTATED_DIMENSIONS = 8192
CHUNK_BYTES = 64 * 2**20  # of features and scores held by one pass
COPY_BYTES = 2**30  # a part of an array below this is copied, above it read by rows


@dataclass(frozen=True)
class Part:
    """Some rows of an array, never copied if there are many.

    Attributes:
        features: ``[n, d]``, possibly a memory map.
        targets: Columns of the classifier ``[m]``; -1 for a class it does not know.
        rows: Which rows ``[m]``, sorted; None is all of them (m = n).
        shift: Subtracted from each row ``[d]``, if given.
    """

    features: np.ndarray
    targets: np.ndarray
    rows: np.ndarray | None = None
    shift: np.ndarray | None = None

    def chunks(self, num_classes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Features and targets, block by block, so that scores stay small too."""
        size = 4 * (self.features.shape[1] + 4 * num_classes)
        step = max(1, CHUNK_BYTES // size)
        for start in range(0, len(self.targets), step):
            part = slice(start, start + step)
            rows: Any = part if self.rows is None else self.rows[part]
            x = self.features[rows]
            yield x if self.shift is None else x - self.shift, self.targets[part]

    def centred(self, mean: np.ndarray) -> Part:
        """The same rows less ``mean [d]``: now if they are few, else at each pass."""
        mean = mean.astype(self.features.dtype)
        if len(self.targets) * self.features[:1].nbytes > COPY_BYTES:
            return Part(self.features, self.targets, self.rows, mean)
        x = self.features if self.rows is None else self.features[self.rows]
        return Part(x - mean, self.targets)


def logreg_sweep(train: Features, test: Features, *, seed: int) -> dict[str, Any]:
    """``lbfgs_logistic`` with a class-balanced fifth of train for validation.

    A class with one training image keeps it in train.

    Args:
        train: Labelled features, at least two classes with two images or more.
        test: Labelled features to score; may lack classes, or have others (errors).
        seed: Of the choice of the validation images; 0 or more.

    Returns:
        What ``lbfgs_logistic`` returns.

    Raises:
        ConfigError: As ``lbfgs_logistic``, and no class with two images.
    """
    require_classifiable(train, test)
    classes, counts = np.unique(train.labels, return_counts=True)
    divisible = np.isin(train.labels, classes[counts > 1]).nonzero()[0]
    if not len(divisible):
        raise ConfigError(
            "no class of the train split has two images, so none can be kept for "
            "validation; use a protocol without a choice (--protocols=knn)"
        )
    held = balanced_subset(
        train.labels[divisible], seed=seed, fraction=VALIDATION_SHARE
    )
    is_held = np.zeros(len(train), bool)
    is_held[divisible[held]] = True
    chosen_from = f"a class-balanced {VALIDATION_SHARE:.0%} of train"
    kept, kept_out = (~is_held).nonzero()[0], is_held.nonzero()[0]
    return _sweep(
        [_part(train, kept, classes)],
        [_part(train, kept_out, classes)],
        test,
        classes=(classes, all_classes(train, test)),
        measure="top1",
        lambdas=LAMBDAS,
    ) | {"validation": chosen_from, "scaler": train.scaler, "seed": seed}


def lbfgs_logistic(
    train: Features,
    validation: Features,
    test: Features,
    *,
    seed: int,
    lambdas: Sequence[float] = LAMBDAS,
    measure: str = "top1",
) -> dict[str, Any]:
    """Multinomial logistic regression as SimCLR, appendix B.8.1, fits it.

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
        What ``accuracy.summarize`` returns on test, ``top5`` with more than 5 classes,
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
    return _sweep(
        [_part(train, None, known)],
        [_part(validation, None, known)],
        test,
        classes=(known, np.union1d(known, test.labels)),
        measure=measure,
        lambdas=lambdas,
    ) | {"validation": validation.name, "scaler": train.scaler, "seed": seed}


def fit_logistic(
    parts: Sequence[Part],
    lambdas: Sequence[float],
    num_classes: int,
    *,
    start: np.ndarray | None = None,
    tolerance: float = TOLERANCE,
    max_iter: int = MAX_ITER,
) -> Iterator[tuple[np.ndarray, int, bool]]:
    """Fit one lambda after the other, each from the solution before.

    L-BFGS in the basis of the principal components, each direction divided by the root
    of its curvature (variance / 2, a bound of softmax's, + lambda), with the features'
    mean subtracted. This changes the path, not the optimum: the penalty is the same
    under rotation, and the bias that takes up the mean has none.

    Args:
        parts: What to fit, as if joined.
        lambdas: Above 0.
        num_classes: Columns c.
        start: ``[d + 1, c]`` to begin with; None is 0.
        tolerance: Largest component of the preconditioned gradient over the loss.
        max_iter: For each lambda.

    Yields:
        For each lambda: weights and, in the last row, bias, float64 ``[d + 1, c]``;
        iterations; whether the optimum was reached, up to 100 tolerances.
    """
    from scipy.optimize import minimize

    mean, parts = _centre(parts)
    variances, basis = _principal_axes(parts)
    weights = np.zeros((len(mean) + 1, num_classes)) if start is None else start
    for penalty in lambdas:
        whole = _Preconditioner(mean, basis, np.sqrt(variances / 2 + penalty)[:, None])

        def objective(flat: np.ndarray, whole=whole, penalty=penalty):
            centred = whole.centred(flat.reshape(-1, num_classes))
            loss, gradient = loss_and_gradient(centred, parts, penalty)
            return loss, whole.gradient(gradient).ravel()

        first = whole.inner(weights).ravel()
        goal = tolerance * min(1.0, max(LOSS_FLOOR, objective(first)[0]))
        found = minimize(
            objective,
            first,
            jac=True,
            method="L-BFGS-B",
            options={"gtol": goal, "ftol": 1e-14, "maxiter": max_iter},
        )
        weights = whole.outer(found.x.reshape(-1, num_classes))
        # The line search may stop before the goal, at the precision of float32.
        reached = found.nit < max_iter and np.abs(found.jac).max() <= 100 * goal
        yield weights, int(found.nit), bool(reached)


def loss_and_gradient(
    weights: np.ndarray, parts: Sequence[Part], penalty: float
) -> tuple[float, np.ndarray]:
    """Mean cross-entropy + penalty / 2 |W|^2, and its gradient.

    Products in the type of the features (float32 stays float32), sums over blocks in
    float64.

    Args:
        weights: ``[d + 1, c]``, the bias in the last row.
        parts: Features ``[n_i, d]`` with targets in [0, c).
        penalty: lambda.

    Returns:
        The loss, and float64 ``[d + 1, c]``.
    """
    total = sum(len(part.targets) for part in parts)
    loss, gradient = 0.0, np.zeros_like(weights)
    dtype = parts[0].features.dtype
    kernel, bias = weights[:-1].astype(dtype), weights[-1]
    for part in parts:
        for x, y in part.chunks(weights.shape[1]):
            scores = (x @ kernel).astype(np.float64) + bias
            scores -= scores.max(axis=1, keepdims=True)
            rows = np.arange(len(y))
            loss -= scores[rows, y].sum()
            np.exp(scores, out=scores)
            sums = scores.sum(axis=1, keepdims=True)
            loss += np.log(sums).sum()
            scores /= sums
            scores[rows, y] -= 1
            gradient[:-1] += x.T @ scores.astype(dtype)
            gradient[-1] += scores.sum(axis=0)
    loss = loss / total + penalty / 2 * float(np.vdot(weights[:-1], weights[:-1]))
    gradient /= total
    gradient[:-1] += penalty * weights[:-1]
    return loss, gradient


@dataclass(frozen=True)
class _Preconditioner:
    """Weights of centred features: basis (inner / scale); no basis is the identity."""

    mean: np.ndarray
    basis: np.ndarray | None
    scale: np.ndarray

    def centred(self, inner: np.ndarray) -> np.ndarray:
        weights = inner[:-1] / self.scale
        weights = weights if self.basis is None else self.basis @ weights
        return np.vstack([weights, inner[-1:]])

    def outer(self, inner: np.ndarray) -> np.ndarray:
        weights = self.centred(inner)
        weights[-1] -= self.mean @ weights[:-1]
        return weights

    def inner(self, outer: np.ndarray) -> np.ndarray:
        bias = outer[-1:] + self.mean @ outer[:-1]
        return np.vstack([self.scale * self._turned(outer[:-1]), bias])

    def gradient(self, centred: np.ndarray) -> np.ndarray:
        return np.vstack([self._turned(centred[:-1]) / self.scale, centred[-1:]])

    def _turned(self, weights: np.ndarray) -> np.ndarray:
        return weights if self.basis is None else self.basis.T @ weights


def _centre(parts: Sequence[Part]) -> tuple[np.ndarray, list[Part]]:
    """Mean ``[d]`` of all rows together, and the rows less it.

    Without it, float32 products lose what the mean of the features is above 0.
    """
    total = sum(len(part.targets) for part in parts)
    mean = np.zeros(parts[0].features.shape[1])
    for part in parts:
        for x, _ in part.chunks(1):
            mean += x.sum(axis=0, dtype=np.float64) / total
    mean = mean.astype(parts[0].features.dtype).astype(np.float64)  # what is subtracted
    return mean, [part.centred(mean) for part in parts]


def _principal_axes(parts: Sequence[Part]) -> tuple[np.ndarray, np.ndarray | None]:
    """Variances ``[d]`` and axes ``[d, d]`` of centred rows.

    Above ``ROTATED_DIMENSIONS`` the variances of the dimensions as they are, no axes.
    """
    total = sum(len(part.targets) for part in parts)
    dim = parts[0].features.shape[1]
    rotate = dim <= ROTATED_DIMENSIONS
    square = np.zeros((dim, dim) if rotate else dim)
    for part in parts:
        for x, _ in part.chunks(1):
            square += (x.T @ x if rotate else np.einsum("nd,nd->d", x, x)) / total
    if not rotate:
        return square, None
    variances, basis = np.linalg.eigh(square)
    return variances.clip(min=0), basis


def _sweep(
    train: list[Part],
    validation: list[Part],
    test: Features,
    *,
    classes: tuple[np.ndarray, np.ndarray],
    measure: str,
    lambdas: Sequence[float],
) -> dict[str, Any]:
    """Choose on validation, refit on both, report on test; ``classes``: known, all."""
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
        found = judge(test, weights[:-1], weights[-1], known, every)
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


def _part(split: Features, rows: np.ndarray | None, known: np.ndarray) -> Part:
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
