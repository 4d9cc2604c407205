"""Features without training: a random encoder and the pixels themselves."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import keras
import numpy as np

from simclr_tf2 import models
from simclr_tf2.config import Config
from simclr_tf2.evaluation import representations
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.evaluation.features.extraction import Features, raw_pixels
from simclr_tf2.evaluation.inputs import Splits, limits
from simclr_tf2.evaluation.pca import pca256
from simclr_tf2.evaluation.representations import Representation
from simclr_tf2.results.rows import PIXELS_ROW

logger = logging.getLogger(__name__)


Rows = tuple[Features, Features]  # of the probe and the evaluation split


Baselines = dict[str, dict[str, Rows]]  # name of a representation -> row -> features


PIXELS_GIB = 4.0  # [ours] the PCA baseline is left out above


def baseline_rows(config: Config, splits: Splits) -> Baselines:
    """Measure features without training: of a random encoder and of pixels.

    Returns:
        For each representation that a protocol reads, rows of the same view.
    """
    chosen = representations.chosen(config)
    if not (config.evaluation.baselines and chosen and splits.eval):
        return {}
    encoder = random_encoder(config)
    found: Baselines = {}
    for part in chosen:
        rows = {part.random_row: rows_of(config, splits, part, encoder)}
        pixels = _pixel_features(config, splits, part)
        if pixels is not None:
            rows[PIXELS_ROW] = pixels
        found[part.name] = rows
    return found


def random_encoder(config: Config) -> keras.Model:
    """Build the encoder of ``random_network``: what the architecture alone gives."""
    return models.build_encoder(random_network(config).backbone)


def random_network(config: Config) -> models.SimCLR:
    """Build the network of the run with fresh weights and its projection head.

    The last gamma of each residual block is 1. Training starts from 0, where a network
    passes almost nothing of its 3x3 convolutions to h.
    """
    keras.utils.set_random_seed(config.seed + 1)
    fresh = models.build_simclr(
        config.model,
        image_size=config.data.image_size,
        channels=config.data.image_channels,
        export=True,
    )
    models.open_residual_branches(fresh.backbone)
    return fresh


def rows_of(
    config: Config,
    splits: Splits,
    part: Representation,
    encoder: keras.Model,
    keep: Path | None = None,
) -> Rows:
    """Return the features of the probe and the evaluation split for one view.

    Args:
        config: Whole config.
        splits: Opened splits.
        part: Which features of which view.
        encoder: Images -> h.
        keep: The folder that keeps them; None keeps nothing.
    """
    make = extractor.make_extractor(config, keep, view=part.view)
    network = representations.network_of(part.name, config, encoder)
    assert splits.probe is not None and splits.eval is not None
    probe_limit, eval_limit = limits(config)
    return (
        make(network, splits.probe, probe_limit),
        make(network, splits.eval, eval_limit),
    )


def _pixel_features(
    config: Config, splits: Splits, part: Representation
) -> Rows | None:
    assert splits.probe is not None and splits.eval is not None
    counts = [
        min(split.num_examples, limit or split.num_examples)
        for split, limit in zip(
            (splits.probe, splits.eval), limits(config), strict=True
        )
    ]
    values = config.data.image_channels * math.prod(config.data.height_width)
    size = max(counts) * values * np.dtype(np.float32).itemsize
    if size > PIXELS_GIB * 2**30:
        logger.info("PCA of pixels is left out: it would hold %.1f GiB", size / 2**30)
        return None
    raw = [
        raw_pixels(
            part.view.dataset(split, limit), name=split.split, max_gib=PIXELS_GIB
        )
        for split, limit in zip(
            (splits.probe, splits.eval), limits(config), strict=True
        )
    ]
    return pca256(raw[0], raw[1], seed=config.seed)
