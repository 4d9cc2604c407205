"""What ``--mode=embed`` writes for large inputs, and for TensorBoard's projector."""

from __future__ import annotations

import logging
from pathlib import Path

import keras
import numpy as np

from simclr_tf2 import files, plots
from simclr_tf2.config import Config
from simclr_tf2.data import pipeline, subset
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import Features
from simclr_tf2.evaluation.features import cache, extraction
from simclr_tf2.exports.embedding_parts import Parts
from simclr_tf2.runs import tensorboard_pictures
from simclr_tf2.workflows import reading

logger = logging.getLogger(__name__)

NAMES = {"final_avg_pool": "h", "proj_head_output": "z"}
PROJECTED = 10_000  # [ours] images; all that TensorBoard shows at once is as many


def are_labelled(images: reading.Input) -> bool:
    """Return whether labels are written beside the embeddings."""
    return images.split.has_labels and not images.is_folder


def write_parts(config: Config, encoder: keras.Model, images: reading.Input) -> int:
    """Write ``--output`` as files of ``--rows_per_file`` rows; continue if some exist.

    Returns:
        Numbers of each row.

    Raises:
        ConfigError: Files of other embeddings are there, or features are not finite.
    """
    output, rows = Path(str(config.export.output)), config.export.rows_per_file
    total = images.split.num_examples
    key = {
        "endpoint": config.export.embed_endpoint,
        "weights": cache.digest_of_weights(encoder),
        "images": images.split.source.fingerprint,
        "image_size": list(config.data.height_width),
        "pixel_range": images.split.pixel_range,
    }
    parts = Parts(output, rows, total, key)
    first = parts.written()
    dim = int(encoder.output_shape[-1])
    if first:
        logger.info("%d of %d files are there already", first, parts.count)
    if first < parts.count:
        left = subset.take(
            images.split, np.arange(first * rows, total), name=images.split.split
        )
        dataset = reading.batches(config, left)
        run = extraction.make_runner(lambda x: encoder(x, training=False), None)
        found = map(_finite, extraction.encoded_batches(run, dataset))
        for path in parts.write(
            found, images.names, first=first, labelled=are_labelled(images)
        ):
            logger.info("%s is written", path)
    print(
        f"{parts.path(0)} to {parts.path(parts.count - 1).name}: {total} images, {dim} "
        "numbers each",
        flush=True,
    )
    return dim


def _finite(batch: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    if not np.isfinite(batch[0]).all():
        raise ConfigError(
            "the embeddings are not finite; the encoder has diverged, use an earlier "
            "checkpoint"
        )
    return batch


def write_projector(config: Config, images: reading.Input, found: Features) -> None:
    """Write vectors, metadata and thumbnails that TensorBoard's projector shows."""
    folder, shown = str(config.export.output), min(PROJECTED, len(images.names))
    if shown < len(images.names):
        logger.warning(
            "%s: the first %d of %d images; TensorBoard shows no more at once",
            folder,
            shown,
            len(images.names),
        )
    labelled = images.split.has_labels
    with files.writing(folder):
        tensorboard_pictures.write_projector(
            Path(folder),
            found.features,
            images=_thumbnails(config, images, shown),
            labels=found.labels if labelled else None,
            class_names=images.split.class_names,
            name=NAMES.get(config.export.embed_endpoint, config.export.embed_endpoint),
            names=images.names[:shown],
            most=shown,
        )


def _thumbnails(config: Config, images: reading.Input, count: int) -> np.ndarray:
    """Return small pictures of the first images, uint8 ``[count, h, w, 3]``."""
    side = min(tensorboard_pictures.SPRITE_SIDE, *config.data.height_width)
    split = images.split
    if count < split.num_examples:
        split = subset.take(split, np.arange(count), name=split.split)
    dataset = pipeline.make_eval_dataset(
        split, batch_size=config.evaluation.eval_batch_size, image_size=side
    )
    return np.concatenate(
        [
            plots.to_uint8(batch["image"][batch["mask"]])
            for batch in dataset.as_numpy_iterator()
        ]
    )
