"""Open a split of whatever the settings name."""

from __future__ import annotations

from simclr_tf2.config import DataConfig
from simclr_tf2.data import array_files, datasets, image_sets, multi_label, record_files
from simclr_tf2.data.datasets import Split
from simclr_tf2.errors import ConfigError


def open_split(data: DataConfig, split: str) -> Split:
    """Open ``split`` of a TFDS set, a folder, a manifest, TFRecords or an array file.

    Raises:
        ConfigError: It is not there, or its images do not have ``image_channels``.
    """
    if data.image_dir or data.manifest:
        images = image_sets.open_image_set(data)
        return images.open(split, channels=data.image_channels, pixels=data.pixel_range)
    keys = {
        "image_key": data.image_key,
        "label_key": data.label_key,
        "pixels": data.pixel_range,
    }
    if data.tfrecords:
        _require_encoded(data)
        return record_files.open_record_split(
            data.tfrecords,
            split,
            data_dir=data.data_dir,
            channels=data.image_channels,
            **keys,
        )
    if data.array_file:
        return array_files.open_array_split(
            data.dataset,
            split,
            channels=data.image_channels,
            pixels=data.pixel_range,
        )
    if data.label_key != DataConfig.label_key and multi_label.has_several_labels(data):
        return multi_label.open_multi_label(data, split)
    return datasets.open_split(
        data.dataset,
        split,
        data_dir=data.data_dir,
        download=data.download,
        channels=data.image_channels,
        **keys,
    )


def _require_encoded(data: DataConfig) -> None:
    if data.image_channels not in datasets.ENCODED_CHANNELS:
        raise ConfigError(
            f"--image_channels={data.image_channels}: encoded images of TFRecords have "
            "1, 3 or 4 channels; others need files (--image_dir) or arrays "
            "(--dataset=images.npz)"
        )
