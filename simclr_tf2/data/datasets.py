"""A split of a data set: what it holds, and its images as arrays or as records."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_tf2.config import ConfigError
from simclr_tf2.data import prepare, records

MEMORY_LIMIT = 2 << 30  # bytes of pixels, or of encoded images, held in memory


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images of one split, in a fixed order: the index of an image is its place.

    Attributes:
        name: TFDS name, as given.
        split: TFDS split, as given ("train[:80%]").
        num_examples: Number of images.
        num_classes: Number of classes the data set has; None when it has no labels.
        class_names: Their names, in label order.
        has_labels: Whether images of this very split carry labels (not all -1).
        image_shape: (height, width, 3); None where sizes vary.
        shards: The files and which of their records belong to the split.
        label_key: Feature that holds the label, or None.
    """

    name: str
    split: str
    num_examples: int
    num_classes: int | None
    class_names: tuple[str, ...]
    has_labels: bool
    image_shape: tuple[int | None, int | None, int]
    shards: records.Shards = dataclasses.field(repr=False, compare=False)
    label_key: str | None = dataclasses.field(repr=False, compare=False)
    builder: Any = dataclasses.field(repr=False, compare=False)

    @property
    def fits_in_memory(self) -> bool:
        """Whether ``arrays`` works: images of one size, at most MEMORY_LIMIT bytes."""
        height, width, channels = self.image_shape
        if height is None or width is None:
            return False
        return self.num_examples * height * width * channels <= MEMORY_LIMIT

    def arrays(self) -> tuple[np.ndarray, np.ndarray | None]:
        """All images and labels, decoded once and kept (read-only views).

        Returns:
            uint8 [num_examples, h, w, 3] and int64 [num_examples], or None when the
            split has no labels.

        Raises:
            ConfigError: The sizes vary or the pixels exceed MEMORY_LIMIT.
        """
        images, labels = (np.asarray(memoryview(t)) for t in self.pixels)
        return images, labels if self.has_labels else None

    @functools.cached_property
    def pixels(self) -> tuple[tf.Tensor, tf.Tensor]:
        """uint8 [num_examples, h, w, 3] and int64 [num_examples] (-1: no label)."""
        if not self.fits_in_memory:
            raise ConfigError(
                f"{self.name}:{self.split} does not fit in memory as pixels: it needs "
                f"images of one size and at most {MEMORY_LIMIT >> 30} GiB; take a "
                "smaller --train_split"
            )
        return _load(
            self.as_dataset().map(
                lambda e: (records.decode(e["image"], self.image_shape), e["label"]),
                num_parallel_calls=tf.data.AUTOTUNE,
            ),
            self.num_examples,
        )

    @functools.cached_property
    def encoded(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Encoded images, string [num_examples], and labels int64 [num_examples]."""
        dataset = self.as_dataset().map(lambda e: (e["image"], e["label"]))
        return _load(dataset, self.num_examples)

    @functools.cached_property
    def encoded_bytes(self) -> int:
        """Size of the split's records on disk."""
        return self.shards.num_bytes()

    def as_dataset(self) -> tf.data.Dataset:
        """Every image once, in index order, still encoded.

        Returns:
            A dataset of {"image": string scalar, "label": int64 (-1: no label),
            "index": int64}.
        """
        return _as_dataset(self.builder, self.split, self.label_key)


def open_split(
    name: str, split: str, *, data_dir: str, download: bool = False
) -> Split:
    """Open a split of a TFDS data set.

    ``simclr_shapes`` is drawn on first use; another unprepared set needs ``download``.

    Args:
        name: TFDS name, with config and version if wanted ("simclr_shapes/tiny").
        split: TFDS split; slices and sums are allowed ("train[:80%]+test").
        data_dir: Folder of prepared sets.
        download: Whether an unprepared set may be downloaded.

    Raises:
        ConfigError: Unknown set, config or split; unprepared; empty; no images.
    """
    builder = prepare.prepared_builder(name, data_dir=data_dir, download=download)
    info = _split_info(builder, name, split)
    feature = _image_feature(builder, name)
    label_key = _label_key(builder)
    label = builder.info.features[label_key] if label_key else None
    return Split(
        name=name,
        split=split,
        num_examples=info.num_examples,
        num_classes=label.num_classes if label else None,
        class_names=tuple(label.names or ()) if label else (),
        has_labels=label_key is not None and _labelled(builder, split, label_key),
        image_shape=(feature.shape[0], feature.shape[1], 3),
        shards=records.Shards.from_info(builder, info, label_key),
        label_key=label_key,
        builder=builder,
    )


def require_labels(split: Split) -> None:
    """Raise a ConfigError unless the images of ``split`` have labels."""
    if not split.has_labels:
        raise ConfigError(
            f"{split.name}:{split.split} has no labels, which training or evaluating a "
            "classifier needs; choose a labelled split"
        )


def _split_info(builder: Any, name: str, split: str) -> Any:
    splits = builder.info.splits
    try:
        info = splits[split]
    except Exception as error:  # noqa: BLE001 TFDS: KeyError, ValueError, AssertionError
        have = ", ".join(f"{k} ({v.num_examples})" for k, v in splits.items())
        raise ConfigError(f"{name} has no split {split!r}; it has: {have}") from error
    if info.num_examples == 0:
        raise ConfigError(f"{name}:{split} holds no images; choose another split")
    return info


def _image_feature(builder: Any, name: str) -> tfds.features.Image:
    features = builder.info.features
    found = features["image"] if "image" in features else None
    if not isinstance(found, tfds.features.Image):
        raise ConfigError(
            f"{name} has no feature `image`, only: {', '.join(sorted(features))}; "
            "choose a data set of images"
        )
    if found.np_dtype not in (np.uint8, np.uint16):
        raise ConfigError(
            f"{name} holds images of type {found.np_dtype.__name__}; 8- or 16-bit "
            "images are needed"
        )
    return found


def _label_key(builder: Any) -> str | None:
    features = builder.info.features
    keys = ["label", *(builder.info.supervised_keys or ())[1:2]]
    for key in keys:
        if isinstance(key, str) and key in features:
            if isinstance(features[key], tfds.features.ClassLabel):
                return key
    return None


def _labelled(builder: Any, split: str, label_key: str) -> bool:
    """Whether the first image of every part of ``split`` has a label that is not -1."""
    return all(
        int(example["label"]) >= 0
        for part in split.split("+")
        for example in _as_dataset(builder, part, label_key).take(1)
    )


def _as_dataset(builder: Any, split: str, label_key: str | None) -> tf.data.Dataset:
    wanted = {"image": True, **({label_key: True} if label_key else {})}
    with prepare.quiet_tfds():
        dataset = builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(
                wanted, decoders={"image": tfds.decode.SkipDecoding()}
            ),
            # One file after the other: TFDS would mix the files otherwise.
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
    return dataset.enumerate().map(
        lambda index, example: {
            "image": example["image"],
            "label": example[label_key] if label_key else tf.constant(-1, tf.int64),
            "index": index,
        }
    )


def _load(dataset: tf.data.Dataset, num_examples: int) -> tuple[tf.Tensor, tf.Tensor]:
    with tf.device("/cpu:0"):  # a GPU's memory is for the model
        return dataset.batch(num_examples, drop_remainder=True).get_single_element()
