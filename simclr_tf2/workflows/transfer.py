"""How well h carries over to other data sets (SimCLR, section 4.3, appendix B.8)."""

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

import keras
import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_tf2 import evaluation
from simclr_tf2.augmentations import crop
from simclr_tf2.config import Config, ConfigError, DataConfig
from simclr_tf2.data import datasets, image_sets, opening, prepare, records, sources
from simclr_tf2.data.datasets import Split
from simclr_tf2.evaluation import Features
from simclr_tf2.evaluation.transfer import TRANSFER_SETS, TransferSet, run_linear

logger = logging.getLogger(__name__)

ALL = "all"
# Of sets without a split to choose on [ours].
FIT, CHOOSE = "train[:80%]", "train[80%:]"
FIT_MOST, CHOOSE_FEW = "train[:90%]", "train[90%:]"

FeaturesOf = Callable[[Split], Features]


@dataclass(frozen=True)
class Opened:
    """Three splits of one data set, ready to be encoded.

    Attributes:
        train: To fit on.
        validation: To choose lambda on.
        test: To report on.
        metric: How it is scored.
        note: What is unusual about the splits, or "".
    """

    train: Split
    validation: Split
    test: Split
    metric: str
    note: str = ""


def parse_datasets(items: Iterable[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """What ``--transfer_datasets`` names.

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


def transfer(
    config: Config,
    encoder: keras.Model,
    *,
    names: Sequence[str],
    folders: Mapping[str, str] | None = None,
    features: FeaturesOf | None = None,
) -> dict[str, dict[str, Any]]:
    """Linear evaluation of the frozen encoder on each named data set.

    Every set is opened before the first is measured. One that is not prepared is left
    out with a line that says what to do, and stays in the result as not measured.

    Args:
        config: Whole config; ``data`` says where prepared sets lie and how images are
            read, ``evaluation.eval_batch_size`` and ``seed`` are used as they are.
        encoder: Images -> h; not moved by this (checked bit for bit).
        names: As ``parse_datasets`` gives them.
        folders: Name -> folder of images, in place of the TFDS set.
        features: How a split becomes features; None runs ``encoder`` over
            ``view_dataset``.

    Returns:
        Name -> record, ready for JSON: ``value`` in [0, 1] (None: not measured, and
        ``not_measured`` says why), ``measure``, ``published`` (or None), the splits and
        their sizes, the view, and what ``run_linear`` returns.

    Raises:
        ConfigError: An unknown name, a folder that cannot be used, none of the sets
            prepared, or features that no classifier can be fitted on.
    """
    folders = folders or {}
    for name in names:
        if name not in folders:
            _require_known(name, config.data.data_dir)
    found = {name: _open_or_reason(config.data, name, folders) for name in names}
    reasons = [reason for reason in found.values() if isinstance(reason, str)]
    if len(reasons) == len(found):
        raise ConfigError(f"no transfer data set can be measured: {reasons[0]}")
    of = features or _encode_with(config, encoder)
    results = {}
    with evaluation.assert_unchanged(encoder):
        for name, opened in found.items():
            if isinstance(opened, str):
                results[name] = _not_measured(name, opened)
            else:
                results[name] = _measure(config, name, opened, of)
    return results


def view_dataset(
    split: Split, *, batch_size: int, image_size: int | tuple[int, int]
) -> tf.data.Dataset:
    """Every image once, its shorter side brought to ``image_size``, centre cut out.

    Bicubic without antialias, as all crops here; no augmentation (SimCLR, appendix
    B.8.1). The window is cut first and then resized, which is the same but for rounding
    and for what the outermost pixels see beyond the window.

    Args:
        split: What was opened.
        batch_size: Images of a batch; the last may be shorter.
        image_size: Side of the view, or (height, width).

    Returns:
        A dataset of {"image": float32 [b, h, w, c] in [0, 1], "label": int64 [b] or
        [b, l]}.
    """
    height, width = crop.height_and_width(image_size)

    def view(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        image = crop.center_crop_and_resize(
            split.source.decode(example), height=height, width=width, proportion=1.0
        )
        return {"image": tf.clip_by_value(image, 0, 1), "label": example["label"]}

    dataset = split.as_dataset().map(
        tf.autograph.experimental.do_not_convert(view),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _encode_with(config: Config, encoder: keras.Model) -> FeaturesOf:
    # One function for all splits: each would be traced anew otherwise.
    encode = tf.function(lambda images: encoder(images, training=False))

    def features(split: Split) -> Features:
        dataset = view_dataset(
            split,
            batch_size=config.evaluation.eval_batch_size,
            image_size=config.data.image_size,
        )
        return evaluation.extract(encode, dataset, name=split.split)

    return features


def _measure(
    config: Config, name: str, opened: Opened, features: FeaturesOf
) -> dict[str, Any]:
    splits = (opened.train, opened.validation, opened.test)
    logger.info(
        "transfer to %s: %s images",
        name,
        " + ".join(str(split.num_examples) for split in splits),
    )
    train, validation, test = map(features, splits)
    found = run_linear(train, validation, test, metric=opened.metric, seed=config.seed)
    logger.info("%s: %s %.2f %%", name, found["measure"], 100 * found["value"])
    size = "x".join(map(str, config.data.height_width))
    return {
        **_identity(name, opened.metric),
        "source": opened.train.name,
        "train_split": f"{opened.train.split}+{opened.validation.split}",
        "train_examples": len(train) + len(validation),
        "validation_split": opened.validation.split,
        "test_split": opened.test.split,
        "test_examples": len(test),
        "num_classes": opened.train.num_classes,
        "feature_dim": int(train.features.shape[1]),
        "view": f"shorter side and centre {size}, bicubic, no augmentation",
        "note": opened.note,
        **found,
    }


def _identity(name: str, metric: str) -> dict[str, Any]:
    known = TRANSFER_SETS.get(name)
    return {
        "protocol": "transfer",
        "dataset": name,
        "measure": metric,
        "published": known.published if known else None,
    }


def _not_measured(name: str, reason: str) -> dict[str, Any]:
    known = TRANSFER_SETS.get(name)
    metric = known.metric if known else "top1"
    return _identity(name, metric) | {"value": None, "not_measured": reason}


def _open_or_reason(
    data: DataConfig, name: str, folders: Mapping[str, str]
) -> Opened | str:
    """The splits, or the line that says why they cannot be had."""
    known = TRANSFER_SETS.get(name)
    if name in folders:
        return _open_folder(data, folders[name], known)
    try:
        return _open_known(data, known) if known else _open_tfds(data, name)
    except ConfigError as error:
        logger.warning("transfer to %s is not measured: %s", name, error)
        return str(error)


def _require_known(name: str, data_dir: str) -> None:
    """Refuse a name that nothing can be meant by, before hours of work."""
    base = re.split("[/:]", name)[0]
    if name in TRANSFER_SETS or base == prepare.EMBEDDED:
        return
    if os.path.isdir(os.path.join(os.path.expanduser(data_dir), base)):
        return
    known = [*TRANSFER_SETS, *tfds.list_builders(with_community_datasets=False)]
    if base not in known:
        close = difflib.get_close_matches(base, known, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ConfigError(
            f"unknown data set --transfer_datasets={name}{hint} (own images: "
            f"{name}=FOLDER)"
        )


def _open_known(data: DataConfig, known: TransferSet) -> Opened:
    if known.dataset is None:
        raise ConfigError(
            f"{known.title} is not a TFDS set; pass {known.name}=FOLDER with "
            "FOLDER/train/CLASS/, FOLDER/validation/CLASS/ and FOLDER/test/CLASS/"
        )
    data = _plain(data, dataset=known.dataset, label_key=known.label_key)
    read = _open_presence if known.metric == "map11" else opening.open_split
    train, validation, test = (
        read(data, split) for split in (known.train, known.validation, known.test)
    )
    return Opened(train, validation, test, known.metric)


def _open_tfds(data: DataConfig, name: str) -> Opened:
    """Any other set: its own splits, as far as it has them."""
    builder = prepare.prepared_builder(
        name, data_dir=data.data_dir, download=data.download
    )
    data = _plain(data, dataset=name)
    splits = [s for s, info in builder.info.splits.items() if info.num_examples]
    return _open_by_names(functools.partial(opening.open_split, data), splits, name)


def _open_folder(data: DataConfig, folder: str, known: TransferSet | None) -> Opened:
    images = image_sets.open_image_set(_plain(data, image_dir=folder))
    read = functools.partial(images.open, channels=data.image_channels)
    splits = [split for split, rows in images.splits.items() if len(rows)]
    opened = _open_by_names(read, splits, folder)
    return dataclasses.replace(opened, metric=known.metric) if known else opened


def _open_by_names(
    read: Callable[[str], Split], splits: Sequence[str], name: str
) -> Opened:
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
    return Opened(*parts, "top1", note)


def _plain(data: DataConfig, **changes: Any) -> DataConfig:
    """How images are read, of another source than the run's."""
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


def _open_presence(data: DataConfig, split: str) -> Split:
    """A split of VOC: which classes an image shows, int64 [l] of 1, 0 and -1.

    -1 where all objects of the class are marked difficult, as its own evaluation
    ignores them.
    """
    builder = prepare.prepared_builder(
        data.dataset, data_dir=data.data_dir, download=data.download
    )
    try:
        info = builder.info.splits[split]
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{data.dataset} has no split {split!r}") from error
    label = builder.info.features["labels"].feature
    shape = (None, None, data.image_channels)
    return Split(
        name=data.dataset,
        split=split,
        num_examples=info.num_examples,
        num_classes=label.num_classes,
        class_names=tuple(label.names),
        has_labels=False,
        image_shape=shape,
        source=sources.RecordSource(
            shards=records.Shards.from_info(builder, info, None),
            read=functools.partial(_read_presence, builder, split, label.num_classes),
            shape=shape,
        ),
        label_shape=(label.num_classes,),
    )


def _read_presence(builder: Any, split: str, count: int) -> tf.data.Dataset:
    wanted = {"image": True, "labels": True, "labels_no_difficult": True}
    decoders = {"image": tfds.decode.SkipDecoding()}
    with prepare.quiet_tfds():
        dataset = builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(wanted, decoders=decoders),
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )

    def presence(labels: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(tf.one_hot(labels, count, True, False), axis=0)

    def example(index: tf.Tensor, stored: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        sure = tf.cast(presence(stored["labels_no_difficult"]), tf.int64)
        some = tf.cast(presence(stored["labels"]), tf.int64)
        return {"image": stored["image"], "label": 2 * sure - some, "index": index}

    return dataset.enumerate().map(example)
