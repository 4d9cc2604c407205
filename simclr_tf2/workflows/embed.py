"""Write h of a folder of images, or of a split, to a file."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import keras

from simclr_tf2 import config as config_lib
from simclr_tf2 import evaluation, saved_model, startup
from simclr_tf2.config import Config, DataConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.report import nearest_images
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs import remote_files
from simclr_tf2.workflows import reading

logger = logging.getLogger(__name__)

# Settings of images that are those of the run; others that are given count.
OF_THE_NETWORK = ("image_size", "image_channels")


def embed(config: Config) -> dict[str, Any]:
    """Write h of each image of ``--input`` to ``--output``, one row per image.

    With ``--neighbours_of`` the nearest images of given pictures are printed as well.
    Files that cannot be decoded are named in the log and left out.

    Raises:
        ConfigError: A missing flag, nothing to read, or no encoder.
    """
    queried = bool(config.export.neighbours_of)
    for name, value in (
        ("model_dir", config.model_dir),
        ("input", config.export.input),
        ("output", config.export.output or queried),
    ):
        if not value:
            raise ConfigError(f"--mode=embed needs --{name}")
    output = config.export.output
    assert config.model_dir
    encoder = saved_model.load_encoder(config.model_dir)
    startup.log_kernels()
    config = _as_trained(config, encoder)
    queries = nearest_images.open_queries(config) if queried else None
    images = reading.open_input(config)
    found = evaluation.extract(lambda x: encoder(x, training=False), images.dataset)
    names, features = images.names, found.features
    labels = None
    if images.split.has_labels and not images.is_folder:
        labels = found.labels
    if output:
        with remote_files.written(output) as path:
            evaluation.write_embeddings(
                path, names=names, features=features, labels=labels
            )
        print(
            f"{output}: h of {len(names)} images, {features.shape[1]} numbers each",
            flush=True,
        )
    done = {"images": len(names), "dim": int(features.shape[1])}
    if queries is None:
        return done
    nearest = nearest_images.nearest_images(
        config, encoder, queries, images.split, names=names, features=features
    )
    return done | {"nearest": nearest}


def _as_trained(config: Config, encoder: keras.Model) -> Config:
    """Take size, channels, range and data folder from the images of the run.

    Other settings of images that this mode reads count if they are given. A folder that
    holds only an exported encoder has no config: then what the encoder says counts, and
    the flags where it takes images of any size.
    """
    assert config.model_dir is not None
    _, height, width, channels = encoder.input_shape
    if RunFolder.at(config.model_dir).config.exists():
        data = run_folder.read_config(config.model_dir).data
        data = dataclasses.replace(
            data, manifest=None, tfrecords=None, image_dir=None, label_columns=()
        )
        _warn_of_other_images(config, data)
        fixed = {*config_lib.unread("embed"), *OF_THE_NETWORK}
        names = {f.name for f in dataclasses.fields(DataConfig)} - fixed
        given = config_lib.given_settings(config)
        asked = {name: getattr(config.data, name) for name in names & given}
        return dataclasses.replace(config, data=dataclasses.replace(data, **asked))
    size = (height, width) if height else config.data.image_size
    data = dataclasses.replace(config.data, image_size=size, image_channels=channels)
    return dataclasses.replace(config, data=data)


def _warn_of_other_images(config: Config, trained: DataConfig) -> None:
    """Say that images have the size and the channels of the run's, not those given."""
    for name in OF_THE_NETWORK:
        given = name in config_lib.given_settings(config)
        if given and getattr(config.data, name) != getattr(trained, name):
            logger.warning(
                "--%s has no effect: images are embedded as the run was trained, with "
                "%s",
                name,
                getattr(trained, name),
            )
