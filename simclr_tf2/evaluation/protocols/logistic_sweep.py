"""L2-regularised logistic regression with the penalty chosen on validation images."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from simclr_tf2.evaluation.classifiable import all_classes, require_classifiable
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.solvers.penalty_sweep import (
    LAMBDAS,
    VALIDATION_SHARE,
    hold_out,
    part_of,
    sweep,
)

logger = logging.getLogger(__name__)


def logreg_sweep(train: Features, test: Features, *, seed: int) -> dict[str, Any]:
    """Run ``lbfgs_logistic`` with a class-balanced fifth of train for validation.

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
    classes = np.unique(train.labels)
    chosen_from = f"a class-balanced {VALIDATION_SHARE:.0%} of train"
    kept, kept_out = hold_out(train.labels, seed=seed)
    return sweep(
        [part_of(train, kept, classes)],
        [part_of(train, kept_out, classes)],
        test,
        classes=(classes, all_classes(train, test)),
        measure="top1",
        lambdas=LAMBDAS,
    ) | {"validation": chosen_from, "scaler": train.scaler, "seed": seed}
