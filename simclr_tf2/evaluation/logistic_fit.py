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
    parts, turned = _rotated(parts, basis)
    weights = np.zeros((len(mean) + 1, num_classes)) if start is None else start
    for penalty in lambdas:
        scale = np.sqrt(variances / 2 + penalty)[:, None]
        whole = _Preconditioner(mean, basis, scale, turned)

        def objective(flat: np.ndarray, whole=whole, penalty=penalty):
            centred = whole.weights(flat.reshape(-1, num_classes))
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
    """Weights of centred features: basis (inner / scale); no basis is the identity.

    ``rotated``: the features already are in the basis, weights of those are inner /
    scale.
    """

    mean: np.ndarray
    basis: np.ndarray | None
    scale: np.ndarray
    rotated: bool

    def weights(self, inner: np.ndarray) -> np.ndarray:
        """Of the features that are fitted."""
        kernel = inner[:-1] / self.scale
        return np.vstack([kernel if self.rotated else self._out(kernel), inner[-1:]])

    def gradient(self, weights: np.ndarray) -> np.ndarray:
        """Of the inner weights, from that of ``weights``."""
        kernel = weights[:-1] if self.rotated else self._in(weights[:-1])
        return np.vstack([kernel / self.scale, weights[-1:]])

    def outer(self, inner: np.ndarray) -> np.ndarray:
        """Of the features as they were given."""
        kernel = self._out(inner[:-1] / self.scale)
        return np.vstack([kernel, inner[-1:] - self.mean @ kernel])

    def inner(self, outer: np.ndarray) -> np.ndarray:
        bias = outer[-1:] + self.mean @ outer[:-1]
        return np.vstack([self.scale * self._in(outer[:-1]), bias])

    def _out(self, kernel: np.ndarray) -> np.ndarray:
        return kernel if self.basis is None else self.basis @ kernel

    def _in(self, kernel: np.ndarray) -> np.ndarray:
        return kernel if self.basis is None else self.basis.T @ kernel


def _rotated(parts: list[Part], basis: np.ndarray | None) -> tuple[list[Part], bool]:
    """The parts in the basis, once, if all of them are copies already."""
    if basis is None or any(p.rows is not None or p.shift is not None for p in parts):
        return parts, False
    turned = [
        Part(p.features @ basis.astype(p.features.dtype), p.targets) for p in parts
    ]
    return turned, True


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
