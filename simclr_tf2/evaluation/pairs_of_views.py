"""``--protocols=label_free``: measures of pairs of views, without labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2 import models
from simclr_tf2.data import pipeline
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.evaluation.baselines import random_network
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

    measured = [_encoder_of_both(network) for network in (model, random) if network]
    columns: list[list[list[np.ndarray]]] = [[[], [], [], []] for _ in measured]
    for element in views:
        for encode, parts in zip(measured, columns, strict=True):
            first, second = (encode(view) for view in element["views"])
            for part, values in zip(parts, (*first, *second), strict=True):
                part.append(values.numpy())
    found, *beside = (_label_free(parts, seed) for parts in columns)
    if beside:
        numbers = {k: v for k, v in beside[0].items() if k[:2] in ("h_", "z_")}
        found["random_encoder"] = numbers
    return {"split": split.split, "views": "two pretraining views", **found}


def _encoder_of_both(model: models.SimCLR) -> Callable:
    @tf.function
    def encode(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = model(images, training=False)
        return outputs["representation"], outputs["projection"]

    encoder: Callable = encode
    return encoder


def _label_free(parts: list[list[np.ndarray]], seed: int) -> dict[str, Any]:
    h, z, h_other, z_other = (np.concatenate(part) for part in parts)
    return label_free(h, z, h_other=h_other, z_other=z_other, seed=seed)
