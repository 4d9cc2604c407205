"""Multinomial logistic regression with L-BFGS, for features of any number of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# [ours] Largest component of the preconditioned gradient, as a share of the loss, or of
# LOSS_FLOOR if that is larger. float32 products leave about 1e-5 of the loss as noise.
TOLERANCE = 1e-5
LOSS_FLOOR = 0.01
MAX_ITER = 1000
# [ours] Above it each dimension is divided by its own curvature alone: a matrix of
# 8,192 dimensions takes 0.5 GB.
FULL_DIMENSIONS = 8192
BLOCK_NUMBERS = 2**24  # [ours] of a curvature per class; else one for all (128 MB)
EVEN_SHARE = 0.001  # [ours] of the curvature where nothing has been learned
# [ours] Iterations, or an eighth of the dimensions if that is more: a new curvature
# costs about a quarter of them.
RENEW_AFTER = 30
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
        """Yield features and targets, block by block, so that scores stay small too."""
        size = 4 * (self.features.shape[1] + 4 * num_classes)
        step = max(1, CHUNK_BYTES // size)
        for start in range(0, len(self.targets), step):
            part = slice(start, start + step)
            rows: Any = part if self.rows is None else self.rows[part]
            x = self.features[rows]
            yield x if self.shift is None else x - self.shift, self.targets[part]

    def centred(self, mean: np.ndarray) -> Part:
        """Subtract ``mean [d]`` from the rows: at once if few, else at each pass."""
        mean = mean.astype(self.features.dtype)
        if len(self.targets) * self.features[:1].nbytes > COPY_BYTES:
            return Part(self.features, self.targets, self.rows, mean)
        x = self.features if self.rows is None else self.features[self.rows]
        return Part(x - mean, self.targets)


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

    L-BFGS with the features' mean subtracted, in coordinates where the loss is about
    equally curved in all directions: those of the Cholesky factor of the curvature of
    each class + lambda. The curvature is that of even probabilities until a fit takes
    many iterations, then that at its solution. This changes the path, not the optimum:
    the penalty is the same, and the bias that takes up the mean has none.

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
    weights = np.zeros((len(mean) + 1, num_classes)) if start is None else start.copy()
    weights[-1] += mean @ weights[:-1]  # the bias of centred features
    curvature = _curvature(parts, np.zeros_like(weights), together=True)
    for penalty in lambdas:
        space = _space(curvature, penalty)

        def objective(
            flat: np.ndarray, space: Any = space, penalty: float = penalty
        ) -> tuple[float, np.ndarray]:
            outer = space.outer(flat.reshape(-1, num_classes))
            loss, gradient = loss_and_gradient(outer, parts, penalty)
            return loss, space.gradient(gradient).ravel()

        first = space.inner(weights).ravel()
        goal = tolerance * min(1.0, max(LOSS_FLOOR, objective(first)[0]))
        found = minimize(
            objective,
            first,
            jac=True,
            method="L-BFGS-B",
            options={"gtol": goal, "ftol": 1e-14, "maxiter": max_iter},
        )
        weights = space.outer(found.x.reshape(-1, num_classes))
        if found.nit > max(RENEW_AFTER, len(mean) // 8):
            curvature = _curvature(parts, weights)
        # The line search may stop before the goal, at the precision of float32.
        reached = found.nit < max_iter and np.abs(found.jac).max() <= 100 * goal
        given = weights.copy()
        given[-1] -= mean @ weights[:-1]
        yield given, int(found.nit), bool(reached)


def loss_and_gradient(
    weights: np.ndarray, parts: Sequence[Part], penalty: float
) -> tuple[float, np.ndarray]:
    """Compute the mean cross-entropy + penalty / 2 |W|^2, and its gradient.

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
class _Space:
    """Coordinates ``root @ weights`` of each class.

    Attributes:
        root: ``[c, d + 1, d + 1]``, ``[1, d + 1, d + 1]`` for all classes alike, or the
            diagonal ``[d + 1, 1]``.
        inverse: Of it, in the same form.
    """

    root: np.ndarray
    inverse: np.ndarray

    def inner(self, outer: np.ndarray) -> np.ndarray:
        return _applied(self.root, outer)

    def outer(self, inner: np.ndarray) -> np.ndarray:
        return _applied(self.inverse, inner)

    def gradient(self, outer: np.ndarray) -> np.ndarray:
        diagonal = self.inverse.ndim == 2
        turned = self.inverse if diagonal else self.inverse.transpose(0, 2, 1)
        return _applied(turned, outer)


def _applied(matrices: np.ndarray, columns: np.ndarray) -> np.ndarray:
    product: np.ndarray
    if matrices.ndim == 2:
        product = matrices * columns
    elif len(matrices) == 1:
        product = matrices[0] @ columns
    else:
        product = np.matmul(matrices, columns.T[:, :, None])[:, :, 0].T
    return product


def _space(curvature: np.ndarray, penalty: float) -> _Space:
    """Build the space in which curvature + lambda is even; the bias has no lambda."""
    size = curvature.shape[1] if curvature.ndim == 3 else len(curvature)
    ridge = np.full(size, penalty)
    ridge[-1] = 0
    if curvature.ndim == 2:
        root = np.sqrt(curvature + ridge[:, None])
        return _Space(root, 1 / root)
    # Rounding of float32 products must not make it indefinite.
    noise = 1e-6 * np.trace(curvature, axis1=1, axis2=2) / size
    whole = curvature + (ridge + noise[:, None])[:, :, None] * np.eye(size)
    root = np.linalg.cholesky(whole).transpose(0, 2, 1)
    return _Space(root, np.linalg.inv(root))


def _centre(parts: Sequence[Part]) -> tuple[np.ndarray, list[Part]]:
    """Return the mean ``[d]`` of all rows together, and the rows less that mean.

    Without it, float32 products lose what the mean of the features is above 0.
    """
    total = sum(len(part.targets) for part in parts)
    mean = np.zeros(parts[0].features.shape[1])
    for part in parts:
        for x, _ in part.chunks(1):
            mean += x.sum(axis=0, dtype=np.float64) / total
    mean = mean.astype(parts[0].features.dtype).astype(np.float64)  # what is subtracted
    return mean, [part.centred(mean) for part in parts]


def _curvature(
    parts: Sequence[Part], weights: np.ndarray, *, together: bool = False
) -> np.ndarray:
    """Compute the mean of p (1 - p) x x' for each class.

    These are the diagonal blocks of softmax's Hessian. A share of those of even p
    is added, for what lies elsewhere.

    Returns:
        ``[c, d + 1, d + 1]``; the mean over classes ``[1, d + 1, d + 1]`` if
        ``together`` or above ``BLOCK_NUMBERS``; its diagonal ``[d + 1, 1]`` above
        ``FULL_DIMENSIONS``.
    """
    dim, classes = weights.shape
    total = sum(len(part.targets) for part in parts)
    full = dim <= FULL_DIMENSIONS
    together = together or classes * dim**2 > BLOCK_NUMBERS
    even = (1 - 1 / classes) / classes
    square = np.zeros((1 if together else classes, dim, dim) if full else (dim, 1))
    for part in parts:
        for x, _ in part.chunks(classes):
            share = _probabilities(x, weights)
            each = share * (1 - share) + EVEN_SHARE * even
            each = each.mean(axis=1, keepdims=True) if together or not full else each
            x = np.concatenate([x, np.ones((len(x), 1), x.dtype)], axis=1)
            if not full:
                square += np.square(x).T @ each.astype(x.dtype)
                continue
            for block, column in zip(square, each.T, strict=True):
                scaled = x * np.sqrt(column).astype(x.dtype)[:, None]
                block += scaled.T @ scaled
    return square / total


def _probabilities(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    scores = (x @ weights[:-1].astype(x.dtype)).astype(np.float64) + weights[-1]
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    probabilities: np.ndarray = scores / scores.sum(axis=1, keepdims=True)
    return probabilities
