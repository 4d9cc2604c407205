"""Look through a data set before training on it: what is there, what is broken."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2 import augmentations, plots, startup
from simclr_tf2.config import Config, ConfigError
from simclr_tf2.data import image_sets, opening, scan_report
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.image_sets import ImageSet
from simclr_tf2.training import run_folder

logger = logging.getLogger(__name__)

PREVIEWED = 6  # [ours] images in the picture


def scan(config: Config, flagfile: str = "") -> dict[str, Any]:
    """``--mode=scan``: count, check and describe; nothing is trained.

    Writes scan.json into ``--model_dir`` (or here) and, with ``--preview``, a picture
    of some images beside their views.

    Raises:
        ConfigError: No image, or a place that cannot be written.
    """
    folder = Path(config.model_dir or ".")
    images = None
    if config.data.image_dir or config.data.manifest:
        images = image_sets.look_at(config.data)
        summary = summarize(images)
        print(scan_report.render(summary), flush=True)
    else:
        summary = _of_split(opening.open_split(config.data, config.data.train_split))
        print("\n".join(f"{k}: {v}" for k, v in summary.items()), flush=True)
    print(startup.kernels(), flush=True)
    path = folder / "scan.json"
    _write(path, summary)
    print(f"{path}: the same, and every broken file", flush=True)
    if config.export.preview:
        if images is not None and not images.good.size:
            raise ConfigError("--preview: there is no usable image to show")
        split = (
            images.open("all", channels=config.data.image_channels)
            if images is not None
            else opening.open_split(config.data, config.data.train_split)
        )
        _preview(config, split, Path(config.export.preview))
    return summary


def summarize(images: ImageSet) -> dict[str, Any]:
    """What scan.json says of files."""
    return scan_report.summarize(
        images.listing, images.index, split_of=images.split_names.tolist()
    )


def record(config: Config, folder: Path, *splits: Split | None) -> None:
    """Keep with a run what its images and classes were: scan.json, classes.json."""
    if config.data.image_dir or config.data.manifest:
        images = image_sets.open_image_set(config.data)
        run_folder.write_json(folder / "scan.json", summarize(images))
    names = next((s.class_names for s in splits if s and s.class_names), ())
    if names:
        run_folder.write_json(folder / "classes.json", list(names))


def _of_split(split: Split) -> dict[str, Any]:
    """Counts of a data set that is prepared already: nothing of it can be broken."""
    labels = [int(e["label"]) for e in _labels(split)] if split.has_labels else []
    counts = np.bincount(labels, minlength=split.num_classes or 0).tolist()
    names = split.class_names or tuple(map(str, range(len(counts))))
    height, width, channels = split.image_shape
    return {
        "data set": split.name,
        "split": split.split,
        "images": split.num_examples,
        "bytes": split.encoded_bytes,
        "size": "various" if height is None else f"{height}x{width}",
        "channels": channels,
        "classes": dict(zip(names, counts, strict=True)) if labels else None,
    }


def _labels(split: Split) -> Any:
    return split.as_dataset().map(lambda e: {"label": e["label"]}).as_numpy_iterator()


def _write(path: Path, summary: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        run_folder.write_json(path, summary)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error


def _preview(config: Config, split: Split, path: Path) -> None:
    """Draw the views that training would draw, with their parameters."""
    settings: dict[str, Any] = {
        "image_size": config.data.image_size,
        "strength": config.augmentation.color_jitter_strength,
        "use_blur": config.augmentation.use_blur,
    }
    originals, views, drawn = [], [], []
    for number, example in enumerate(itertools.islice(split.as_dataset(), PREVIEWED)):
        image = split.source.decode(example)
        seeds = augmentations.view_seeds(
            tf.constant([config.seed, number]), num_views=config.augmentation.num_views
        )
        originals.append(image.numpy())
        views.append(
            [
                augmentations.pretrain_view(image, seed=seed, **settings).numpy()
                for seed in seeds
            ]
        )
        drawn.append(
            [
                augmentations.describe_view(image.shape, seed=seed, **settings)
                for seed in seeds
            ]
        )
    figure = plots.preview(originals, views, drawn)
    try:
        path.write_bytes(plots.to_png(figure, dpi=110))
    except OSError as error:
        raise ConfigError(f"--preview={path} cannot be written: {error}") from error
    print(f"{path}: {len(originals)} images beside their views", flush=True)
