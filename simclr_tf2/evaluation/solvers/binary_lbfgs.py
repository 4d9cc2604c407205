"""Binary logistic regressions that share their features, one per class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simclr_tf2.evaluation.solvers.lbfgs import LOSS_FLOOR, MAX_ITER, TOLERANCE


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

        def objective(
            flat: np.ndarray, scale: Any = scale, penalty: float = penalty
        ) -> tuple[float, np.ndarray]:
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
    """Return mean and variances ``[d]``, axes ``[d, d]``, components ``[n, d]``."""
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
        """Return each class's loss ``[l]`` and gradient ``[d + 1, l]``, float64."""
        from scipy.special import expit

        margins = self.signs * decide(self.features, weights)
        losses = (self.shares * np.logaddexp(0, -margins)).sum(axis=0)
        slopes = -self.shares * self.signs * expit(-margins)
        gradient = self.features.T @ slopes + penalty * weights[:-1]
        losses += penalty / 2 * (weights[:-1] ** 2).sum(axis=0)
        return losses, np.vstack([gradient, slopes.sum(axis=0)])


def decide(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Score features ``[n, d]`` by weights and bias ``[d + 1, l]``: ``[n, l]``."""
    scores: np.ndarray = features @ weights[:-1].astype(features.dtype) + weights[-1]
    return scores
