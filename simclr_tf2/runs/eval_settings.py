"""The settings of ``--mode=eval``: those of the run and of the command line.

The network is the run's. Images, protocols and splits are the run's, unless the command
line sets them.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from dataclasses import dataclass
from typing import Any

from simclr_tf2 import addresses, models
from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config, DataConfig, EvaluationConfig, ModelConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.runs import folder as run_folder

logger = logging.getLogger(__name__)

# Settings that select the images, and those that say how they are read.
SOURCES = frozenset({"dataset", "image_dir", "manifest", "tfrecords"})
READING = ("image_layout", "label_columns", "image_key", "label_key")
LABELS = ("label_fraction", "labels_per_class")


@dataclass(frozen=True)
class Merged:
    """The settings of an evaluation.

    Attributes:
        config: The settings of the evaluation.
        trained: The settings of the run.
        same_data: Whether the images are from the data set of the run.
        asked: Names of the settings that the command line gave.
    """

    config: Config
    trained: Config
    same_data: bool
    asked: frozenset[str]


def merged(asked: Config, trained: Config) -> Merged:
    """Return the settings of the run, with those of the command line.

    Args:
        asked: The settings of the command line.
        trained: The settings of the run.

    Raises:
        ConfigError: The network reads images with another number of channels.
    """
    given = config_lib.given_settings(asked)
    warn_of_unread_dataset(asked)
    if "image_channels" in given:
        _require_channels(asked.data, trained.data)
    data = _data(asked, trained.data, given)
    same_data = _identity(data) == _identity(trained.data)
    config = dataclasses.replace(
        trained,
        data=data,
        model=_model(trained.model, data, trained.data),
        evaluation=_evaluation(asked, trained, data, given, same_data=same_data),
        distribution=asked.distribution,
        model_dir=asked.model_dir,
        seed=asked.seed if "seed" in given else trained.seed,
        given=given,
    )
    return Merged(config, trained, same_data, given)


def warn_of_unread_dataset(asked: Config) -> None:
    """Log that ``--dataset`` has no effect because another flag names the images."""
    if "dataset" in config_lib.given_settings(asked) and asked.data.own_images:
        logger.warning(
            "--dataset=%s is not read: the images are those of %s",
            asked.data.dataset,
            asked.data.source,
        )


def warn_of_no_effect(asked: Config, trained: Config) -> None:
    """Log the given settings that differ from those of the run and have no effect."""
    given = config_lib.given_settings(asked)
    asked = run_folder.with_earlier_choices(asked, trained)
    now, then = config_lib.to_flat(asked), config_lib.to_flat(trained)
    differ = [
        f"--{name}"
        for name in config_lib.reported_by_workflow("eval")
        if name in given and now[name] != then[name]
    ]
    if differ:
        logger.warning(
            "no effect in --mode=eval, which takes them from the run: %s",
            ", ".join(differ),
        )


def name_of(data: DataConfig) -> str:
    """Return the name of a data set as a part of file names."""
    base = data.source
    if data.own_images or data.array_file:
        parts = addresses.folders(base)
        base = "-".join(os.path.basename(os.path.normpath(part)) for part in parts)
    name = re.sub(r"[^A-Za-z0-9._]+", "-", base).strip("-.")
    if name == "eval":  # TensorBoard has the run's own numbers there
        return "images-eval"
    return name if re.fullmatch(config_lib.EVAL_NAME, name) else f"images-{name}"


def _data(asked: Config, trained: DataConfig, given: frozenset[str]) -> DataConfig:
    names = [f.name for f in dataclasses.fields(DataConfig)]
    flat = {name: getattr(asked.data, name) for name in names}
    changes = {n: v for n, v in flat.items() if n in given and n not in SOURCES}
    if given & set(LABELS):  # only one of them may be set
        changes |= {name: flat[name] for name in LABELS}
    if given & SOURCES and _source(asked.data) != _source(trained):
        named = {*SOURCES, *READING, *LABELS, "download", "train_split"}
        changes |= {name: flat[name] for name in named}
        if "train_split" not in given and asked.evaluation.probe_split:
            changes["train_split"] = asked.evaluation.probe_split
    return dataclasses.replace(trained, **changes)


def _source(data: DataConfig) -> tuple[str | None, ...]:
    """Return where the images are."""
    paths = (data.image_dir, data.manifest, data.tfrecords)
    name = _absolute(data.dataset) if data.array_file else data.dataset
    return (*map(_absolute, paths), None if data.own_images else name)


def _absolute(path: str | None) -> str | None:
    if not path:
        return path
    parts = addresses.folders(path)
    return ",".join(p if "://" in p else os.path.abspath(p) for p in parts)


def _identity(data: DataConfig) -> tuple[Any, ...]:
    """Return a value that changes when the images or their labels change."""
    reading = (*READING, "pixel_range")
    return (*_source(data), *(getattr(data, name) for name in reading))


def _model(model: ModelConfig, data: DataConfig, trained: DataConfig) -> ModelConfig:
    """Return the run's network; its stem stays when the image size changes."""
    if data.image_size == trained.image_size:
        return model
    stem = models.stem_at(model.stem, trained.image_size)
    return dataclasses.replace(model, stem=stem)


def _evaluation(
    asked: Config,
    trained: Config,
    data: DataConfig,
    given: frozenset[str],
    *,
    same_data: bool,
) -> EvaluationConfig:
    names = [f.name for f in dataclasses.fields(EvaluationConfig)]
    changes = {n: getattr(asked.evaluation, n) for n in names if n in given}
    base: dict[str, Any] = {"compare_with": ()}
    if not same_data:
        base["eval_name"] = name_of(data)
        changes = {n: v for n, v in changes.items() if v or n != "eval_name"}
    if _source(data) != _source(trained.data):  # other images have other splits
        base |= {"eval_split": EvaluationConfig().eval_split, "probe_split": ""}
    elif data.train_split != trained.data.train_split:
        base["probe_split"] = ""  # --train_split names it
    if not same_data or data.train_split != trained.data.train_split:
        if trained.evaluation.best_metric == "valid_loss":  # is of held-out images
            base["best_metric"] = ""
    return dataclasses.replace(trained.evaluation, **{**base, **changes})


def _require_channels(asked: DataConfig, trained: DataConfig) -> None:
    if asked.image_channels != trained.image_channels:
        raise ConfigError(
            f"the network of the run reads images of {trained.image_channels} channels;"
            f" pass --image_channels={trained.image_channels}, or leave it out"
        )
