"""Open the images of ``--input``, one after another and in a fixed order."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from simclr_tf2 import addresses
from simclr_tf2.config import Config
from simclr_tf2.data import (
    dicom_files,
    image_sets,
    layouts,
    opening,
    pipeline,
    side_files,
)
from simclr_tf2.data.datasets import Split
from simclr_tf2.errors import ConfigError

ARRAYS = (".npz", ".npy")
MANIFESTS = (".csv", ".parquet")


@dataclass(frozen=True)
class Input:
    """The images of ``--input``.

    Attributes:
        split: The images.
        names: Name of each image: its path below the folder, or ``INPUT/NUMBER``.
        dataset: Batches of (images in [0, 1], labels), in the order of ``names``.
        is_folder: The images are the files of a folder, not of a list or a data set.
    """

    split: Split
    names: list[str]
    dataset: tf.data.Dataset
    is_folder: bool


def open_input(config: Config) -> Input:
    """Open ``--input``.

    It is a folder, or several (``a,b``), an image file, a manifest, an .npz or .npy
    file, or NAME:SPLIT of a data set.

    Broken files of a folder are named in the log and left out.

    Args:
        config: ``data`` says the size, channels and range of the images.

    Raises:
        ConfigError: There is nothing to read.
    """
    place = config.export.input
    assert place
    images = _files(config, place)
    if images is not None:
        split = images.open_sorted(
            channels=config.data.image_channels, pixels=config.data.pixel_range
        )
        names = [images.listing.paths[row] for row in np.sort(images.good)]
        is_folder = all(map(tf.io.gfile.isdir, addresses.folders(place)))
        return Input(split, names, batches(config, split), is_folder=is_folder)
    name, colon, split_name = place.rpartition(":")
    if place.endswith(ARRAYS):  # all of it
        name, split_name = place, "all"
    elif not colon:
        folders = addresses.folders(place)
        missing = [f for f in folders if not tf.io.gfile.isdir(f)]
        known = os.path.exists(place) or "/" not in place
        why = "" if known else "; there is no such path"
        if len(folders) > 1:
            why = f"; there is no folder {missing[0]}"
        raise ConfigError(
            f"--input={place} is neither a folder, an image, a manifest, an .npz or "
            f".npy file nor NAME:SPLIT of a data set{why}"
        )
    split = opening.open_split(
        dataclasses.replace(config.data, dataset=name), split_name
    )
    names = [f"{place}/{i}" for i in range(split.num_examples)]
    return Input(split, names, batches(config, split), is_folder=False)


def _files(config: Config, place: str) -> image_sets.ImageSet | None:
    """Return the image files of a folder, a manifest or a path; None of other input."""
    suffix = side_files.suffix_of(place)
    if suffix in side_files.ARCHIVES:
        raise ConfigError(f"--input={place}: {side_files.unpacking(place)}")
    data = dataclasses.replace(config.data, max_bad_fraction=1.0)
    if all(map(tf.io.gfile.isdir, addresses.folders(place))):
        data = dataclasses.replace(data, image_dir=place, image_layout="flat")
        return image_sets.open_image_set(data)
    if suffix in MANIFESTS and tf.io.gfile.exists(place):
        data = dataclasses.replace(data, manifest=place, image_dir=None)
        return image_sets.open_image_set(data)
    if suffix not in (
        *layouts.SUFFIXES,
        *dicom_files.SUFFIXES,
    ) or not tf.io.gfile.exists(place):
        return None
    found = image_sets.open_files([place], data)
    if found.index.error[0]:
        raise ConfigError(f"--input={place} cannot be read: {found.index.error[0]}")
    return found


def batches(config: Config, split: Split) -> tf.data.Dataset:
    """Return batches of views of a split, in index order."""
    return pipeline.make_eval_dataset(
        split,
        batch_size=config.evaluation.eval_batch_size,
        image_size=config.data.image_size,
    )
