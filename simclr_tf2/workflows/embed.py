"""Write h of a folder of images, or of a split, to a file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from simclr_tf2 import augmentations, evaluation, saved_model
from simclr_tf2.config import Config, ConfigError
from simclr_tf2.data import datasets, folders, pipeline
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
    trained = run_folder.read_config(config.model_dir)
    size = encoder.input_shape[1] or trained.data.image_size
    batch = config.evaluation.eval_batch_size
    if Path(config.export.input).is_dir():
        names, features = _of_folder(encoder, Path(config.export.input), size, batch)
        labels = None
    else:
        names, features, labels = _of_split(encoder, config, size, batch)
    evaluation.write_embeddings(
        config.export.output, names=names, features=features, labels=labels
    )
    print(
        f"{config.export.output}: h of {len(names)} images, "
        f"{features.shape[1]} numbers each",
        flush=True,
    )
    return {"images": len(names), "dim": int(features.shape[1])}


def _of_folder(
    encoder: keras.Model, folder: Path, size: int, batch: int
) -> tuple[list[str], np.ndarray]:
    paths = folders.list_images(folder)
    names: list[str] = []
    outputs, waiting, bad = [], [], 0
    for path in paths:
        try:
            image = augmentations.eval_view(folders.decode(path), image_size=size)
        except ConfigError as error:
            logger.warning("left out: %s", error)
            bad += 1
            continue
        names.append(str(path.relative_to(folder)))
        waiting.append(image)
        if len(waiting) == batch:
            outputs.append(encoder(tf.stack(waiting), training=False).numpy())
            waiting.clear()
    if waiting:
        outputs.append(encoder(tf.stack(waiting), training=False).numpy())
    if not outputs:
        raise ConfigError(
            f"--input={folder}: none of its {len(paths)} images is readable"
        )
    if bad:
        logger.warning("%d of %d images could not be read", bad, len(paths))
    return names, np.concatenate(outputs)


def _of_split(
    encoder: keras.Model, config: Config, size: int, batch: int
) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    assert config.export.input is not None and config.model_dir is not None
    name, colon, split_name = config.export.input.rpartition(":")
    if not colon:
        raise ConfigError(
            f"--input={config.export.input} is neither a folder nor NAME:SPLIT of a "
            "data set"
        )
    trained = run_folder.read_config(config.model_dir)
    split = datasets.open_split(
        name, split_name, data_dir=trained.data.data_dir, download=config.data.download
    )
    dataset = pipeline.make_eval_dataset(split, batch_size=batch, image_size=size)
    found = evaluation.extract(lambda x: encoder(x, training=False), dataset)
    names = [f"{config.export.input}/{i}" for i in range(len(found))]
    return names, found.features, found.labels if split.has_labels else None
