"""Features of a split under an encoder, computed once and kept in the run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2 import augmentations, models
from simclr_tf2.augmentations import policy
from simclr_tf2.config import DataConfig
from simclr_tf2.data import pipeline
from simclr_tf2.data.datasets import Split
from simclr_tf2.evaluation.features.cache import FeatureCache, digest_of_weights
from simclr_tf2.evaluation.features.extraction import (
    Features,
    Runner,
    collect,
    encoded_batches,
    make_runner,
)
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


def eval_view(data: DataConfig, batch_size: int) -> View:
    """Return the view of an evaluation: the centre (``augmentations.eval_view``)."""
    key = {"view": list(data.height_width)}
    return _view(data, batch_size, augmentations.eval_view, key)


def squashed_view(data: DataConfig, batch_size: int) -> View:
    """Return the whole image, its aspect not kept (``augmentations.squashed_view``)."""
    geometry = {
        "size": list(data.height_width),
        "window": "whole, squashed",
        "shorter_side_first": shorter_side_first(data),
    }
    return _view(data, batch_size, augmentations.squashed_view, {"view": geometry})


def shorter_side_first(data: DataConfig) -> int:
    """Return the shorter side after the first of two steps of a squashed view."""
    proportion = policy.eval_proportion(data.image_size)
    return round(min(data.height_width) / proportion)


def _view(
    data: DataConfig,
    batch_size: int,
    view_of: Callable[..., tf.Tensor],
    key: dict[str, Any],
) -> View:
    def dataset(split: Split, limit: int | None) -> tf.data.Dataset:
        return pipeline.make_eval_dataset(
            split,
            batch_size=batch_size,
            image_size=data.image_size,
            limit=limit,
            view_of=view_of,
        )

    return View(dataset, lambda split: key)


def make_extractor(
    devices: tf.distribute.Strategy,
    folder: Path | None,
    *,
    view: View,
    channels: int,
) -> FeaturesOf:
    """Build what extracts a split's features: on all replicas of this machine.

    Args:
        devices: The strategy of the run.
        folder: The run folder that keeps them under ``features/``; None keeps nothing.
        view: Of the images.
        channels: Of the images.
    """
    # The last encoder, and what runs it: traced once for all splits.
    placed: list[tuple[keras.Model, Runner]] = []

    def runner_of(encoder: keras.Model) -> Runner:
        if not placed or placed[0][0] is not encoder:
            run = network_runner(encoder, _in_inference_mode, devices)
            placed[:] = [(encoder, run)]
        return placed[0][1]

    def make(encoder: keras.Model, split: Split, limit: int | None) -> Features:
        if folder is None:
            return collect(
                runner_of(encoder),
                view.dataset(split, limit),
                limit=None,
                name=split.split,
            )
        key = {
            "weights": digest_of_weights(encoder),
            "outputs": encoder.name,
            "images": split.source.fingerprint,
            "limit": limit,
            "channels": channels,
            "compute": "float32",
            **({} if _is_first(split, limit) else {"sample": "drawn"}),
            **view.key(split),
        }

        def compute() -> Any:
            return encoded_batches(runner_of(encoder), view.dataset(split, limit))

        return FeatureCache(RunFolder(folder).features).get(
            key, compute, name=split.split
        )

    return make


def _is_first(split: Split, limit: int | None) -> bool:
    """Return whether the limit takes the first images, as it once always did."""
    whole = limit is None or limit >= split.num_examples
    return whole or split.source.mixed


def replicas(strategy: tf.distribute.Strategy) -> tf.distribute.Strategy | None:
    """Return the strategy whose replicas share an evaluation; None for one device.

    Workers of several machines evaluate each for itself: an evaluation has no
    collective op, so that it may run on one of them alone.
    """
    alone = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return None if alone or strategy.num_replicas_in_sync == 1 else strategy


def replica_count(strategy: tf.distribute.Strategy) -> int:
    """Return how many replicas compute features."""
    shared = replicas(strategy)
    return 1 if shared is None else shared.num_replicas_in_sync


def replicated(network: keras.Model, strategy: tf.distribute.Strategy) -> keras.Model:
    """Copy a network, with its weights, to every replica of ``strategy``.

    A ``SimCLR`` model is copied in export form: float32.
    """
    with strategy.scope():
        if isinstance(network, models.SimCLR):
            return models.export_copy(network)
        copy = keras.models.clone_model(network)
        copy.set_weights(network.get_weights())
    return copy


def network_runner(
    network: keras.Model,
    call: Callable[[Any, tf.Tensor], tf.Tensor],
    devices: tf.distribute.Strategy,
) -> Runner:
    """Compile a network for all replicas of this machine.

    Args:
        network: Made outside of the scope of ``devices``; several replicas get copies
            with the weights that it has now.
        call: (network, images ``[b, s, s, c]``) -> ``[b, d]`` in inference mode.
        devices: The strategy of the run.
    """
    strategy = replicas(devices)
    placed = network if strategy is None else replicated(network, strategy)
    return make_runner(lambda images: call(placed, images), strategy)


def _in_inference_mode(network: keras.Model, images: tf.Tensor) -> tf.Tensor:
    return network(images, training=False)
