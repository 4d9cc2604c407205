"""Online evaluation in pretraining: kNN, collapse, alignment, uniformity, rank."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2 import metrics
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.features.extraction import Features, collect, make_runner
from simclr_tf2.evaluation.once import LOGGERS, logged_once
from simclr_tf2.evaluation.protocols.knn import weighted_knn

logger = logging.getLogger(__name__)

KS = (20, 200)
MAX_ROWS = 2048  # [ours] of z: uniformity is quadratic in them, RankMe needs an SVD

EncodeBoth = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
Dataset = Iterable[dict[str, Any]]


def make_monitor(
    encode_h_z: EncodeBoth,
    bank: Dataset,
    queries: Dataset,
    *,
    views: tuple[tf.Tensor, tf.Tensor] | None = None,
    knn: bool = True,
    strategy: tf.distribute.Strategy | None = None,
) -> Callable[[], dict[str, float]]:
    """Build a function that measures the encoder at each call, traced once.

    Args:
        encode_h_z: ``[b, s, s, c] -> (h [b, d], z [b, p])`` in inference mode.
        bank: Fixed small set of labelled examples, elements as for ``extract``. Without
            labels (-1) there is no kNN.
        queries: Examples that are not in the bank.
        views: Two augmentations ``[n, s, s, c]`` of the same images, for alignment;
            None: alignment is not measured.
        knn: False: kNN is not measured, because the bank is known to have no labels.
        strategy: Devices; None: the default device.

    Returns:
        A function without arguments -> scalars ``knn_top1_k20`` and ``knn_top1_k200``
        (k clipped to the bank), ``std_h`` and ``std_z`` (mean over dimensions of the
        standard deviation of L2-normalised rows; 0 is collapse, 1/sqrt(d) an even
        spread), ``alignment``, ``uniformity`` (arXiv 2005.10242) and ``rankme`` (arXiv
        2210.02885), the last two for z of the queries. A scalar that cannot be measured
        (no labels, one class, features that are not finite) is missing and a message is
        logged once.
    """
    width: list[int] = []
    said: set[str] = set()
    logged: set[str] = set()

    def say_once(level: int, what: str, why: ConfigError) -> None:
        if what not in said:
            said.add(what)
            logger.log(level, "%s: %s", what, why)

    @tf.function(reduce_retracing=True)
    def both(image: tf.Tensor) -> tf.Tensor:
        h, z = encode_h_z(image)
        width[:] = [h.shape[-1]]
        return tf.concat([tf.cast(h, tf.float32), tf.cast(z, tf.float32)], axis=-1)

    runner = make_runner(both, strategy)

    def encoded(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = collect(runner, dataset, limit=None, name="")
        h, z = np.split(found.features, width, axis=1)
        return h, z, found.labels

    def measure() -> dict[str, float]:
        try:
            with logged_once(*LOGGERS, before=logged):
                return everything()
        except ConfigError as error:  # must not end a run that can continue
            say_once(logging.WARNING, "online evaluation skipped", error)
            return {}

    def everything() -> dict[str, float]:
        h, z, labels = encoded(queries)
        result = neighbours(Features(h, labels)) if knn else {}
        result |= _geometry(h, z)
        if views is not None:
            first, second = (encoded([{"image": view}])[1] for view in views)
            result["alignment"] = float(metrics.alignment(first, second))
        return result

    def neighbours(rows: Features) -> dict[str, float]:
        bank_h, _, bank_labels = encoded(bank)
        try:
            if bank_labels.ndim == 1 and (bank_labels < 0).all():
                raise ConfigError("the images have no labels")
            return _knn(Features(bank_h, bank_labels), rows)
        except ConfigError as error:
            say_once(logging.INFO, "no online kNN", error)
            return {}

    return measure


def monitor(
    encode_h_z: EncodeBoth, bank: Dataset, queries: Dataset, **kwargs: Any
) -> dict[str, float]:
    """Measure once: ``make_monitor(...)()``."""
    return make_monitor(encode_h_z, bank, queries, **kwargs)()


def _knn(bank: Features, queries: Features) -> dict[str, float]:
    used = {k: min(k, len(bank)) for k in KS}  # not logged: the bank is a sample
    found = weighted_knn(bank, queries, ks=tuple(used.values()))
    return {f"knn_top1_k{k}": found[f"top1_k{n}"] for k, n in used.items()}


def _geometry(h: np.ndarray, z: np.ndarray) -> dict[str, float]:
    measured = {
        "std_h": metrics.embedding_std(h),
        "std_z": metrics.embedding_std(z),
        "rankme": metrics.rankme(z[:MAX_ROWS]),
    }
    if len(z) > 1:  # needs a pair
        measured["uniformity"] = metrics.uniformity(z[:MAX_ROWS])
    return {name: float(value) for name, value in measured.items()}
