"""Linear SVMs of one class each, over the cores of the machine."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from simclr_tf2 import machine
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.solvers.blas_threads import blas_threads

# Costs, class weights, tolerance, folds and the normalisation: the VOC07 SVM benchmark
# of self-supervised features (arXiv 1905.01235, section 6.1, and its public code).
COSTS = (1.0, 10.0, 100.0, *(0.5**power for power in range(4, 20)))


CLASS_WEIGHT = {1: 2, -1: 1}


TOLERANCE = 1e-4


MAX_ITER = 2000


# [ours] Held by all threads together: a copy of the features as float64 and liblinear's
# own, 8 + 16 bytes per number.
THREAD_BYTES = 4 * 2**30


def fit(features: np.ndarray, positive: np.ndarray, cost: float) -> tuple[Any, bool]:
    """Fit a ``LinearSVC``; return it and whether it reached its tolerance.

    Args:
        features: float64 ``[n, d]``.
        positive: bool ``[n]``, with both values.
        cost: C, above 0.
    """
    from sklearn.svm import LinearSVC

    classifier = LinearSVC(
        C=cost,
        class_weight=CLASS_WEIGHT,
        penalty="l2",
        loss="squared_hinge",
        dual=False,
        tol=TOLERANCE,
        max_iter=MAX_ITER,
    )
    classifier.fit(features, np.where(positive, 1, -1))
    return classifier, int(np.max(classifier.n_iter_)) < MAX_ITER


def over_threads(
    task: Callable[[Any], Any],
    items: Sequence[Any],
    *,
    numbers: int,
    threads: int | None = None,
) -> Iterable[Any]:
    """Yield ``task`` of each item, in order, run in threads with one BLAS thread each.

    liblinear runs outside Python's lock, so threads help; its primal solver draws
    nothing, so they do not change the result.

    Args:
        task: Fits SVMs.
        items: Given to it one by one.
        numbers: Size of the features that one task may copy.
        threads: At most so many; None takes the processors there are, fewer where
            their copies would need more than ``THREAD_BYTES``.
    """
    if threads is None:
        affordable = THREAD_BYTES // (24 * max(1, numbers))
        threads = min(machine.usable_cores(), affordable)
    workers = max(1, min(threads, len(items)))
    with _without_warnings(), blas_threads(0), ThreadPoolExecutor(workers) as pool:
        yield from pool.map(task, items)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence per-fit ConvergenceWarnings; the caller reports how many there were."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():  # the filters are those of all threads
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def require_costs(costs: Sequence[float]) -> None:
    """Refuse an empty list of costs, and any cost that is not above 0 and finite."""
    if not costs or not all(0 < cost < float("inf") for cost in costs):
        raise ConfigError(
            f"SVM costs must be one or more numbers above 0. Received: {tuple(costs)}."
        )
