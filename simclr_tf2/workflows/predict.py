"""Label new images with the classifier of a fine-tuned run."""

from __future__ import annotations

import collections
import dataclasses
import logging
import posixpath
from collections.abc import Sequence
from typing import Any

import numpy as np

from simclr_tf2 import config as config_lib
from simclr_tf2 import evaluation, startup
from simclr_tf2.config import Config
from simclr_tf2.errors import ConfigError
from simclr_tf2.exports.classifier_file import Classifier, load_classifier
from simclr_tf2.exports.labels_file import Predictions, write_labels
from simclr_tf2.runs import remote_files
from simclr_tf2.workflows import reading

logger = logging.getLogger(__name__)

SHOWN = 10  # [ours] images, and classes, that are printed


def predict(config: Config) -> dict[str, Any]:
    """Write the most probable classes of each image of ``--input`` to ``--output``.

    The classifier is that of ``--checkpoint``: the folder of a run of
    ``--mode=finetune``, or a ``classifier.keras``. Without ``--output`` the first
    images are printed. Files that cannot be decoded are named in the log and left out.
    Where the images have labels of the same classes, or lie in folders with the names
    of classes, the accuracy is printed.

    Returns:
        ``images``, their number; ``classes``, how many images have each label; and
        ``accuracy`` in 0 to 1, if the true labels are known.

    Raises:
        ConfigError: A missing flag, nothing to read, or no classifier.
    """
    source = config.training.checkpoint
    for name, value in (("checkpoint", source), ("input", config.export.input)):
        if not value:
            raise ConfigError(f"--mode=predict needs --{name}")
    assert source
    classifier = load_classifier(source)
    startup.log_kernels()
    images = reading.open_input(_as_trained(config, classifier))
    model = classifier.model
    found = evaluation.extract(lambda x: model(x, training=False), images.dataset)
    predictions = most_probable(
        images.names, found.features, classifier.class_names, k=config.export.top_k
    )
    true = _true_labels(images, found.labels, classifier.class_names)
    predictions = dataclasses.replace(predictions, true_labels=true)
    return _show(config, classifier, predictions)


def most_probable(
    names: Sequence[str],
    probabilities: np.ndarray,
    class_names: Sequence[str],
    *,
    k: int,
) -> Predictions:
    """Return the k most probable classes of each image, or all if there are fewer.

    Among equally probable classes the first of ``class_names`` comes first.

    Args:
        names: Of the images, ``[n]``.
        probabilities: float ``[n, classes]``.
        class_names: Names of the classes.
        k: 1 or more.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    labels = [[class_names[place] for place in row] for row in order]
    return Predictions(names, labels, np.take_along_axis(probabilities, order, axis=1))


def _as_trained(config: Config, classifier: Classifier) -> Config:
    """Take size, channels and range of the images of the classifier.

    A range that is given counts; another size or number of channels does not, which is
    logged.
    """
    given = config_lib.given_settings(config)
    own = {"image_size": classifier.image_size, "image_channels": classifier.channels}
    for name in given & set(own):
        asked = getattr(config.data, name)
        asked = config.data.height_width if name == "image_size" else asked
        if asked != own[name]:
            logger.warning(
                "--%s=%s is not read: the classifier takes images of %s",
                name,
                getattr(config.data, name),
                own[name],
            )
    pixel_range = classifier.pixel_range
    if "pixel_range" in given:
        pixel_range = config.data.pixel_range
    data = dataclasses.replace(
        config.data,
        image_size=classifier.image_size,
        image_channels=classifier.channels,
        pixel_range=pixel_range,
        manifest=None,
        tfrecords=None,
        image_dir=None,
        label_columns=(),
    )
    return dataclasses.replace(config, data=data)


def _true_labels(
    images: reading.Input, labels: np.ndarray, class_names: Sequence[str]
) -> list[str] | None:
    """Return the true class of each image; None unless all are known classes.

    The class of a file in a folder is the name of its own folder.
    """
    split = images.split
    if images.is_folder:
        folders = [posixpath.basename(posixpath.dirname(name)) for name in images.names]
        return folders if set(folders) <= set(class_names) else None
    if not split.has_labels:
        return None
    own = split.class_names or tuple(map(str, range(split.num_classes or 0)))
    true = [own[label] for label in labels]
    unknown = sorted(set(true) - set(class_names))
    if unknown:
        logger.warning(
            "%s has classes that the classifier does not know (%s): its accuracy is "
            "not measured",
            split.name,
            ", ".join(unknown[:SHOWN]),
        )
        return None
    return true


def _show(config: Config, classifier: Classifier, found: Predictions) -> dict[str, Any]:
    """Write and print the predictions; return what ``predict`` returns."""
    first = [labels[0] for labels in found.labels]
    counts = collections.Counter(first)
    output = config.export.output
    if output:
        with remote_files.written(output) as path:
            write_labels(path, found)
        print(f"{output}: labels of {len(first)} images", flush=True)
    else:
        rows = zip(found.names, found.labels, found.probabilities, strict=True)
        for name, labels, probabilities in list(rows)[:SHOWN]:
            pairs = zip(labels, probabilities, strict=True)
            said = ", ".join(f"{label} {100 * p:.1f} %" for label, p in pairs)
            print(f"{name}: {said}")
        if len(first) > SHOWN:
            print(f"and {len(first) - SHOWN:,} more; --output=labels.csv writes all")
    shown = ", ".join(f"{label} {count}" for label, count in counts.most_common(SHOWN))
    more = len(counts) - SHOWN
    print(f"images per label: {shown}{f' and {more} more' if more > 0 else ''}")
    result: dict[str, Any] = {"images": len(first), "classes": dict(counts)}
    if found.true_labels is not None:
        right = np.mean([a == b for a, b in zip(first, found.true_labels, strict=True)])
        result["accuracy"] = float(right)
        print(f"accuracy: {100 * right:.1f} % of {len(first):,} labelled images")
    return result
