"""``--best_metric``: the metric by which the best checkpoint is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simclr_tf2.config import EvaluationConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.inputs import Splits
from simclr_tf2.evaluation.subject import Conditions
from simclr_tf2.protocols import (
    OWN_CLASSIFIER,
    PROTOCOLS,
    VALID_LOSS,
    ranking,
    that_take,
)
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs.best_checkpoint import BestCheckpoint, remove_stale


def make(conditions: Conditions, folder: RunFolder) -> BestCheckpoint | None:
    """Return the keeper of the best checkpoint for ``--best_metric``, or None.

    Raises:
        ConfigError: No protocol that is run measures the metric.
    """
    remove_stale(folder.path)
    asked, images = conditions.evaluation, conditions.images
    if not asked.best_metric:
        return None
    if asked.best_metric == VALID_LOSS:
        return by_valid_loss(asked, images, folder)
    measured_by = ranking().get(asked.best_metric, OWN_CLASSIFIER)
    if measured_by not in (*asked.protocols, OWN_CLASSIFIER):
        raise ConfigError(
            f"--best_metric={asked.best_metric} is not measured; add {measured_by} to "
            f"--protocols={','.join(asked.protocols)}"
        )
    if measured_by not in that_take("none", ranking().values()) and images.eval is None:
        raise ConfigError(
            f"--best_metric={asked.best_metric} cannot be measured: no labelled images "
            "are read; name --probe_split and --eval_split and a protocol that scores "
            "labels such as knn, or choose by --best_metric=rankme"
        )
    of_other = "" if images.same_data else f"{conditions.data.source}:"
    return BestCheckpoint(
        folder,
        metric=asked.best_metric,
        split=of_other + asked.eval_split,
    )


def by_valid_loss(
    asked: EvaluationConfig, images: Splits, folder: RunFolder
) -> BestCheckpoint:
    """Return the keeper of the checkpoint with the lowest loss on held-out images.

    Raises:
        ConfigError: No images are held out.
    """
    if images.held is None:
        raise ConfigError(
            f"--best_metric={VALID_LOSS} cannot be measured: no images of the run are "
            "held out; pretrain with --valid_size=0.05"
        )
    return BestCheckpoint(
        folder,
        metric=VALID_LOSS,
        split=images.held.split,
    )


def require_classifier(asked: EvaluationConfig, present: bool) -> None:
    """Refuse ``supervised`` for a run that has no classifier of its own."""
    if asked.best_metric == OWN_CLASSIFIER and not present:
        raise ConfigError(
            f"--best_metric={OWN_CLASSIFIER} cannot be measured: the run has no "
            "classifier of its own, or not of these images; choose a protocol such as "
            "--best_metric=knn"
        )


def value_of(
    metric: str,
    results: Mapping[str, Mapping[str, Any]],
    others: Mapping[str, Any],
) -> float:
    """Return the metric of the run itself (never of a baseline).

    Raises:
        ConfigError: The metric was not measured.
    """
    if metric in others.get("held_out", {}):
        return float(others["held_out"][metric])
    protocol = ranking().get(metric, "")
    if protocol in others:
        return float(others[protocol][PROTOCOLS[protocol].ranks[metric]])
    names = (f"SimCLR h/{metric}", *(n for n in results if n.endswith(f"/{metric}")))
    for name in names:
        if name in results and "weights" in results[name]:
            return float(results[name]["value"])
    raise ConfigError(
        f"--best_metric={metric} was not measured; there are "
        f"{', '.join(dict.fromkeys(n.split('/')[-1] for n in results)) or 'none'}"
    )
