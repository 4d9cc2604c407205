"""Gather what report.html shows: history, pairs, neighbours, map, tables."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from simclr_tf2 import augmentations, evaluation, losses, plots, report
from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config
from simclr_tf2.data import datasets
from simclr_tf2.evaluation import Features
from simclr_tf2.startup import describe_environment
from simclr_tf2.training import summaries
from simclr_tf2.workflows import report_tables
from simclr_tf2.workflows.following import read_followed
from simclr_tf2.workflows.measuring import Measured, eval_dataset, limits
from simclr_tf2.workflows.splits import WITHOUT_LABELS, Splits, lack_of_labels

PAIRS = 8  # [ours] pictures in the report
MAP_IMAGES = 1000  # [ours] points of the map; also where neighbours are looked for


def write(
    config: Config,
    splits: Splits,
    encoder: keras.Model,
    measured: Measured,
    folder: Path,
    *,
    files: list[tuple[Path, str]],
    timings: dict[str, float],
    comparison: str = "",
) -> Path:
    """Write report.html (report_NAME.html) into the run folder and return its path.

    Args:
        config: Whole config of the run.
        splits: Opened splits.
        encoder: Images -> h.
        measured: What was found of it.
        folder: The run folder.
        files: What the run wrote, with a word about each.
        timings: Seconds per phase.
        comparison: With another run, as text.
    """
    name = config.evaluation.eval_name
    shown = splits.eval or splits.probe or splits.train
    images, test = _images_and_features(config, shown, encoder, measured.test)
    bank_split = splits.probe or splits.train
    bank_images, bank = None, None  # neighbours among the images that are shown
    if bank_split is not shown:
        bank_images, bank = _images_and_features(
            config, bank_split, encoder, measured.train
        )
    labelled = shown.has_labels and bank_split.has_labels
    numbers = tuple(map(str, range(shown.num_classes or 0)))
    class_names = shown.class_names or numbers
    pairs, notes = _pairs(config, splits.train)
    confusion, confusion_of = _confusion(measured.results, len(class_names))
    return report.write_report(
        folder / (f"report_{name}.html" if name else "report.html"),
        title=f"SimCLR {'' if splits.own else 'measured '}on {config.data.source}",
        config=_by_section(config),
        defaults=_by_section(config_lib.Config()),
        history=[*summaries.read_metrics(folder), *_followed(folder, name)],
        chance_loss=_chance_loss(config),
        results=report_tables.main_rows(measured.results),
        tables=report_tables.tables(measured, comparison),
        pairs=pairs,
        pair_notes=notes,
        test_images=images,
        test_features=test.features,
        test_labels=test.labels if shown.has_labels else None,
        bank_images=bank_images,
        bank_features=bank.features if bank else None,
        bank_labels=bank.labels if bank and labelled else None,
        images_are="test images" if splits.eval is not None else "training images",
        class_names=class_names,
        chance=_chance(measured.results),
        no_accuracy="" if measured.results else why_no_accuracy(config, splits),
        confusion=confusion,
        confusion_of=confusion_of,
        timings=timings,
        environment=describe_environment(),
        files=[(path.relative_to(folder), text) for path, text in files],
    )


def _images_and_features(
    config: Config, split: datasets.Split, encoder: keras.Model, known: Features | None
) -> tuple[np.ndarray, Features]:
    """The first images of a split with their h, from ``known`` where it is there."""
    count = min(MAP_IMAGES, split.num_examples, *(x for x in limits(config) if x))
    dataset = eval_dataset(config, split, count)
    images = np.concatenate(
        [e["image"][e["mask"]] for e in dataset.as_numpy_iterator()]
    )
    if known is None:
        known = evaluation.extract(lambda x: encoder(x, training=False), dataset)
    return images, Features(known.features[:count], known.labels[:count])


def _pairs(
    config: Config, split: datasets.Split
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], list[tuple[str, str]]]:
    """Some images as evaluation sees them, two views of each, and what they drew."""
    size = config.data.image_size
    settings: dict[str, Any] = {
        "image_size": size,
        "strength": config.augmentation.color_jitter_strength,
        "use_blur": config.augmentation.use_blur,
    }
    rows, notes = [], []
    for i, example in enumerate(split.as_dataset().take(PAIRS)):
        image = split.source.decode(example)
        seeds = augmentations.view_seeds(tf.constant([config.seed, i]), num_views=2)
        views = [
            augmentations.pretrain_view(image, seed=seed, **settings) for seed in seeds
        ]
        rows.append((augmentations.eval_view(image, image_size=size), *views))
        first, second = (
            plots.caption(
                augmentations.describe_view(image.shape, seed=seed, **settings)
            )
            for seed in seeds
        )
        notes.append((first, second))
    originals, view1, view2 = (np.stack(column) for column in zip(*rows, strict=True))
    return (originals, view1, view2), notes


def _chance_loss(config: Config) -> float | None:
    """Of NT-Xent, whose formula the plot names."""
    batch = config.training.train_batch_size
    value, _ = losses.chance_level(config.loss, global_batch_size=batch)
    return value if config.loss.loss == "nt_xent" else None


def _chance(results: dict[str, dict[str, Any]]) -> float | None:
    """Accuracy of guessing on the images of ``results``, where they say it."""
    found = [r["chance"] for r in results.values() if r.get("chance") is not None]
    return found[0] if found else None


def why_no_accuracy(config: Config, splits: Splits) -> str:
    """Say why a run has no accuracy to show."""
    protocols, source = config.evaluation.protocols, config.data.source
    if not protocols:
        return "No accuracy was measured: --protocols is empty."
    names = ",".join(protocols)
    if splits.probe is not None or set(protocols) <= WITHOUT_LABELS:
        return f"No accuracy was measured: --protocols={names} use no labels."
    has = lack_of_labels(config, splits.train)
    return f"No accuracy was measured: {source} has {has}."


def _by_section(config: Config) -> dict[str, dict[str, Any]]:
    """The config as the report shows it: section -> name -> value.

    ``dataset`` is left out where images of another source are read.
    """
    flat = config_lib.to_flat(config)
    kinds = config_lib.sections()
    grouped = {
        section: {f.name: flat.pop(f.name) for f in dataclasses.fields(kind)}
        for section, kind in kinds.items()
    }
    if config.data.own_images:
        del grouped["data"]["dataset"]
    return {"run": flat, **grouped}


def _confusion(
    results: dict[str, dict[str, Any]], size: int
) -> tuple[np.ndarray | None, str]:
    """Confusion matrix of the first result that has one, and whose it is.

    It is over all classes of the data set.
    """
    for record in results.values():
        if "confusion" not in record:
            continue
        full = np.zeros([size, size], np.int64)
        full[np.ix_(record["classes"], record["classes"])] = record["confusion"]
        return full, f"{record['row']}, {evaluation.title(record['protocol'])}"
    return None, ""


def _followed(folder: Path, name: str | None) -> list[dict[str, float]]:
    """What was measured of the checkpoints, where there is more than one."""
    lines = read_followed(folder, name)
    return lines if len({line["step"] for line in lines}) > 1 else []


def files_there(folder: Path, name: str | None) -> list[tuple[Path, str]]:
    """What a run folder holds of what the report tells about."""
    mark = f"_{name}" if name else ""
    known = {
        "encoder.keras": "keras.models.load_model(path)(images) -> h",
        "saved_model": "tf.saved_model.load(path/STEP)(images) -> dict of endpoints",
        f"results{mark}.json": "all results, with settings and intervals",
        f"evaluations{mark}.jsonl": "one line per measured checkpoint",
        f"predictions{mark}.npz": "predicted labels, for --compare_with",
        f"best{mark}": "the best checkpoint so far: a run folder of its own",
    }
    return [
        (folder / path, text)
        for path, text in known.items()
        if (folder / path).exists()
    ]
