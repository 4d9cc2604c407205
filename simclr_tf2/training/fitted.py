"""Settings that were not given, fitted to the user's own images."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config
from simclr_tf2.data import fitting, held_out, image_sets, pipeline
from simclr_tf2.data.datasets import Split
from simclr_tf2.runs import folder as run_folder

logger = logging.getLogger(__name__)

PART = "valid_size"
NAMES = ("image_size", "use_blur", PART, "train_batch_size")


def with_earlier_choices(config: Config) -> Config:
    """Take what an earlier start of the run chose, where nothing is given now.

    So that a run goes on as it began, also when images have been added since.
    """
    if config.data.by_name or not config.model_dir:
        return config
    before = run_folder.earlier_config(config.model_dir)
    if before is None:
        return config
    flat = config_lib.to_flat(before)
    chosen = _with(config, {name: flat[name] for name in _free(config)})
    given = config_lib.given_settings(config) | set(NAMES)
    return dataclasses.replace(chosen, given=given)  # so that ``to_images`` keeps them


def to_images(config: Config, train: Split, *, replicas: int = 1) -> Config:
    """Fit image size, blur, held-out part and batch to own images, where none is given.

    ``--mode=scan`` suggests these numbers too. Data sets by name keep the defaults, as
    do settings that were given; a batch that leaves few steps an epoch is warned of.

    Args:
        config: Whole config.
        train: The training split, nothing held out of it yet.
        replicas: The batch is a multiple of it.
    """
    if config.data.by_name:
        return config
    free, batch = _free(config), config.training.train_batch_size
    values: dict[str, Any] = {}
    if "image_size" in free and (shape := _typical_shape(config, train)):
        values["image_size"] = fitting.image_size(*shape)
    sides = _with(config, values).data.height_width
    if "use_blur" in free and not fitting.use_blur(*sides):
        values["use_blur"] = False
    size = config.data.valid_size or 0.0
    if PART in free:
        size = values[PART] = _valid_size(config, train)
    left = fitting.left_to_train_on(train.num_examples, size)
    if size:
        left = min(left, int((~held_out.is_held_out(train, size)).sum()))
    fitting_batch = fitting.batch_size(left, replicas=replicas)
    if "train_batch_size" in free:
        values["train_batch_size"] = max(2, fitting_batch)
    shown = [_as_flag(n, value) for n, value in values.items() if size or n != PART]
    if shown:
        logger.info("fitted to %d images: %s", train.num_examples, " ".join(shown))
    steps = left // batch
    few = 0 < steps < fitting.STEPS_PER_EPOCH and fitting_batch < batch
    if "train_batch_size" not in free and few:
        logger.warning(
            "--train_batch_size=%d makes %d step%s an epoch of %d images, and %d of "
            "them are left out of each epoch; --train_batch_size=%d makes %d",
            batch,
            steps,
            "s"[: steps > 1],
            left,
            left % batch,
            fitting_batch,
            left // fitting_batch,
        )
    return _with(config, values)


def _as_flag(name: str, value: Any) -> str:
    """Write what was fitted as ``--mode=scan`` does."""
    return f"--no{name}" if value is False else f"--{name}={value:g}"


def _valid_size(config: Config, train: Split) -> float:
    """Return the part to hold out; 0 where its loss is not, or cannot be, measured."""
    looks = config.training.monitor_epochs > 0
    if not looks or not pipeline.is_readable_by_index(train, config.data.cache_mode):
        return 0.0
    return fitting.valid_size(train.num_examples, labelled=bool(train.num_classes))


def _free(config: Config) -> list[str]:
    given = config_lib.given_settings(config)
    return [name for name in NAMES if name not in given]


def _typical_shape(config: Config, train: Split) -> tuple[float, float] | None:
    """Return median height and width; None for records, which are not opened."""
    if config.data.image_dir or config.data.manifest:
        return image_sets.open_image_set(config.data).median_height_width()
    height, width, _ = train.image_shape
    return None if height is None or width is None else (height, width)


def _with(config: Config, values: dict[str, Any]) -> Config:
    parts: dict[str, Any] = {}
    for section, kind in config_lib.sections().items():
        names = {f.name for f in dataclasses.fields(kind)}
        own = {name: value for name, value in values.items() if name in names}
        parts[section] = dataclasses.replace(getattr(config, section), **own)
    return dataclasses.replace(config, **parts)
