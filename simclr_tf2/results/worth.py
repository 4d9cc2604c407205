"""What pretraining was worth: the network against each other row of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from simclr_tf2.metrics import significance
from simclr_tf2.protocols import PROTOCOLS

LEVEL = 0.95


def worth(
    predictions: Mapping[str, np.ndarray], labels: np.ndarray | None, *, what: str
) -> dict[str, Any]:
    """Compare the network with the other rows, image by image.

    The protocol is the first that predicted a label for each test image, and the
    network is the first row. The interval of a difference is that of Bonett and Price
    (J. Educ. Behav. Stat. 37 (2012) 479) for paired proportions. It is about these
    trained networks on images like these.

    Args:
        predictions: "row/protocol" -> predicted labels ``[n]``, the network first.
        labels: True labels ``[n]``.
        what: What the network had and the others had not, for the sentence:
            "pretraining on your images".

    Returns:
        ``protocol``, ``row``, ``test_examples``, ``level``, ``against``: row ->
        ``difference`` of the accuracies, its ``interval`` and ``p_value``; ``best``,
        the best other row; and ``sentence``. Empty if there is nothing to compare.
    """
    usable = {
        key: values
        for key, values in predictions.items()
        if values.ndim == 1 and values.dtype.kind in "iu"
    }
    if labels is None or labels.ndim != 1 or not usable:
        return {}
    first = next(iter(usable))
    row, _, protocol = first.rpartition("/")
    right = usable[first] == labels
    others = {
        key.rpartition("/")[0]: values == labels
        for key, values in usable.items()
        if key != first and key.rpartition("/")[2] == protocol
    }
    if not others:
        return {}
    best = max(others, key=lambda name: others[name].mean())
    against = {name: _against(right, theirs) for name, theirs in others.items()}
    title = PROTOCOLS[protocol].title if protocol in PROTOCOLS else protocol
    return {
        "protocol": protocol,
        "row": row,
        "test_examples": len(labels),
        "level": LEVEL,
        "test": "McNemar, exact",
        "against": against,
        "best": best,
        "sentence": _sentence(what, against[best], best, title, len(labels)),
    }


def _against(right: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    found = significance.mcnemar(right, theirs)
    return {
        "difference": found["difference"],
        "interval": significance.paired_interval(
            found["only_a"], found["only_b"], len(right), level=LEVEL
        ),
        "p_value": found["p_value"],
    }


def _sentence(
    what: str, found: Mapping[str, Any], best: str, title: str, images: int
) -> str:
    low, high = (100 * value for value in found["interval"])
    points = f"{100 * found['difference']:+.1f} points [{low:+.1f}, {high:+.1f}]"
    measured = f"{title}, {images:,} test images, {100 * LEVEL:.0f} % interval"
    if low > 0:
        return f"{what} is worth {points} over {best} ({measured})"
    if high < 0:
        return f"{what} is worth {points} compared with {best} ({measured})"
    return f"{what} is not distinguishable from {best}: {points} ({measured})"
