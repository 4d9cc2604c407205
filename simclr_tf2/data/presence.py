"""VOC of tensorflow-datasets: which classes an image shows."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_tf2.config import ConfigError, DataConfig
from simclr_tf2.data import prepare, records, sources
from simclr_tf2.data.datasets import Split


def open_presence(data: DataConfig, split: str) -> Split:
    """A split of VOC: which classes an image shows, int64 [l] of 1, 0 and -1.

    -1 where all objects of the class are marked difficult, as its own evaluation
    ignores them.

    Raises:
        ConfigError: The set is not prepared, or has no such split.
    """
    builder = prepare.prepared_builder(
        data.dataset, data_dir=data.data_dir, download=data.download
    )
    try:
        info = builder.info.splits[split]
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{data.dataset} has no split {split!r}") from error
    label = builder.info.features["labels"].feature
    shape = (None, None, data.image_channels)
    return Split(
        name=data.dataset,
        split=split,
        num_examples=info.num_examples,
        num_classes=label.num_classes,
        class_names=tuple(label.names),
        has_labels=False,
        image_shape=shape,
        source=sources.RecordSource(
            shards=records.Shards.from_info(builder, info, None),
            read=functools.partial(_read_presence, builder, split, label.num_classes),
            shape=shape,
        ),
        label_shape=(label.num_classes,),
    )


def _read_presence(builder: Any, split: str, count: int) -> tf.data.Dataset:
    wanted = {"image": True, "labels": True, "labels_no_difficult": True}
    decoders = {"image": tfds.decode.SkipDecoding()}
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
        sure = tf.cast(presence(stored["labels_no_difficult"]), tf.int64)
        some = tf.cast(presence(stored["labels"]), tf.int64)
        return {"image": stored["image"], "label": 2 * sure - some, "index": index}

    return dataset.enumerate().map(example)
