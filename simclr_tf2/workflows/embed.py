"""Write h of a folder of images, or of a split, to a file."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from simclr_tf2 import evaluation, saved_model, startup
from simclr_tf2.config import Config, ConfigError
from simclr_tf2.data import image_sets, opening, pipeline
from simclr_tf2.training import run_folder

logger = logging.getLogger(__name__)


def embed(config: Config, flagfile: str = "") -> dict[str, Any]:
    """``--mode=embed``: images of ``--input`` -> h in ``--output``, one row per image.

    Files that cannot be decoded are named in the log and left out.

    Raises:
        ConfigError: A missing flag, nothing to read, or no encoder.
    """
    for name, value in (
        ("model_dir", config.model_dir),
        ("input", config.export.input),
        ("output", config.export.output),
    ):
        if not value:
            raise ConfigError(f"--mode=embed needs --{name}")
    assert config.model_dir and config.export.input and config.export.output
    encoder = saved_model.load_encoder(config.model_dir)
    startup.log_kernels()
    config = _as_trained(config, encoder)
    batch = config.evaluation.eval_batch_size
    folder, output = config.export.input, config.export.output
    assert folder is not None and output is not None
    if tf.io.gfile.isdir(folder):
        names, features = _of_folder(encoder, config, folder, batch)
        labels = None
    else:
        names, features, labels = _of_split(encoder, config, batch)
    evaluation.write_embeddings(output, names=names, features=features, labels=labels)
    print(
        f"{config.export.output}: h of {len(names)} images, "
        f"{features.shape[1]} numbers each",
        flush=True,
    )
    return {"images": len(names), "dim": int(features.shape[1])}


def _as_trained(config: Config, encoder: keras.Model) -> Config:
    """Size and channels of the run's images, and where its data sets are.

    A folder that holds only an exported encoder has no config: then what the encoder
    says counts, and the flags where it takes images of any size.
    """
    assert config.model_dir is not None
    _, height, width, channels = encoder.input_shape
    if (Path(config.model_dir) / "config.json").exists():
        data = run_folder.read_config(config.model_dir).data
        data = dataclasses.replace(
            data, manifest=None, tfrecords=None, image_dir=None, label_columns=()
        )
        return dataclasses.replace(config, data=data)
    size = (height, width) if height else config.data.image_size
    data = dataclasses.replace(config.data, image_size=size, image_channels=channels)
    return dataclasses.replace(config, data=data)


def _of_folder(
    encoder: keras.Model, config: Config, folder: str, batch: int
) -> tuple[list[str], np.ndarray]:
    """Every usable image below ``folder``; broken ones are named in the log."""
    data = dataclasses.replace(config.data, image_dir=folder, image_layout="flat")
    images = image_sets.open_image_set(dataclasses.replace(data, max_bad_fraction=1.0))
    split = images.open_sorted(channels=config.data.image_channels)
    dataset = pipeline.make_eval_dataset(
        split, batch_size=batch, image_size=config.data.image_size
    )
    found = evaluation.extract(lambda x: encoder(x, training=False), dataset)
    return [images.listing.paths[row] for row in np.sort(images.good)], found.features


def _of_split(
    encoder: keras.Model, config: Config, batch: int
) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    assert config.export.input is not None
    name, colon, split_name = config.export.input.rpartition(":")
    if not colon:
        raise ConfigError(
            f"--input={config.export.input} is neither a folder nor NAME:SPLIT of a "
            "data set"
        )
    data = dataclasses.replace(config.data, dataset=name)
    split = opening.open_split(data, split_name)
    dataset = pipeline.make_eval_dataset(
        split, batch_size=batch, image_size=config.data.image_size
    )
    found = evaluation.extract(lambda x: encoder(x, training=False), dataset)
    names = [f"{config.export.input}/{i}" for i in range(len(found))]
    return names, found.features, found.labels if split.has_labels else None
