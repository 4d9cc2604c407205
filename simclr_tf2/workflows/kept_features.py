"""Features of a split under an encoder, computed once and kept in the run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras

from simclr_tf2 import evaluation
from simclr_tf2.config import Config
from simclr_tf2.data import pipeline
from simclr_tf2.data.datasets import Split
from simclr_tf2.evaluation import Features
from simclr_tf2.evaluation.feature_cache import FeatureCache, digest_of_weights
from simclr_tf2.evaluation.features import encoded_batches

# An encoder, a split, at most so many images -> features.
FeaturesOf = Callable[[keras.Model, Split, int | None], Features]


def features_of(config: Config, folder: Path | None) -> FeaturesOf:
    """How the encoder's features of a split are made.

    Args:
        config: Whole config; the view and the batch come from it.
        folder: The run folder that keeps them under ``features/``; None keeps nothing.
    """

    def make(encoder: keras.Model, split: Split, limit: int | None) -> Features:
        dataset = pipeline.make_eval_dataset(
            split,
            batch_size=config.evaluation.eval_batch_size,
            image_size=config.data.image_size,
            limit=limit,
        )

        def encode(images):
            return encoder(images, training=False)

        if folder is None:
            return evaluation.extract(encode, dataset, name=split.split)
        key = {
            "weights": digest_of_weights(encoder),
            "outputs": encoder.name,
            "images": split.source.fingerprint,
            "limit": limit,
            "view": list(config.data.height_width),
            "channels": config.data.image_channels,
            "compute": "float32",
        }
        return FeatureCache(folder / "features").get(
            key, lambda: encoded_batches(encode, dataset), name=split.split
        )

    return make
