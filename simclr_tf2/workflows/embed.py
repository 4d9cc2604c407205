"""Write h, z or another endpoint of a folder of images, or of a split, to files."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import keras

from simclr_tf2 import addresses, evaluation, saved_model, startup
from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config, DataConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.report import nearest_images
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs import remote_files
from simclr_tf2.workflows import embed_outputs, reading

logger = logging.getLogger(__name__)

# Settings of images that are those of the run; others that are given count.
OF_THE_NETWORK = ("image_size", "image_channels")


def embed(config: Config) -> dict[str, Any]:
    """Write an endpoint of each image of ``--input`` to ``--output``, a row per image.

    With ``--rows_per_file`` these are several files, of which only one is in memory.
    With ``--neighbours_of`` the nearest images of given pictures are printed as well.
    Files that cannot be decoded are named in the log and left out.

    Raises:
        ConfigError: A missing flag, nothing to read, or no encoder.
    """
    source = _source(config)
    encoder = saved_model.load_endpoint(source, config.export.embed_endpoint)
    startup.log_kernels()
    config = _as_trained(config, encoder)
    queried = bool(config.export.neighbours_of)
    queries = nearest_images.open_queries(config) if queried else None
    images = reading.open_input(config)
    output = config.export.output
    if config.export.rows_per_file:
        dim = embed_outputs.write_parts(config, encoder, images)
        return {"images": len(images.names), "dim": dim}
    found = evaluation.extract(lambda x: encoder(x, training=False), images.dataset)
    names, features = images.names, found.features
    labels = found.labels if embed_outputs.are_labelled(images) else None
    if output and output.endswith("/"):
        embed_outputs.write_projector(config, images, found)
    elif output:
        with remote_files.written(output) as path:
            evaluation.write_embeddings(
                path, names=names, features=features, labels=labels
            )
    if output:
        what = embed_outputs.NAMES.get(
            config.export.embed_endpoint, config.export.embed_endpoint
        )
        print(
            f"{output}: {what} of {len(names)} images, {features.shape[1]} numbers "
            "each",
            flush=True,
        )
    done = {"images": len(names), "dim": int(features.shape[1])}
    if queries is None:
        return done
    nearest = nearest_images.nearest_images(
        config, encoder, queries, images.split, names=names, features=features
    )
    return done | {"nearest": nearest}


def _source(config: Config) -> str:
    """Check the flags of this mode; return where the encoder is."""
    export, checkpoint = config.export, config.training.checkpoint
    if not (config.model_dir or checkpoint):
        raise ConfigError(
            "--mode=embed needs --model_dir, the folder of a run, or --checkpoint, an "
            "encoder.keras or a checkpoint of google-research/simclr"
        )
    if config.model_dir and checkpoint:
        raise ConfigError(
            "--model_dir and --checkpoint both say where the encoder is; pass one"
        )
    if not export.input:
        raise ConfigError("--mode=embed needs --input")
    if not (export.output or export.neighbours_of):
        raise ConfigError("--mode=embed needs --output")
    output = export.output or ""
    if output.endswith("/") and addresses.is_remote(output):
        raise ConfigError(
            f"--output={output}: the folder for the projector must be on this "
            "machine; copy it there afterwards"
        )
    if export.rows_per_file and (
        not output.endswith(".parquet")
        or addresses.is_remote(output)
        or export.neighbours_of
    ):
        raise ConfigError(
            "--rows_per_file needs an --output on this machine that ends in .parquet, "
            "and no --neighbours_of"
        )
    return str(config.model_dir or checkpoint)


def _as_trained(config: Config, encoder: keras.Model) -> Config:
    """Take size, channels, range and data folder from the images of the run.

    Other settings of images that this mode reads count if they are given. A folder that
    holds only an exported encoder has no config: then what the encoder says counts, and
    the flags where it takes images of any size. An encoder.keras in the folder of a run
    has the images of the run.
    """
    _, height, width, channels = encoder.input_shape
    place = addresses.local(config.model_dir or config.training.checkpoint or "")
    run = RunFolder(place if place.is_dir() else place.parent)
    if run.config.is_file():
        data = run_folder.read_config(run.path).data
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
    if not height and "image_size" not in config_lib.given_settings(config):
        logger.warning(
            "%s takes images of any size; they are resized to %s pixels, and "
            "--image_size sets another size",
            place,
            size,
        )
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
