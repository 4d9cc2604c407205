"""The files that an evaluation writes for ``--compare_with``."""

from __future__ import annotations

import dataclasses
from typing import Any

from simclr_tf2.config import DataConfig
from simclr_tf2.data import identity
from simclr_tf2.evaluation.inputs import Splits, shared_images
from simclr_tf2.evaluation.measured import Measured
from simclr_tf2.evaluation.pairs_of_views import COMPARED_IMAGES, unlabelled_split
from simclr_tf2.evaluation.subject import Conditions
from simclr_tf2.results import label_free_comparison
from simclr_tf2.results import predictions as kept_predictions
from simclr_tf2.results.worth import worth
from simclr_tf2.run_paths import RunFolder


def facts_of_splits(splits: Splits) -> dict[str, Any]:
    """Return the record of images that are in the training and in the test split."""
    shared = shared_images(splits)
    return {"images_in_both_splits": shared} if shared else {}


def with_worth(measured: Measured, trained_on: DataConfig) -> Measured:
    """Compare a pretrained network with the other rows, as ``results.worth`` does.

    Args:
        measured: What was found, with predictions.
        trained_on: Images that the network was trained on.
    """
    known = trained_on.source if trained_on.by_name else "your images"
    what = f"pretraining on {known}"
    found = worth(measured.predictions, measured.labels, what=what)
    return dataclasses.replace(measured, worth=found)


def keep_predictions(
    conditions: Conditions, folder: RunFolder, measured: Measured
) -> None:
    """Write the files that ``--compare_with`` reads: predictions, neighbours of h."""
    if measured.neighbours is not None:
        label_free_comparison.save(
            folder.neighbours,
            measured.neighbours,
            label_free_images(conditions),
        )
    if measured.predictions:
        assert measured.labels is not None
        kept_predictions.save_predictions(
            folder.predictions,
            measured.predictions,
            measured.labels,
            tested_images(conditions),
        )


def tested_images(conditions: Conditions) -> dict[str, Any]:
    """Return the identity of the test images, as recorded with predictions."""
    _, tested = conditions.images.labelled
    return identity.images_of(tested, conditions.limits[1])


def label_free_images(conditions: Conditions) -> dict[str, Any]:
    """Return the identity of the images whose neighbours are recorded."""
    return identity.images_of(unlabelled_split(conditions.images), COMPARED_IMAGES)
