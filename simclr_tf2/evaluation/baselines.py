"""Features to compare with: a random encoder, the pixels, other trained encoders."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import keras
import numpy as np

from simclr_tf2 import models
from simclr_tf2.config import DataConfig
from simclr_tf2.evaluation import other_weights, representations
from simclr_tf2.evaluation.features.extraction import Features, raw_pixels
from simclr_tf2.evaluation.pca import pca256
from simclr_tf2.evaluation.representations import Representation
from simclr_tf2.evaluation.subject import Conditions
from simclr_tf2.results.rows import PIXELS_ROW

logger = logging.getLogger(__name__)


Rows = tuple[Features, Features]  # of the probe and the evaluation split


Baselines = dict[str, dict[str, Rows]]  # name of a representation -> row -> features


PIXELS_GIB = 4.0  # [ours] the PCA baseline is left out above


def baseline_rows(conditions: Conditions) -> Baselines:
    """Compute the features of the other rows: random encoder, pixels, ``--baseline``.

    Returns:
        Representation that a protocol reads -> rows of features of the same view.
    """
    chosen = representations.chosen(conditions.evaluation, conditions.data)
    of_h = any(part.name == "h" for part in chosen) and conditions.images.eval
    if conditions.evaluation.baseline and not of_h:
        logger.warning(
            "--baseline=%s adds no row: no protocol that reads h is measured on "
            "labelled images",
            ",".join(conditions.evaluation.baseline),
        )
    if not (chosen and conditions.images.eval):
        return {}
    found: Baselines = {part.name: {} for part in chosen}
    if conditions.evaluation.baselines:
        encoder = random_encoder(conditions)
        for part in chosen:
            rows = found[part.name]
            rows[part.random_row] = rows_of(conditions, part, encoder)
            pixels = _pixel_features(conditions, part)
            if pixels is not None:
                rows[PIXELS_ROW] = pixels
    for part in chosen:
        if part.name == "h":  # other features are cut out of a network of ours
            for source in conditions.evaluation.baseline:
                encoder = open_baseline(source, conditions.data)
                found[part.name][source] = rows_of(conditions, part, encoder)
    return found


def open_baseline(source: str, data: DataConfig) -> keras.Model:
    """Open the encoder of a ``--baseline`` for these images.

    Raises:
        ConfigError: It cannot be opened, or takes other images.
    """
    return other_weights.open_encoder(
        source,
        image_size=data.height_width,
        channels=data.image_channels,
        download=data.download,
    )


def random_encoder(conditions: Conditions) -> keras.Model:
    """Build the encoder of ``random_network``, which shows the architecture alone."""
    return models.build_encoder(random_network(conditions).backbone)


def random_network(conditions: Conditions) -> models.SimCLR:
    """Build the network of the run with fresh weights and its projection head.

    The last gamma of each residual block is 1. Training starts from 0, where a network
    passes almost nothing of its 3x3 convolutions to h.
    """
    keras.utils.set_random_seed(conditions.seed + 1)
    fresh = models.build_simclr(
        conditions.model,
        image_size=conditions.data.image_size,
        channels=conditions.data.image_channels,
        export=True,
    )
    models.open_residual_branches(fresh.backbone)
    return fresh


def rows_of(
    conditions: Conditions,
    part: Representation,
    encoder: keras.Model,
    keep: Path | None = None,
) -> Rows:
    """Return the features of the probe and the evaluation split for one view.

    Args:
        conditions: Images, settings and devices.
        part: The features and their view.
        encoder: Images -> h.
        keep: Folder of the cached features; None: they are not cached.
    """
    make = conditions.features_of(keep, part.view)
    network = representations.network_of(part.name, conditions.data, encoder)
    train, test = conditions.images.labelled
    probe_limit, eval_limit = conditions.limits
    return make(network, train, probe_limit), make(network, test, eval_limit)


def _pixel_features(conditions: Conditions, part: Representation) -> Rows | None:
    limited = list(zip(conditions.images.labelled, conditions.limits, strict=True))
    counts = [
        min(split.num_examples, limit or split.num_examples) for split, limit in limited
    ]
    data = conditions.data
    values = data.image_channels * math.prod(data.height_width)
    size = max(counts) * values * np.dtype(np.float32).itemsize
    if size > PIXELS_GIB * 2**30:
        logger.info("PCA of pixels is left out: it would hold %.1f GiB", size / 2**30)
        return None
    raw = [
        raw_pixels(
            part.view.dataset(split, limit), name=split.split, max_gib=PIXELS_GIB
        )
        for split, limit in limited
    ]
    return pca256(raw[0], raw[1], seed=conditions.seed)
