"""The classifier that a run exports: the fine-tuned one, or that of a protocol."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

import keras

from simclr_tf2 import models
from simclr_tf2.config import Config
from simclr_tf2.evaluation.inputs import Splits
from simclr_tf2.evaluation.measured import Measured
from simclr_tf2.exports.formats import NamedClassifier
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import history

logger = logging.getLogger(__name__)


def of_run(
    config: Config, splits: Splits, model: models.SimCLR, measured: Measured
) -> NamedClassifier | None:
    """Return the classifier of a run that is being concluded or measured.

    That is the fine-tuned one, or with ``--classifier_from`` the linear classifier of a
    protocol, on h.

    Args:
        config: Whole config.
        splits: Opened splits, which have the names of the classes.
        model: The network in export form.
        measured: What was measured, with the classifiers of protocols.

    Returns:
        The classifier; None if there is neither.
    """
    if config.workflow == "finetune":
        return of_network(
            model, splits.train.class_names, pixel_range=config.data.pixel_range
        )
    encoder = models.build_encoder(model.backbone)
    return of_protocol(config, splits, encoder, measured)


def of_protocol(
    config: Config, splits: Splits, encoder: keras.Model, measured: Measured
) -> NamedClassifier | None:
    """Return the classifier of ``--classifier_from``; None if nothing was asked for."""
    wanted = config.evaluation.classifier_from
    if not wanted:
        return None
    found = measured.classifiers.get(f"SimCLR h/{wanted}")
    if found is None:
        logger.warning(
            "--classifier_from=%s: no classifier is exported, because %s was not "
            "measured on labelled images",
            wanted,
            wanted,
        )
        return None
    names = history.class_names(splits.probe, splits.train)
    return NamedClassifier(
        model=models.with_linear_classifier(encoder, found.kernel, found.bias),
        class_names=tuple(names[k] if names else str(k) for k in found.labels),
        pixel_range=config.data.pixel_range,
    )


def of_network(
    model: models.SimCLR, class_names: Sequence[str], *, pixel_range: str
) -> NamedClassifier:
    """Return the fine-tuned classifier; without names of the classes, numbers."""
    classifier = models.build_classifier(model)
    count = classifier.output_shape[-1]
    known = len(class_names) == count
    names = tuple(class_names) if known else tuple(map(str, range(count)))
    return NamedClassifier(model=classifier, class_names=names, pixel_range=pixel_range)


def names_of(folder: RunFolder) -> tuple[str, ...]:
    """Return the names in ``classes.json`` of a run; empty if there are none."""
    try:
        return tuple(map(str, json.loads(folder.classes.read_text())))
    except (OSError, ValueError):
        return ()
