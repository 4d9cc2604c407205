"""``--protocols=label_free``: measures of pairs of views, without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2 import models
from simclr_tf2.data import pipeline
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.evaluation.baselines import random_network
from simclr_tf2.evaluation.features.extraction import Runner, encoded_batches
from simclr_tf2.evaluation.features.extractor import network_runner
from simclr_tf2.evaluation.inputs import Splits
from simclr_tf2.evaluation.measured import Measured
from simclr_tf2.evaluation.neighbour_overlap import nearest_others
from simclr_tf2.evaluation.protocols.label_free import label_free
from simclr_tf2.evaluation.subject import Conditions, Subject

IMAGES = 2000  # [ours] pairs of views
COMPARED_IMAGES = 2000  # [ours] whose neighbours are recorded


def measure(subject: Subject) -> Measured:
    """Measure spread, rank and alignment of h and z on pairs of views.

    Returns:
        Under ``label_free``: the result of ``protocols.label_free`` with the split, and
        the same measures of a random network under ``random_encoder``. Also the
        nearest other images of each image, by h.
    """
    conditions, split = subject.conditions, unlabelled_split(subject.conditions.images)
    random = random_network(conditions) if conditions.evaluation.baselines else None
    record = measure_pairs(conditions, subject.model, random=random)
    h = conditions.features_of(subject.keep)(subject.encoder, split, COMPARED_IMAGES)
    return Measured(
        others={"label_free": record}, neighbours=nearest_others(h.features)
    )


def unlabelled_split(images: Splits) -> Split:
    """Return the split that ``label_free`` measures."""
    return images.eval or images.train


def measure_pairs(
    conditions: Conditions, model: models.SimCLR, *, random: models.SimCLR | None = None
) -> dict[str, Any]:
    """Measure pairs of views with a network, and with a random one.

    All replicas of this machine share the views.

    Args:
        conditions: Images, settings and seed; the images need no labels.
        model: The network in export form.
        random: The same network with random weights, measured on the same views; None:
            no random network is measured.
    """
    split, seed = unlabelled_split(conditions.images), conditions.seed
    count = min(IMAGES, split.num_examples)
    batch = min(conditions.evaluation.eval_batch_size, count)
    views = pipeline.make_pretrain_dataset(
        split,
        pipeline.plan_batches(split, batch),
        ViewSpec.for_pairs(conditions.augmentation, conditions.data.image_size),
        seed=seed + 1,
    ).take(count // batch)

    runners = [
        network_runner(network, _h_and_z, conditions.strategy)
        for network in (model, random)
        if network
    ]
    columns: list[list[list[np.ndarray]]] = [[[], []] for _ in runners]
    for element in views:
        for runner, parts in zip(runners, columns, strict=True):
            encoded = _encoded(runner, element["views"])
            for part, values in zip(parts, encoded, strict=True):
                part.append(values)
    dim = model.projection_head.inputs[0].shape[-1]
    found, *beside = (_label_free(parts, dim, seed) for parts in columns)
    if beside:
        numbers = {k: v for k, v in beside[0].items() if k[:2] in ("h_", "z_")}
        found["random_encoder"] = numbers
    return {"split": split.split, "views": "two pretraining views", **found}


def _h_and_z(model: models.SimCLR, images: tf.Tensor) -> tf.Tensor:
    """Return h and z side by side, ``[b, d + k]``."""
    outputs = model(images, training=False)
    return tf.concat([outputs["representation"], outputs["projection"]], axis=-1)


def _encoded(runner: Runner, views: Sequence[tf.Tensor]) -> list[np.ndarray]:
    """Run the network on each view ``[b, s, s, c]``."""
    batches = encoded_batches(runner, ({"image": view} for view in views))
    return [values for values, _ in batches]


def _label_free(parts: list[list[np.ndarray]], dim: int, seed: int) -> dict[str, Any]:
    """Measure h, the first ``dim`` columns of both views, and z, the others."""
    first, second = (np.concatenate(part) for part in parts)
    (h, z), (h_other, z_other) = (np.split(x, [dim], axis=1) for x in (first, second))
    return label_free(h, z, h_other=h_other, z_other=z_other, seed=seed)
