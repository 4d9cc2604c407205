"""A split of a data set: what it holds, and its images as arrays or as records."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_tf2.data import (
    image_files,
    pixel_range,
    prepare,
    records,
    sources,
    split_names,
)
from simclr_tf2.data.pixel_range import Seen
from simclr_tf2.data.sources import Shape
from simclr_tf2.errors import ConfigError

MEMORY_LIMIT = 2 << 30  # bytes of pixels, or of encoded images, held in memory
SAMPLE = 64  # [ours] records that say which values images of 16 bits have
ENCODED_CHANNELS = (1, 3, 4)  # what image files can be decoded to


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images of one split, in a fixed order: the index of an image is its place.

    Attributes:
        name: The data set, as given: a TFDS name, a folder, a file.
        split: The split, as given ("train[:80%]").
        num_examples: Number of images.
        num_classes: Number of classes the data set has; None when it has no labels.
        class_names: Their names, in label order.
        has_labels: Whether images of this very split carry one label each (not -1).
        image_shape: (height, width, channels); None where sizes vary.
        source: The images.
        label_shape: () for one label each, (l,) for l yes-or-no labels (1, 0, or -1
            where it is not known).
        pixel_range: Values of black and white, decided (``pixel_range.resolve``).
        pixel_bytes: Bytes of a decoded value: 1, or 2 where images have more bits.
        seen: Values of the images as they are stored, where they were looked at.
    """

    name: str
    split: str
    num_examples: int
    num_classes: int | None
    class_names: tuple[str, ...]
    has_labels: bool
    image_shape: Shape
    source: sources.Source = dataclasses.field(repr=False, compare=False)
    label_shape: tuple[int, ...] = ()
    pixel_range: str = "auto"
    pixel_bytes: int = 1
    seen: Seen | None = dataclasses.field(default=None, compare=False)

    @property
    def fits_in_memory(self) -> bool:
        """Whether ``arrays`` works: images of one size, at most MEMORY_LIMIT bytes."""
        size = self.decoded_bytes
        return size is not None and size <= MEMORY_LIMIT

    @property
    def decoded_bytes(self) -> int | None:
        """Bytes of all pixels; None where sizes vary."""
        height, width, channels = self.image_shape
        if height is None or width is None:
            return None
        return self.num_examples * height * width * channels * self.pixel_bytes

    def arrays(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Decode all images and labels once and keep them (read-only views).

        Returns:
            uint8 or uint16 [num_examples, h, w, c] and int64 [num_examples], or None
            when the split has no labels.

        Raises:
            ConfigError: The sizes vary or the pixels exceed MEMORY_LIMIT.
        """
        if not self.fits_in_memory:
            raise ConfigError(
                f"{self.name}:{self.split} does not fit in memory as pixels: it needs "
                f"images of one size and at most {MEMORY_LIMIT >> 30} GiB; take a "
                "smaller --train_split"
            )
        images, labels = (np.asarray(memoryview(t)) for t in self.pixels)
        return images, labels if self.has_labels else None

    @functools.cached_property
    def pixels(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Integers [num_examples, h, w, c] and int64 labels (-1: none), on the host."""
        if isinstance(self.source, sources.ArraySource):
            return self.source.tensors
        if self.decoded_bytes is None:
            raise ConfigError(
                f"{self.name}:{self.split} has images of various sizes, which cannot "
                "be held decoded; use --cache=encoded"
            )
        decoded = self.as_dataset().map(
            lambda e: (self.source.decode(e), e["label"]),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        images, labels = _load(decoded, self.num_examples)
        return images, labels

    @functools.cached_property
    def encoded(self) -> dict[str, tf.Tensor]:
        """Every example as it is stored, one tensor [num_examples, ...] a key."""
        loaded: dict[str, tf.Tensor] = _load(self.as_dataset(), self.num_examples)
        return loaded

    @property
    def encoded_bytes(self) -> int:
        """Bytes of the images as they are stored."""
        return self.source.num_bytes

    def as_dataset(self) -> tf.data.Dataset:
        """Return a dataset of every image once, in index order, as it is stored.

        Returns:
            A dataset of {"image": as stored, "label": int64 (-1: no label), "index":
            int64}, and what else ``source.decode`` needs.
        """
        return self.source.examples()


def open_split(
    name: str,
    split: str,
    *,
    data_dir: str,
    download: bool = False,
    channels: int = 3,
    image_key: str = "image",
    label_key: str = "label",
    pixels: str = pixel_range.AUTO,
) -> Split:
    """Open a split of a TFDS data set.

    ``simclr_shapes`` is drawn on first use; another unprepared set needs ``download``.

    Args:
        name: TFDS name, with config and version if wanted ("simclr_shapes/tiny").
        split: TFDS split; slices and sums are allowed ("train[:80%]+test").
        data_dir: Folder of prepared sets.
        download: Whether an unprepared set may be downloaded.
        channels: Of the decoded images: 1, 3 or 4; the set's own where it holds
            pixels that are not encoded.
        image_key: Feature with the images.
        label_key: Feature with the labels; unless it is there, that of the set's
            ``supervised_keys``.
        pixels: ``--pixel_range``: auto, full or "LO,HI".

    Raises:
        ConfigError: Unknown set, config or split; unprepared; empty; no images.
    """
    builder = prepare.prepared_builder(name, data_dir=data_dir, download=download)
    split = split_names.spelled_as(split, builder.info.splits)
    info = split_info(builder, name, split)
    feature = require_images(builder, name, image_key)
    found_key = _label_key(builder, label_key)
    label = builder.info.features[found_key] if found_key else None
    plain = not isinstance(feature, tfds.features.Image)
    _check_channels(name, feature, channels, plain)
    shape = (feature.shape[0], feature.shape[1], channels)
    read = functools.partial(
        _as_dataset,
        builder,
        split=split,
        image_key=image_key,
        label_key=found_key,
        skip=not plain,
    )
    source: sources.Source
    seen = None
    if plain:
        mixed = not builder.info.disable_shuffling
        loaded = _load_arrays(read(), info, name, mixed=mixed)
        pixels, seen = pixel_range.of_arrays([loaded.images], pixels, name=name)
        images = pixel_range.to_pixels(loaded.images, pixels)
        source = dataclasses.replace(loaded, images=images)
    else:
        shards = records.Shards.from_info(
            builder, info, found_key, image_key, data_dir=data_dir
        )
        source = wide_pixels(
            sources.RecordSource(shards=shards, read=read, shape=shape),
            pixels,
            name=name,
            sixteen=feature.np_dtype == np.uint16,
        )
        pixels = source.pixels or pixels
    return Split(
        name=name,
        split=split,
        num_examples=info.num_examples,
        num_classes=label.num_classes if label else None,
        class_names=tuple(label.names or ()) if label else (),
        has_labels=found_key is not None and labels_known(read, split),
        image_shape=shape,
        source=source,
        pixel_range=pixels,
        pixel_bytes=pixel_bytes(source),
        seen=seen,
    )


def wide_pixels(
    source: sources.RecordSource, pixels: str, *, name: str, sixteen: bool
) -> sources.RecordSource:
    """Return the source with a range of its own where its images have 16 bits.

    The range is found from the first ``SAMPLE`` images.

    Args:
        source: Of encoded images.
        pixels: ``--pixel_range``.
        name: The data set, for messages.
        sixteen: Whether the images have 16 bits.
    """
    if not sixteen:
        natural = pixel_range.limits(pixels, np.uint8) == (0, 255)
        return source if natural else dataclasses.replace(source, pixels=pixels)
    first = source.examples().take(SAMPLE)
    found = [
        pixel_range.spread(image_files.decode_sixteen(e["image"]).numpy())
        for e in first
        if image_files.has_sixteen_bits(e["image"])
    ]
    seen = pixel_range.Seen.of_spreads(found, np.uint16)
    chosen = pixel_range.resolve(pixels, seen, name=name)
    return dataclasses.replace(source, pixels=chosen)


def pixel_bytes(source: sources.Source) -> int:
    """Return the bytes of one value of a decoded image."""
    if isinstance(source, sources.ArraySource):
        return source.images.dtype.itemsize
    return 1 if getattr(source, "pixels", None) is None else 2


def require_labels(split: Split) -> None:
    """Raise a ConfigError unless the images of ``split`` have labels."""
    if split.label_shape:
        raise ConfigError(
            f"{split.name}:{split.split} has several yes-or-no labels an image, and a "
            "classifier needs one; choose a column of the manifest with one label"
        )
    if not split.has_labels:
        raise ConfigError(
            f"{split.name}:{split.split} has no labels, which training or evaluating a "
            "classifier needs; choose a labelled split"
        )


def split_info(builder: Any, name: str, split: str) -> Any:
    """Return what TFDS knows of a split.

    Raises:
        ConfigError: The set has no such split, or no images in it.
    """
    splits = builder.info.splits
    try:
        info = splits[split]
    except Exception as error:  # TFDS: KeyError, ValueError, AssertionError
        have = ", ".join(f"{k} ({v.num_examples})" for k, v in splits.items())
        raise ConfigError(f"{name} has no split {split!r}; it has: {have}") from error
    if info.num_examples == 0:
        raise ConfigError(f"{name}:{split} holds no images; choose another split")
    return info


def require_images(builder: Any, name: str, key: str) -> Any:
    """Return the feature of that name, which has to hold images.

    Raises:
        ConfigError: There is none, or it holds no images of 8 or 16 bits.
    """
    features = builder.info.features
    found: Any = features[key] if key in features else None
    image = isinstance(found, tfds.features.Image)
    if not image and len(getattr(found, "shape", None) or ()) != 3:
        raise ConfigError(
            f"{name} has no feature `{key}` with images, only: "
            f"{', '.join(sorted(features))}; name one with --image_key or choose a "
            "data set of images"
        )
    kind = np.dtype(found.np_dtype)
    if kind.kind not in "biuf" or (image and kind not in (np.uint8, np.uint16)):
        raise ConfigError(
            f"{name} holds images of type {kind.name}; encoded images must have 8 or "
            "16 bits, and others must be numbers"
        )
    return found


def _check_channels(name: str, feature: Any, channels: int, plain: bool) -> None:
    if plain and feature.shape[2] != channels:
        raise ConfigError(
            f"{name} holds pixels of {feature.shape[2]} channels; pass "
            f"--image_channels={feature.shape[2]}"
        )
    if not plain and channels not in ENCODED_CHANNELS:
        raise ConfigError(
            f"--image_channels={channels}: the images of {name} are encoded files, "
            "which have 1, 3 or 4 channels"
        )


def _label_key(builder: Any, key: str) -> str | None:
    features = builder.info.features
    for candidate in (key, *(builder.info.supervised_keys or ())[1:2]):
        if isinstance(candidate, str) and candidate in features:
            if isinstance(features[candidate], tfds.features.ClassLabel):
                return candidate
    return None


def labels_known(read: Any, split: str) -> bool:
    """Check whether the first image of every part has a label that is not -1.

    The parts are those of ``split``.
    """
    return all(
        int(example["label"]) >= 0
        for part in split.split("+")
        for example in read(split=part).take(1)
    )


def _as_dataset(
    builder: Any, *, split: str, image_key: str, label_key: str | None, skip: bool
) -> tf.data.Dataset:
    wanted = {image_key: True, **({label_key: True} if label_key else {})}
    decoders = {image_key: tfds.decode.SkipDecoding()} if skip else {}
    with prepare.quiet_tfds():
        dataset = builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(wanted, decoders=decoders),
            # One file after the other: TFDS would mix the files otherwise.
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
    return dataset.enumerate().map(
        lambda index, example: {
            "image": example[image_key],
            "label": example[label_key] if label_key else tf.constant(-1, tf.int64),
            "index": index,
        }
    )


def _load_arrays(
    dataset: tf.data.Dataset, info: Any, name: str, *, mixed: bool
) -> sources.ArraySource:
    """Load pixels that the set stores plainly; they are held in memory."""
    height, width, _channels = dataset.element_spec["image"].shape
    if height is None or width is None:
        raise ConfigError(
            f"{name} holds pixels that are not encoded and of various sizes; images "
            "of one size are needed"
        )
    loaded = _load(dataset, info.num_examples)
    places = tuple(
        (str(part.filename), np.arange(part.skip, part.skip + part.take))
        for part in info.file_instructions
        if part.take
    )
    return sources.ArraySource(
        loaded["image"].numpy(), loaded["label"].numpy(), mixed=mixed, places=places
    )


def _load(dataset: tf.data.Dataset, num_examples: int) -> Any:
    with tf.device("/cpu:0"):  # a GPU's memory is for the model
        return dataset.batch(num_examples, drop_remainder=True).get_single_element()
