"""Sets of tensorflow-datasets with several labels an image: which classes it shows."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_tf2.config import DataConfig
from simclr_tf2.data import datasets, prepare, records, sources, split_names
from simclr_tf2.data.datasets import Split

SURE = "labels_no_difficult"  # VOC: of the labels, those not marked difficult


def has_several_labels(data: DataConfig) -> bool:
    """Return whether ``label_key`` of a prepared TFDS set is a list of classes."""
    builder = prepare.prepared_builder(
        data.dataset, data_dir=data.data_dir, download=data.download
    )
    features = builder.info.features
    found = features[data.label_key] if data.label_key in features else None
    return isinstance(getattr(found, "feature", None), tfds.features.ClassLabel)


def open_multi_label(data: DataConfig, split: str) -> Split:
    """Open a split with the classes an image shows, int64 [l] of 1, 0 and -1.

    -1 where all objects of the class are marked difficult, as VOC's own evaluation
    ignores them.

    Args:
        data: ``dataset`` with a list of classes at ``label_key``.
        split: A TFDS split.

    Raises:
        ConfigError: The set is not prepared, or has no such split.
    """
    builder = prepare.prepared_builder(
        data.dataset, data_dir=data.data_dir, download=data.download
    )
    split = split_names.spelled_as(split, builder.info.splits)
    info = datasets.split_info(builder, data.dataset, split)
    feature = datasets.require_images(builder, data.dataset, data.image_key)
    label = builder.info.features[data.label_key].feature
    shape = (None, None, data.image_channels)
    read = functools.partial(
        _read_presence,
        builder,
        split,
        data.image_key,
        data.label_key,
        label.num_classes,
    )
    source = datasets.wide_pixels(
        sources.RecordSource(
            shards=records.Shards.from_info(
                builder, info, None, data.image_key, data_dir=data.data_dir
            ),
            read=read,
            shape=shape,
            reading=f"classes shown of {data.label_key}",
        ),
        data.pixel_range,
        name=data.dataset,
        sixteen=feature.np_dtype == np.uint16,
    )
    return Split(
        name=data.dataset,
        split=split,
        num_examples=info.num_examples,
        num_classes=label.num_classes,
        class_names=tuple(label.names),
        has_labels=False,
        image_shape=shape,
        source=source,
        label_shape=(label.num_classes,),
        pixel_range=source.pixels or data.pixel_range,
        pixel_bytes=datasets.pixel_bytes(source),
    )


def _read_presence(
    builder: Any, split: str, image_key: str, key: str, count: int
) -> tf.data.Dataset:
    sure_key = SURE if SURE in builder.info.features else key
    wanted = {image_key: True, key: True, sure_key: True}
    decoders = {image_key: tfds.decode.SkipDecoding()}
    with prepare.quiet_tfds():
        dataset = builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(wanted, decoders=decoders),
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )

    def presence(labels: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(tf.one_hot(labels, count, True, False), axis=0)

    def example(index: tf.Tensor, stored: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        sure = tf.cast(presence(stored[sure_key]), tf.int64)
        some = tf.cast(presence(stored[key]), tf.int64)
        return {"image": stored[image_key], "label": 2 * sure - some, "index": index}

    return dataset.enumerate().map(example)
