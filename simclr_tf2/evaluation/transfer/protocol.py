"""Transfer of the network to other data sets (SimCLR, section 4.3, B.8)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2.augmentations import crop
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.transfer_sets import PUBLISHED, TRANSFER_SETS
from simclr_tf2.data.transfer_splits import TransferSplits, open_all, parse_datasets
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.features.frozen import assert_unchanged
from simclr_tf2.evaluation.measured import Measured
from simclr_tf2.evaluation.subject import Conditions, Subject
from simclr_tf2.evaluation.transfer.finetune import measure_finetuned
from simclr_tf2.evaluation.transfer.linear import run_linear
from simclr_tf2.results.transfer_table import KEYS

logger = logging.getLogger(__name__)

FeaturesOf = Callable[[Split], Features]
PROPORTION = 1.0  # side of the window, as a part of the largest possible one


def measure(subject: Subject) -> Measured:
    """Run each method of ``--transfer_methods`` on each data set."""
    others = measure_transfer(
        subject.conditions, subject.encoder, keep_features=subject.keep
    )
    return Measured(others=others)


def measure_transfer(
    conditions: Conditions, encoder: keras.Model, *, keep_features: Path | None = None
) -> dict[str, dict[str, Any]]:
    """Run each method of ``--transfer_methods`` on each data set.

    Args:
        conditions: Settings and devices; the splits are not read. The trials of
            fine-tuning are kept in its run folder.
        encoder: Images -> h; not moved by this (checked bit for bit).
        keep_features: The folder that keeps the features; None keeps none.

    Returns:
        A value of ``KEYS`` -> what ``transfer`` returns.

    Raises:
        ConfigError: As ``transfer``.
    """
    names, folders = parse_datasets(conditions.evaluation.transfer_datasets)
    found = open_all(conditions.data, names, folders)
    features = encode_with(conditions, encoder, keep_features)
    results = {
        KEYS[method]: _measure_sets(
            conditions,
            encoder,
            found,
            method=method,
            features=features,
            keep=conditions.folder,
        )
        for method in conditions.evaluation.transfer_methods
    }
    _require_measured(*results.values())
    return results


def transfer(
    conditions: Conditions,
    encoder: keras.Model,
    *,
    names: Sequence[str],
    folders: Mapping[str, str] | None = None,
    method: str = "linear",
    features: FeaturesOf | None = None,
    keep: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Transfer to each named data set by one method.

    Every set is opened before the first is measured. One that is not prepared, or that
    cannot be measured, is left out with a line that says why, and stays in the result.

    Args:
        conditions: Settings and devices; ``data`` says where prepared sets lie and how
            images are read.
        encoder: Images -> h; not moved by this (checked bit for bit).
        names: As ``parse_datasets`` gives them.
        folders: Name -> folder of images, in place of the TFDS set.
        method: A key of ``KEYS``.
        features: How a split becomes features of the linear method; None runs
            ``encoder`` over ``view_dataset`` and keeps nothing.
        keep: The folder that keeps the trials of fine-tuning.

    Returns:
        Name -> record, ready for JSON: ``value`` in [0, 1] (None: not measured, and
        ``not_measured`` says why), ``measure``, ``published`` (or None), the splits and
        their sizes, the view, and what ``run_linear`` or ``measure_finetuned`` returns.

    Raises:
        ConfigError: An unknown name, a folder that cannot be used, or none of the sets
            prepared or measured.
    """
    found = open_all(conditions.data, names, folders or {})
    features = features or encode_with(conditions, encoder, None)
    results = _measure_sets(
        conditions, encoder, found, method=method, features=features, keep=keep
    )
    _require_measured(results)
    return results


def _measure_sets(
    conditions: Conditions,
    encoder: keras.Model,
    found: Mapping[str, TransferSplits | str],
    *,
    method: str,
    features: FeaturesOf,
    keep: Path | None,
) -> dict[str, dict[str, Any]]:
    """Transfer to what ``open_all`` gave; an error in one set ends only that set."""
    results = {}
    with assert_unchanged(encoder):
        for name, opened in found.items():
            if isinstance(opened, str):
                results[name] = _not_measured(name, method, opened)
                continue
            splits = (opened.train, opened.validation, opened.test)
            logger.info(
                "transfer (%s) to %s: %s images",
                method,
                name,
                " + ".join(str(split.num_examples) for split in splits),
            )
            try:
                measured = (
                    _measure_linear(conditions, opened, features)
                    if method == "linear"
                    else measure_finetuned(
                        conditions, encoder, opened, name=name, method=method, keep=keep
                    )
                )
            except ConfigError as error:
                logger.warning("%s is not measured (%s): %s", name, method, error)
                results[name] = _not_measured(name, method, str(error))
                continue
            results[name] = _record(name, method, opened, measured)
            logger.info("%s: %s %.2f %%", name, opened.metric, 100 * measured["value"])
    return results


def _require_measured(*results: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse, with the reasons, if no method has a value for any set."""
    records = [record for each in results for record in each.values()]
    if records and all(record["value"] is None for record in records):
        reasons = dict.fromkeys(f"{r['dataset']}: {r['not_measured']}" for r in records)
        raise ConfigError(
            f"no transfer data set could be measured: {'; '.join(reasons)}"
        )


def view_dataset(
    split: Split, *, batch_size: int, image_size: int | tuple[int, int]
) -> tf.data.Dataset:
    """Make a dataset of every image once: resized and cropped at the centre.

    The shorter side is brought to ``image_size`` and the centre cut out.

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
            split.source.decode(example),
            height=height,
            width=width,
            proportion=PROPORTION,
        )
        return {"image": tf.clip_by_value(image, 0, 1), "label": example["label"]}

    dataset = split.as_dataset().map(
        tf.autograph.experimental.do_not_convert(view),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def encode_with(
    conditions: Conditions, encoder: keras.Model, folder: Path | None
) -> FeaturesOf:
    """Return a function from a split to features: on all replicas, of ``view_dataset``.

    Args:
        conditions: Settings and devices.
        encoder: Images -> h.
        folder: The run folder that keeps them; None keeps nothing.
    """

    def dataset(split: Split, limit: int | None) -> tf.data.Dataset:
        assert limit is None, limit
        return view_dataset(
            split,
            batch_size=conditions.evaluation.eval_batch_size,
            image_size=conditions.data.image_size,
        )

    def key(split: Split) -> dict[str, Any]:
        size = list(conditions.data.height_width)
        # One set of images can be read with other labels.
        labels = [split.num_classes, *split.label_shape]
        return {"view": {"size": size, "window": PROPORTION}, "labels": labels}

    of = conditions.features_of(folder, extractor.View(dataset, key))
    return lambda split: of(encoder, split, None)


def _measure_linear(
    conditions: Conditions, opened: TransferSplits, features: FeaturesOf
) -> dict[str, Any]:
    train, validation, test = map(
        features, (opened.train, opened.validation, opened.test)
    )
    found = run_linear(
        train, validation, test, metric=opened.metric, seed=conditions.seed
    )
    size = "x".join(map(str, conditions.data.height_width))
    return {
        "feature_dim": int(train.features.shape[1]),
        "view": f"shorter side and centre {size}, bicubic, no augmentation",
        **found,
    }


def _record(
    name: str, method: str, opened: TransferSplits, measured: dict[str, Any]
) -> dict[str, Any]:
    train, validation = opened.train, opened.validation
    return {
        **_identity(name, method, opened.metric),
        "source": train.name,
        "train_split": opened.train_and_validation,
        "train_examples": train.num_examples + validation.num_examples,
        "validation_split": validation.split,
        "test_split": opened.test.split,
        "test_examples": opened.test.num_examples,
        "num_classes": train.num_classes,
        "note": opened.note,
        **measured,
    }


def _identity(name: str, method: str, metric: str) -> dict[str, Any]:
    return {
        "protocol": "transfer",
        "method": method,
        "dataset": name,
        "measure": metric,
        "published": PUBLISHED.get(method, {}).get(name),
    }


def _not_measured(name: str, method: str, reason: str) -> dict[str, Any]:
    known = TRANSFER_SETS.get(name)
    metric = known.metric if known else "top1"
    return _identity(name, method, metric) | {"value": None, "not_measured": reason}
