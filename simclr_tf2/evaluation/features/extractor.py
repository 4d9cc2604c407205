"""Features of a split under an encoder, computed once and kept in the run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2 import augmentations, distribution
from simclr_tf2.augmentations import policy
from simclr_tf2.config import Config
from simclr_tf2.data import pipeline
from simclr_tf2.data.datasets import Split
from simclr_tf2.evaluation.features.cache import FeatureCache, digest_of_weights
from simclr_tf2.evaluation.features.extraction import Features, encoded_batches, extract
from simclr_tf2.run_paths import RunFolder

# An encoder, a split, at most so many images -> features.
FeaturesOf = Callable[[keras.Model, Split, int | None], Features]


@dataclass(frozen=True)
class View:
    """The preparation of the images of a split for an encoder.

    Attributes:
        dataset: A split, at most so many images -> what ``extract`` reads.
        key: What the view depends on beside the images, ready for JSON.
    """

    dataset: Callable[[Split, int | None], tf.data.Dataset]
    key: Callable[[Split], dict[str, Any]]


def eval_view(config: Config) -> View:
    """Return the view of an evaluation: the centre (``augmentations.eval_view``)."""
    key = {"view": list(config.data.height_width)}
    return _view(config, augmentations.eval_view, key)


def squashed_view(config: Config) -> View:
    """Return the whole image, its aspect not kept (``augmentations.squashed_view``)."""
    geometry = {
        "size": list(config.data.height_width),
        "window": "whole, squashed",
        "shorter_side_first": shorter_side_first(config),
    }
    return _view(config, augmentations.squashed_view, {"view": geometry})


def shorter_side_first(config: Config) -> int:
    """Return the shorter side after the first of two steps of a squashed view."""
    proportion = policy.eval_proportion(config.data.image_size)
    return round(min(config.data.height_width) / proportion)


def _view(
    config: Config, view_of: Callable[..., tf.Tensor], key: dict[str, Any]
) -> View:
    def dataset(split: Split, limit: int | None) -> tf.data.Dataset:
        return pipeline.make_eval_dataset(
            split,
            batch_size=config.evaluation.eval_batch_size,
            image_size=config.data.image_size,
            limit=limit,
            view_of=view_of,
        )

    return View(dataset, lambda split: key)


def make_extractor(
    config: Config, folder: Path | None, *, view: View | None = None
) -> FeaturesOf:
    """Build what extracts a split's features: on all replicas of this machine.

    Args:
        config: Whole config; the view, the batch and the devices come from it.
        folder: The run folder that keeps them under ``features/``; None keeps nothing.
        view: Of the images; None is ``eval_view``.
    """
    strategy = replicas(config)
    shown = view or eval_view(config)
    # The last encoder, and what runs it: traced once for all splits.
    placed: list[tuple[keras.Model, Callable]] = []

    def on_replicas(encoder: keras.Model) -> Callable:
        if not placed or placed[0][0] is not encoder:
            # Variables of a copy are made here, outside of the graph.
            copy = encoder if strategy is None else replicated(encoder, strategy)
            placed[:] = [
                (encoder, tf.function(lambda images: copy(images, training=False)))
            ]
        return placed[0][1]

    def make(encoder: keras.Model, split: Split, limit: int | None) -> Features:
        if folder is None:
            return extract(
                on_replicas(encoder),
                shown.dataset(split, limit),
                strategy=strategy,
                name=split.split,
            )
        key = {
            "weights": digest_of_weights(encoder),
            "outputs": encoder.name,
            "images": split.source.fingerprint,
            "limit": limit,
            "channels": config.data.image_channels,
            "compute": "float32",
            **({} if _is_first(split, limit) else {"sample": "drawn"}),
            **shown.key(split),
        }

        def compute() -> Any:
            return encoded_batches(
                on_replicas(encoder), shown.dataset(split, limit), strategy=strategy
            )

        return FeatureCache(RunFolder(folder).features).get(
            key, compute, name=split.split
        )

    return make


def _is_first(split: Split, limit: int | None) -> bool:
    """Return whether the limit takes the first images, as it once always did."""
    whole = limit is None or limit >= split.num_examples
    return whole or split.source.mixed


def replicas(config: Config) -> tf.distribute.Strategy | None:
    """Return the strategy whose replicas share an evaluation; None for one device.

    Workers of several machines evaluate each for itself: an evaluation has no
    collective op, so that it may run on one of them alone.
    """
    strategy = distribution.shared_strategy(config.distribution)
    alone = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return None if alone or strategy.num_replicas_in_sync == 1 else strategy


def replica_count(config: Config) -> int:
    """Return how many replicas compute features."""
    strategy = replicas(config)
    return 1 if strategy is None else strategy.num_replicas_in_sync


def replicated(encoder: keras.Model, strategy: tf.distribute.Strategy) -> keras.Model:
    """Copy the encoder, with its weights, to every replica of ``strategy``."""
    with strategy.scope():
        copy = keras.models.clone_model(encoder)
        copy.set_weights(encoder.get_weights())
    return copy
