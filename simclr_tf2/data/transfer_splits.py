"""The data sets of transfer: named, opened, and cut into train, validation, test."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_tf2.config import DataConfig
from simclr_tf2.data import datasets, image_sets, opening, prepare
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.multi_label import open_multi_label
from simclr_tf2.data.transfer_sets import TRANSFER_SETS, TransferSet
from simclr_tf2.errors import ConfigError

logger = logging.getLogger(__name__)

ALL = "all"
# Of sets without a split to choose on [ours].
FIT, CHOOSE = "train[:80%]", "train[80%:]"
FIT_MOST, CHOOSE_FEW = "train[:90%]", "train[90%:]"


@dataclass(frozen=True)
class TransferSplits:
    """Three splits of one data set.

    Attributes:
        train: To fit on.
        validation: To choose settings on.
        test: To report on.
        read: Opens a split of the set by its name, for the two first as one.
        metric: How it is scored.
        note: What is unusual about the splits, or "".
    """

    train: Split
    validation: Split
    test: Split
    read: Callable[[str], Split]
    metric: str = "top1"
    note: str = ""

    @property
    def train_and_validation(self) -> str:
        """Name of both as one split: what the chosen settings are fitted on again."""
        return f"{self.train.split}+{self.validation.split}"


def parse_datasets(items: Iterable[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Parse what ``--transfer_datasets`` names.

    Args:
        items: Names of ``TRANSFER_SETS`` or of TFDS, NAME=FOLDER, or "all": the twelve.

    Returns:
        The names in order, each once, and name -> folder of those that have one.

    Raises:
        ConfigError: Nothing named, an empty name or folder, a name with two folders.
    """
    names: dict[str, None] = {}
    folders: dict[str, str] = {}
    for item in (part.strip() for part in items):
        name, equals, folder = item.partition("=")
        if not name or (equals and not folder):
            raise ConfigError(
                "--transfer_datasets takes names of data sets and NAME=FOLDER, "
                f"separated by commas. Received: {item!r}."
            )
        if folders.get(name, folder) != folder and equals:
            raise ConfigError(
                f"--transfer_datasets names two folders for {name}: {folders[name]} "
                f"and {folder}; give the second another name"
            )
        names |= dict.fromkeys(TRANSFER_SETS if item == ALL else [name])
        folders |= {name: folder} if equals else {}
    if not names:
        raise ConfigError(
            f"--transfer_datasets names nothing; choose {ALL} or among "
            f"{', '.join(TRANSFER_SETS)}"
        )
    return tuple(names), folders


def check_names(data: DataConfig, items: Iterable[str]) -> None:
    """Refuse what cannot be meant, before anything is trained or measured.

    Raises:
        ConfigError: As ``parse_datasets``; an unknown name, or no such folder.
    """
    names, folders = parse_datasets(items)
    for name in names:
        if name not in folders:
            _require_known(name, data.data_dir)
        elif not tf.io.gfile.isdir(os.path.expanduser(folders[name])):
            raise ConfigError(
                f"--transfer_datasets={name}={folders[name]}: no folder of that name"
            )


def open_all(
    data: DataConfig, names: Sequence[str], folders: Mapping[str, str]
) -> dict[str, TransferSplits | str]:
    """Open every set; of one that is not prepared, the line that says what to do.

    Args:
        data: Where prepared sets lie and how images are read.
        names: As ``parse_datasets`` gives them.
        folders: Name -> folder of images, in place of the TFDS set.

    Raises:
        ConfigError: An unknown name, a folder that cannot be used, none prepared.
    """
    for name in names:
        if name not in folders:
            _require_known(name, data.data_dir)
    found = {name: _open_or_reason(data, name, folders) for name in names}
    reasons = [reason for reason in found.values() if isinstance(reason, str)]
    if len(reasons) == len(found):
        raise ConfigError(f"no transfer data set can be measured: {reasons[0]}")
    return found


def _open_or_reason(
    data: DataConfig, name: str, folders: Mapping[str, str]
) -> TransferSplits | str:
    """Open the splits, or return the line that says why they cannot be had."""
    known = TRANSFER_SETS.get(name)
    if name in folders:
        return _open_folder(data, folders[name], known)
    try:
        return _open_known(data, known) if known else _open_tfds(data, name)
    except ConfigError as error:
        logger.warning("transfer to %s is not measured: %s", name, error)
        return str(error)


def _require_known(name: str, data_dir: str) -> None:
    """Raise if the data set is unknown; called before training starts."""
    base = re.split("[/:]", name)[0]
    if name in TRANSFER_SETS or base == prepare.EMBEDDED:
        return
    if tf.io.gfile.isdir(os.path.join(os.path.expanduser(data_dir), base)):
        return
    known = [*TRANSFER_SETS, *tfds.list_builders(with_community_datasets=False)]
    if base not in known:
        close = difflib.get_close_matches(base, known, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ConfigError(
            f"unknown data set --transfer_datasets={name}{hint} (own images: "
            f"{name}=FOLDER)"
        )


def _open_known(data: DataConfig, known: TransferSet) -> TransferSplits:
    if known.dataset is None:
        raise ConfigError(
            f"{known.title} is not a TFDS set; pass {known.name}=FOLDER with "
            "FOLDER/train/CLASS/, FOLDER/validation/CLASS/ and FOLDER/test/CLASS/"
        )
    data = _plain(data, dataset=known.dataset, label_key=known.label_key)
    opens = open_multi_label if known.metric == "map11" else opening.open_split
    read = functools.partial(opens, data)
    train, validation, test = map(read, (known.train, known.validation, known.test))
    return TransferSplits(train, validation, test, read, known.metric)


def _open_tfds(data: DataConfig, name: str) -> TransferSplits:
    """Open any other set by its own splits, as far as it has them."""
    builder = prepare.prepared_builder(
        name, data_dir=data.data_dir, download=data.download
    )
    data = _plain(data, dataset=name)
    splits = [s for s, info in builder.info.splits.items() if info.num_examples]
    return _open_by_names(functools.partial(opening.open_split, data), splits, name)


def _open_folder(
    data: DataConfig, folder: str, known: TransferSet | None
) -> TransferSplits:
    images = image_sets.open_image_set(_plain(data, image_dir=folder))
    read = functools.partial(
        images.open, channels=data.image_channels, pixels=data.pixel_range
    )
    splits = [split for split, rows in images.splits.items() if len(rows)]
    opened = _open_by_names(read, splits, folder)
    return dataclasses.replace(opened, metric=known.metric) if known else opened


def _open_by_names(
    read: Callable[[str], Split], splits: Sequence[str], name: str
) -> TransferSplits:
    """Fit on train, choose on validation, report on test, and fill what is missing.

    Without test, validation is reported on and a tenth of train chosen on; without
    validation, a fifth of train is chosen on.
    """
    if "train" not in splits or not {"test", "validation"} & set(splits):
        raise ConfigError(
            f"{name} has the splits {', '.join(splits)}; transfer needs train and test "
            "(or validation)"
        )
    tested = read("test") if "test" in splits else None
    if tested is not None and not tested.has_labels and "validation" in splits:
        tested = None
    if tested is None:
        note = "no labelled test split: validation is test, a tenth of train chooses"
        logger.warning("%s: %s", name, note)
        parts = (read(FIT_MOST), read(CHOOSE_FEW), read("validation"))
    elif "validation" in splits:
        note, parts = "", (read("train"), read("validation"), tested)
    else:
        note = "no validation split: the last fifth of train chooses"
        parts = (read(FIT), read(CHOOSE), tested)
    for split in parts:
        datasets.require_labels(split)
    return TransferSplits(*parts, read, note=note)


def _plain(data: DataConfig, **changes: Any) -> DataConfig:
    """Return the config of how images are read, for another source than the run's."""
    elsewhere: dict[str, Any] = {
        "image_dir": None,
        "manifest": None,
        "tfrecords": None,
        "image_layout": "auto",
        "label_columns": (),
        "image_key": "image",
        "label_key": "label",
        "data_service": None,
    }
    return dataclasses.replace(data, **{**elsewhere, **changes})
