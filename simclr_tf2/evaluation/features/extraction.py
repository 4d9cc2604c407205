"""Features of a whole split: one pass, every example once, order kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2.errors import ConfigError

logger = logging.getLogger(__name__)

HOST = "/cpu:0"  # where batches are cut and padded

Encode = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class Features:
    """Representations and labels of one split.

    Attributes:
        features: float32 ``[n, d]``, all finite.
        labels: int64 ``[n]``; -1 where an image has no label. Or ``[n, l]``, several
            yes-or-no labels an image: 1, 0, and -1 where it is not known.
        name: The split they come from, for messages and results ("train[:80%]").
        scaler: What already scaled the features, "" if nothing did. The evaluators
            standardise only features that nothing has scaled.
    """

    features: np.ndarray
    labels: np.ndarray
    name: str = ""
    scaler: str = ""

    def __post_init__(self) -> None:
        features = np.asarray(self.features, np.float32)
        labels = np.asarray(self.labels, np.int64)
        fits = labels.ndim in (1, 2) and labels.shape[:1] == features.shape[:1]
        if features.ndim != 2 or not fits:
            raise ConfigError(
                "features must be [n, d] with labels [n] or [n, l]. "
                f"Received: {features.shape} and {labels.shape}."
            )
        _require_finite(features, self.name)
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Runner:
    """A compiled encoder, on one device or on all replicas of this machine.

    Attributes:
        encode: ``[b, s, s, c]`` -> float32 ``[b, d]``, an array of the host; b is a
            multiple of ``replicas``.
        replicas: Number of replicas that share a batch.
    """

    encode: Callable[[tf.Tensor], np.ndarray]
    replicas: int


def _require_finite(features: np.ndarray, name: str) -> None:
    if np.isfinite(features.sum(dtype=np.float64)):
        return  # a sum in float64 of finite float32 values cannot overflow
    bad = ~np.isfinite(features).all(axis=1)
    raise ConfigError(
        f"{int(bad.sum())} of {len(features)} rows of the features"
        f"{f' of {name}' if name else ''} are not finite (first: row "
        f"{int(bad.argmax())}); the encoder has diverged, use an earlier checkpoint"
    )


def extract(
    encode: Encode,
    dataset: Iterable[dict[str, Any]],
    *,
    strategy: tf.distribute.Strategy | None = None,
    limit: int | None = None,
    name: str = "",
) -> Features:
    """Run ``encode`` once over ``dataset`` and keep what the mask keeps.

    Short batches are padded to the size of the first, so one graph is traced, and
    padded rows never reach the result. Several replicas share each batch.

    Args:
        encode: ``[b, s, s, c] -> [b, d]`` in inference mode. An existing tf.function
            is called as it is (no new trace when ``extract`` is called again).
        dataset: Finite; elements ``{"image" [b, s, s, c], "label" [b], "mask" [b]}``,
            of which only the image is required (label -1, mask True).
        strategy: Where to run; None is the default device. Each worker of a
            multi-worker strategy encodes the whole dataset with its own replicas.
        limit: At most so many examples, the first ones.
        name: Name of the split, kept in the result.

    Returns:
        The features in the order of the dataset.

    Raises:
        ConfigError: Nothing to encode, a limit below 1, or features not finite.
    """
    return collect(make_runner(encode, strategy), dataset, limit=limit, name=name)


def collect(
    run: Runner, dataset: Iterable[dict[str, Any]], *, limit: int | None, name: str
) -> Features:
    """Call ``extract`` with a kept runner, so that later calls trace nothing."""
    outputs, labels = [], []
    for output, label in encoded_batches(run, dataset, limit):
        outputs.append(output)
        labels.append(label)
    return _joined(outputs, labels, name)


def encoded_batches(
    run: Runner, dataset: Iterable[dict[str, Any]], limit: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what ``extract`` gives batch by batch: features ``[b, d]`` and labels.

    The features need not be finite.
    """
    size = 0
    for image, label, mask in _batches(dataset, limit):
        size = size or -(-len(label) // run.replicas) * run.replicas
        short = -len(label) % size
        if short:
            with tf.device(HOST):
                image = tf.pad(image, [[0, short], [0, 0], [0, 0], [0, 0]])
        out = run.encode(image)
        assert len(out.shape) == 2, f"encode must return [b, d]. Received: {out.shape}."
        yield out[: len(label)][mask], label[mask]


def raw_pixels(
    dataset: Iterable[dict[str, Any]],
    *,
    limit: int | None = None,
    name: str = "",
    max_gib: float = 4.0,
) -> Features:
    """Return the images flattened to ``[n, h * w * c]`` in the range they have.

    Args:
        dataset: As for ``extract``.
        limit: At most so many examples, the first ones.
        name: Name of the split, kept in the result.
        max_gib: Refuse to hold more than so many GiB of pixels.

    Raises:
        ConfigError: No example, or more pixels than ``max_gib``.
    """
    outputs, labels, held = [], [], 0
    for image, label, mask in _batches(dataset, limit):
        pixels = np.asarray(image, np.float32).reshape(len(label), -1)[mask]
        held += pixels.nbytes
        if held > max_gib * 2**30:
            raise ConfigError(
                f"the pixel baseline of {name or 'this split'} needs more than "
                f"{max_gib:g} GiB; use fewer or smaller images, or --baselines=False"
            )
        outputs.append(pixels)
        labels.append(label[mask])
    return _joined(outputs, labels, name)


def make_runner(encode: Encode, strategy: tf.distribute.Strategy | None) -> Runner:
    """Compile ``encode``, shared among the replicas of ``strategy`` if there is one.

    The replicas of this worker share its batches. Their outputs are copied to the host
    and joined there: an operation outside of ``strategy.run`` would first move all
    parts to one device. There is no collective op: those are tied to one shape and to
    all workers, and an evaluation may run on one worker alone.
    """
    if not isinstance(encode, tf.types.experimental.PolymorphicFunction):
        encode = tf.function(encode)
    if strategy is None:
        return Runner(lambda image: np.asarray(encode(image), np.float32), 1)

    replicas = len(strategy.extended.worker_devices)

    @tf.function
    def on_replicas(image: Any) -> Any:
        return strategy.run(encode, args=(image,))

    def run(image: tf.Tensor) -> np.ndarray:
        share = len(image) // replicas

        def part(context: Any) -> tf.Tensor:
            start = context.replica_id_in_sync_group % replicas * share
            with tf.device(HOST):
                return image[start : start + share]

        out = on_replicas(strategy.experimental_distribute_values_from_function(part))
        parts = strategy.experimental_local_results(out)
        return np.concatenate([np.asarray(part, np.float32) for part in parts])

    return Runner(run, replicas)


def _batches(
    dataset: Iterable[dict[str, Any]], limit: int | None
) -> Iterator[tuple[tf.Tensor, np.ndarray, np.ndarray]]:
    """Yield image, label and mask of each batch, until ``limit`` examples were kept."""
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be 1 or more. Received: {limit}.")
    kept = 0
    for element in dataset:
        image = tf.convert_to_tensor(element["image"])
        count = len(image)
        label = np.asarray(element.get("label", np.full(count, -1)), np.int64)
        mask = np.array(element.get("mask", np.ones(count)), bool)
        if limit is not None:
            mask &= np.cumsum(mask) <= limit - kept
        kept += int(mask.sum())
        if mask.any():
            yield image, label, mask
        if limit is not None and kept >= limit:
            return


def _joined(outputs: list, labels: list, name: str) -> Features:
    if not outputs:
        raise ConfigError(f"no image to evaluate in {name or 'the data set'}")
    return Features(np.concatenate(outputs), np.concatenate(labels), name)
