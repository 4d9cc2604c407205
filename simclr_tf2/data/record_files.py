"""TFRecord files of tf.Example that no TFDS has prepared, as splits."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass

import numpy as np
import tensorflow as tf

from simclr_tf2 import places
from simclr_tf2.data import (
    image_files,
    once,
    order,
    pixel_range,
    records,
    side_files,
    slices,
    split_names,
)
from simclr_tf2.data.datasets import Split, pixel_bytes, wide_pixels
from simclr_tf2.data.sources import RecordSource
from simclr_tf2.errors import ConfigError
from simclr_tf2.files import write_text

logger = logging.getLogger(__name__)

PLACEHOLDER = "{split}"


def open_record_split(
    pattern: str,
    split: str,
    *,
    data_dir: str,
    channels: int = 3,
    image_key: str = "image",
    label_key: str = "label",
    pixels: str = pixel_range.AUTO,
) -> Split:
    """Open a split of TFRecord files.

    Records are counted once; the counts are kept in ``data_dir`` until a file changes.
    A slice is drawn from all of its split, whose files may be sorted by class.

    Args:
        pattern: Of the files, with ``{split}`` where its name stands. Without it all
            files are the split ``train``.
        split: Name of a split, or slices ("train[:80%]+test").
        data_dir: Folder in which counts are kept.
        channels: Of the decoded images: 1, 3 or 4.
        image_key: Feature with the encoded image.
        label_key: Feature with an integer label; without it there are no labels.
        pixels: ``--pixel_range``: auto, full or "LO,HI".

    Raises:
        ConfigError: No file, no such feature, damaged records, no example.
    """
    names = dict.fromkeys(part.split("[")[0] for part in split.split("+"))
    shards = {
        name: _shards(pattern, name, image_key, label_key, data_dir) for name in names
    }
    sizes = {name: int(found.take.sum()) for name, (found, _) in shards.items()}
    parts = slices.resolve(split, sizes, name=pattern)
    joined = _join([_cut(shards[p.split][0], p) for p in parts])
    complete = {file for _, counted in shards.values() for file in counted.complete}
    labelled = complete >= set(joined.files)
    classes = max(counted.classes for _, counted in shards.values())
    shape = (None, None, channels)
    source = RecordSource(shards=joined, read=joined.in_order, shape=shape)
    first = next(iter(source.examples()))
    source = wide_pixels(
        source,
        pixels,
        name=pattern,
        sixteen=bool(image_files.has_sixteen_bits(first["image"])),
    )
    return Split(
        name=pattern,
        split=split,
        num_examples=sum(map(len, parts)),
        num_classes=classes or None,
        class_names=(),
        has_labels=labelled,
        image_shape=shape,
        source=source,
        pixel_range=source.pixels or pixels,
        pixel_bytes=pixel_bytes(source),
    )


def _shards(
    pattern: str, split: str, image_key: str, label_key: str, data_dir: str
) -> tuple[records.Shards, _Counted]:
    """Find all files of a split, and what is known of their records."""
    if os.path.isdir(pattern):
        remedy = side_files.reading_flag(pattern)
        raise ConfigError(f"--tfrecords={pattern} is a folder, not files: {remedy}")
    if PLACEHOLDER not in pattern and split != "train":
        raise ConfigError(
            f"--tfrecords={pattern} has no split {split!r}, only train; put {{split}} "
            "into the pattern where the name of the split stands"
        )
    files = _files(pattern, split)
    if not files:
        raise ConfigError(
            f"--tfrecords={pattern}: no file for split {split!r}; check the pattern"
        )
    features = _features(files[0])
    if image_key not in features:
        raise ConfigError(
            f"{files[0]} has no feature {image_key!r}, only: "
            f"{', '.join(sorted(features))}; name the image with --image_key"
        )
    key = label_key if features.get(label_key) == "int64_list" else None
    if label_key in features and key is None:
        once.warn(f"{pattern}: {label_key!r} is no integer label; left out")
    counted = _counted(files, key, data_dir)
    counts = counted.counts
    return (
        records.Shards(
            files=tuple(files),
            skip=np.zeros(len(files), np.int64),
            take=np.array(counts, np.int64),
            in_file=np.array(counts, np.int64),
            file_format="tfrecord",
            label_key=key,
            image_key=image_key,
            index_dir=str(places.image_index(data_dir)),
        ),
        counted,
    )


def _files(pattern: str, split: str) -> list[str]:
    """List the files of a split, by another spelling of its name if there are none."""
    usual = split_names.normalize_split(split)
    same = [s for s, u in split_names.SPLIT_NAMES.items() if u == usual]
    for name in (split, usual, *same):
        files = sorted(tf.io.gfile.glob(pattern.replace(PLACEHOLDER, name)))
        if files:
            return files
    return []


def _features(file: str) -> dict[str, str]:
    """Return feature -> kind of the first record."""
    try:
        for record in tf.data.TFRecordDataset(file).take(1).as_numpy_iterator():
            example = tf.train.Example.FromString(record)
            features = example.features.feature
            return {name: f.WhichOneof("kind") for name, f in features.items()}
    except Exception as error:
        raise ConfigError(
            f"{file} is not a TFRecord file of tf.Example: {str(error)[:120]}"
        ) from error
    raise ConfigError(f"{file} holds no record")


@dataclass(frozen=True)
class _Counted:
    """Records and labels of files; a label of -1, or none, is no label.

    Attributes:
        counts: Records of each file.
        classes: One more than the largest label; 0 without labels.
        complete: The files in which every record has a label.
    """

    counts: list[int]
    classes: int
    complete: list[str]


def _counted(files: list[str], label_key: str | None, data_dir: str) -> _Counted:
    """Count the records of all files, or load what is kept of an earlier start."""
    stats = [tf.io.gfile.stat(file) for file in files]
    state = [[f, s.length, s.mtime_nsec] for f, s in zip(files, stats, strict=True)]
    key = hashlib.blake2b(json.dumps([state, label_key]).encode(), digest_size=8)
    cache = places.image_index(data_dir) / f"{key.hexdigest()}.json"
    try:
        return _Counted(**json.loads(cache.read_text()))
    except (OSError, ValueError, TypeError):
        pass
    logger.info("counting the records of %d files (once)", len(files))
    found = [_count(file, label_key) for file in files]
    counted = _Counted(
        counts=[count for count, *_ in found],
        classes=max(largest for _, largest, _ in found) + 1,
        complete=[f for f, (n, _, m) in zip(files, found, strict=True) if n == m],
    )
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_text(cache, json.dumps(asdict(counted)))
    except OSError as error:
        logger.warning("the counts could not be kept in %s: %s", cache, error)
    return counted


def _count(file: str, label_key: str | None) -> tuple[int, int, int]:
    """Count records and those with a label; return the largest label (-1: none) too.

    The order is: records, the largest label, records that have one.
    """

    def label(record: tf.Tensor) -> tf.Tensor:
        if label_key is None:
            return tf.constant(-1, tf.int64)
        wanted = {label_key: tf.io.FixedLenFeature([], tf.int64, -1)}
        return tf.io.parse_single_example(record, wanted)[label_key]

    def add(state: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        has = tf.cast(found >= 0, tf.int64)
        return tf.stack([state[0] + 1, tf.maximum(state[1], found), state[2] + has])

    dataset = tf.data.TFRecordDataset(file).map(label)
    zero = tf.constant([0, -1, 0], tf.int64)
    try:
        count, largest, labelled = dataset.reduce(zero, add).numpy()
    except tf.errors.OpError as error:
        raise ConfigError(
            f"{file} is damaged: {(error.message or '')[:120]}; make it again or leave "
            "it out of --tfrecords"
        ) from error
    return int(count), int(largest), int(labelled)


def _cut(shards: records.Shards, part: slices.Part) -> records.Shards:
    """Keep records ``part.start`` to ``part.stop`` of a split, drawn from all of it."""
    count = int(shards.take.sum())
    if len(part) == count:
        return shards
    kept = np.zeros(count, bool)
    kept[order.drawn(part.start, part.stop, count)] = True
    return dataclasses.replace(shards, kept=kept)


def _join(parts: list[records.Shards]) -> records.Shards:
    kept = None
    if any(part.kept is not None for part in parts):
        kept = np.concatenate(
            [np.ones(p.take.sum(), bool) if p.kept is None else p.kept for p in parts]
        )
    return dataclasses.replace(
        parts[0],
        files=tuple(file for part in parts for file in part.files),
        skip=np.concatenate([part.skip for part in parts]),
        take=np.concatenate([part.take for part in parts]),
        in_file=np.concatenate([part.in_file for part in parts]),
        kept=kept,
    )
