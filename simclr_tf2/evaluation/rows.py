"""Score rows of features (network, random encoder, pixels) with protocols."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from simclr_tf2 import metrics, protocols
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.once import LOGGERS, logged_once

logger = logging.getLogger(__name__)


@logged_once(*LOGGERS)
def evaluate_rows(
    rows: dict[str, tuple[Features, Features]],
    names: Sequence[str],
    seed: int,
    *,
    keep_predictions: bool = False,
    keep_classifiers: bool = False,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Score every row of the table with every protocol.

    Args:
        rows: Name ("SimCLR h", "Random encoder h", "PCA-256 of pixels") -> train and
            test features.
        names: Protocols that read features (``simclr_tf2.protocols``).
        seed: Passed to every protocol and recorded in the results.
        keep_predictions: Keep as ``predictions`` the predicted label of each test
            image, in test order, or the average precision of each class.
        keep_classifiers: Keep as ``classifier`` the ``LinearClassifier`` of a protocol
            that finds one; the record is not ready for JSON then.
        settings: Protocol -> arguments of its function besides splits and seed.

    Returns:
        Ready for JSON: "row/protocol" -> ``value`` (top-1 in [0, 1]), its settings (C,
        k, seed, scaler), splits and their sizes, interval, confusion.

    Raises:
        ConfigError: A protocol is unknown, or the splits cannot be scored.
    """
    known = protocols.on_features(protocols.PROTOCOLS)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"--protocols must be among {', '.join(sorted(known))}. "
                f"Received: {name!r}."
            )
    results = {}
    for row, (train, test) in rows.items():
        for protocol in names:
            given = (settings or {}).get(protocol, {})
            measure = protocols.load(protocols.PROTOCOLS[protocol].measure)
            found = measure(train, test, seed=seed, **given)
            kept = [found.pop(n, None) for n in ("predictions", "class_values")]
            if not keep_classifiers:
                found.pop("classifier", None)
            predictions = next((x for x in kept if x is not None), None)
            if keep_predictions and predictions is not None:
                found["predictions"] = predictions.tolist()
            record = _record(row, protocol, found, train, test)
            results[f"{row}/{protocol}"] = record
            logger.info(
                "%s, %s: %s %.2f %% (%.1f s)",
                row,
                protocol,
                record["measure"],
                100 * record["value"],
                found["seconds"],
            )
    return results


def _record(
    row: str, protocol: str, found: dict[str, Any], train: Features, test: Features
) -> dict[str, Any]:
    single = train.labels.ndim == 1
    return {
        "value": found.get("value", found.get("top1")),
        "measure": "top1",
        "row": row,
        "protocol": protocol,
        "train_split": train.name,
        "train_examples": len(train),
        "test_split": test.name,
        "test_examples": len(test),
        "num_classes": len(found["classes"]) if single else train.labels.shape[1],
        "feature_dim": int(train.features.shape[1]),
        "chance": metrics.no_information_rate(test.labels) if single else None,
        **found,
    }
