"""Look through a data set before training on it: what is there, what is broken."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2 import (
    addresses,
    augmentations,
    distribution,
    files,
    plots,
    startup,
)
from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config
from simclr_tf2.data import (
    image_sets,
    opening,
    pixel_range,
    sampling,
    scan_report,
    subset,
)
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.image_sets import ImageSet
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.errors import ConfigError
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import remote_files
from simclr_tf2.runs.images import summarize, with_choices
from simclr_tf2.training import fitted

logger = logging.getLogger(__name__)

UNLABELLED = "unlabeled"  # split that is suggested for where there is no other one
PREVIEWED = 6  # [ours] images in the picture


def scan(config: Config) -> dict[str, Any]:
    """Run ``--mode=scan``: count, check and describe images; train nothing.

    Writes scan.json into ``--model_dir`` where that is given and, with ``--preview``, a
    picture of some images beside their views.

    Raises:
        ConfigError: No usable image, or a place that cannot be written.
    """
    picture = config.export.preview
    remote = picture and addresses.is_remote(picture)
    if picture and not remote and not Path(picture).absolute().parent.is_dir():
        raise ConfigError(
            f"--preview={picture}: there is no such folder; make it first"
        )
    images = None
    if config.data.image_dir or config.data.manifest:
        images = image_sets.look_at(config.data, keep=_may_keep(config))
        summary = summarize(images, config.data.pixel_range)
        chosen = _with_recipe(config, images)
        if chosen.chosen:
            summary = with_choices(summary, chosen, fitted.names_of(chosen))
        print(scan_report.render(summary), flush=True)
    else:
        split = opening.open_split(config.data, config.data.train_split)
        own = config.data.own_images or config.data.array_file
        summary = _of_split(split, partly=own and bool(split.num_classes))
        print("\n".join(f"{k}: {v}" for k, v in summary.items()), flush=True)
        fitted.to_images(config, split, device=distribution.device_kind())
    print(startup.kernels(), flush=True)
    if config.model_dir:
        path = RunFolder.at(config.model_dir).scan
        _write(path, summary)
        print(f"{path}: the same, and every broken file", flush=True)
    if images is not None:
        image_sets.require_usable(images)
    if config.export.preview:
        split = (
            images.open(
                "all",
                channels=config.data.image_channels,
                pixels=config.data.pixel_range,
            )
            if images is not None
            else opening.open_split(config.data, config.data.train_split)
        )
        _preview(config, split, config.export.preview)
    return summary


def _with_recipe(config: Config, images: ImageSet) -> Config:
    """Return what pretraining on these images would choose on this machine."""
    try:
        data = config.data
        spec = data.train_split
        if "train_split" not in config_lib.given_settings(config):
            spec = spec if spec in images.splits else UNLABELLED
        train = images.open(spec, channels=data.image_channels)
        device = distribution.device_kind()
        return fitted.to_images(config, train, device=device, flags=False)
    except ConfigError:  # no image to train on; the scan says why
        return config


def _may_keep(config: Config) -> bool:
    """Return whether what is known of the files may be kept in ``data_dir``.

    A scan makes no folder that nobody named.
    """
    given = "data_dir" in config_lib.given_settings(config)
    data_dir = config.data.data_dir
    remote = addresses.is_remote(data_dir)
    return given or remote or Path(data_dir).expanduser().is_dir()


def _of_split(split: Split, *, partly: bool = False) -> dict[str, Any]:
    """Count a data set that is already prepared, so that no image can be broken.

    Args:
        split: The images.
        partly: Whether some of them may have a label where not all have one.
    """
    single = split.has_labels or (partly and not split.label_shape)
    labels = subset.labels_of(split) if single else np.empty(0, np.int64)
    counts = np.bincount(labels[labels >= 0], minlength=split.num_classes or 0).tolist()
    names = split.class_names or tuple(map(str, range(len(counts))))
    classes = dict(zip(names, counts, strict=True))
    if (labels < 0).any():
        classes["(no label)"] = int((labels < 0).sum())
    height, width, channels = split.image_shape
    return {
        "data set": split.name,
        "split": split.split,
        "images": split.num_examples,
        "bytes": split.encoded_bytes,
        "size": "various" if height is None else f"{height}x{width}",
        "channels": channels,
        "pixel values": _values(split),
        "pixel range": split.pixel_range,
        "classes": classes if labels.size else None,
    }


def _values(split: Split) -> str:
    """Return the smallest and largest value as stored, and the type."""
    seen = split.seen
    if seen is None:
        return "8 bits" if split.pixel_bytes == 1 else "16 bits"
    low, high = pixel_range.number(seen.low), pixel_range.number(seen.high)
    return f"{low} to {high} ({seen.kind})"


def _write(path: Path, summary: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, summary)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error


def _preview(config: Config, split: Split, place: str) -> None:
    """Draw the views that training would draw, with their parameters."""
    settings = ViewSpec.for_pairs(config.augmentation, config.data.image_size).settings
    originals, views, drawn = [], [], []
    shown = sampling.sample(split, PREVIEWED).as_dataset()
    for number, example in enumerate(shown):
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
        with remote_files.written(place) as path:
            Path(path).write_bytes(plots.to_png(figure, dpi=110))
    except OSError as error:
        raise ConfigError(f"--preview={place} cannot be written: {error}") from error
    print(f"{place}: {len(originals)} images beside their views", flush=True)
