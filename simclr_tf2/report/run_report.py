"""Gather what report.html shows: history, pairs, neighbours, map, tables."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from simclr_tf2 import augmentations, evaluation, losses, plots
from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config
from simclr_tf2.data import datasets, pipeline, sampling
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.evaluation import Features
from simclr_tf2.evaluation.inputs import Splits, lack_of_labels
from simclr_tf2.evaluation.measured import Measured
from simclr_tf2.exports.formats import listed_formats
from simclr_tf2.files import writing
from simclr_tf2.protocols import that_take
from simclr_tf2.report import page, tables
from simclr_tf2.report.contents import (
    Confusion,
    EncodedImages,
    ReportData,
    Results,
    Views,
)
from simclr_tf2.results.curve import read_followed
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import logs, tensorboard_pictures
from simclr_tf2.startup import describe_environment

logger = logging.getLogger(__name__)

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
        splits: Training split and the labelled ones.
        encoder: Images -> h.
        measured: What was found of it.
        folder: The run folder.
        files: What the run wrote, with a word about each.
        timings: Seconds per phase.
        comparison: With another run, as text.
    """
    paths = RunFolder(folder, config.evaluation.eval_name)
    shown = splits.eval or splits.probe or splits.train
    numbers = tuple(map(str, range(shown.num_classes or 0)))
    class_names = shown.class_names or numbers
    test, bank = _test_and_bank(config, splits, encoder, measured)
    data = ReportData(
        title=f"{_what(config, splits)} on {config.data.source}",
        config=_by_section(config),
        defaults=_by_section(config_lib.Config()),
        history=[*_history(config, folder), *_followed(paths)],
        chance_loss=_chance_loss(config),
        supervised=_is_finetuned(config),
        results=Results(
            rows=tables.main_rows(measured.results),
            worth=measured.worth,
            tables=tables.tables(measured, comparison),
            chance=_chance(measured.results),
            missing="" if measured.results else why_no_accuracy(config, splits),
        ),
        views=_views(config, splits.train),
        test=test,
        bank=bank,
        images_are="test images" if splits.eval is not None else "training images",
        class_names=class_names,
        confusion=_confusion(measured.results, len(class_names)),
        timings=timings,
        environment=describe_environment(),
        files=[(path.relative_to(folder), text) for path, text in files],
    )
    _write_tensorboard(paths.picture_events, _last_step(folder), data)
    return page.write_report(paths.report, data)


def _write_tensorboard(folder: Path, step: int, data: ReportData) -> None:
    """Add augmented pairs, nearest images and a projector to the events of a run.

    A failure is logged, not raised: neither the report nor the results depend on the
    events.
    """
    views, test = data.views, data.test
    assert views is not None
    assert test is not None
    figures = {
        "augmented pairs": plots.augmentation_grid(
            views.originals, views.view1, views.view2
        ),
        "nearest images": _nearest(test, data.bank),
    }
    pngs = {name: plots.to_png(figure, dpi=110) for name, figure in figures.items()}
    try:
        with writing(folder):
            for name, png in pngs.items():
                tensorboard_pictures.write_picture(folder, name, png, step=step)
            tensorboard_pictures.write_projector(
                folder,
                test.features,
                images=plots.to_uint8(test.images),
                labels=test.labels,
                class_names=data.class_names,
            )
    except OSError as error:
        logger.warning("TensorBoard: pictures were not written: %s", error)


def _nearest(test: EncodedImages, bank: EncodedImages | None) -> Any:
    """Draw random images beside their nearest ones, of the bank or of the same set."""
    chosen = plots.choose_queries(test.labels, total=len(test.images), count=PAIRS)
    among = bank or test
    found, similarity = plots.nearest(
        test.features[chosen],
        among.features,
        k=PAIRS,
        leave_out=chosen if bank is None else None,
    )
    captions = [[f"{value:.2f}" for value in row] for row in similarity]
    return plots.nearest_images(test.images[chosen], among.images[found], captions)


def _last_step(folder: Path) -> int:
    return max((int(x["step"]) for x in logs.read_metrics(folder)), default=0)


def _test_and_bank(
    config: Config, splits: Splits, encoder: keras.Model, measured: Measured
) -> tuple[EncodedImages, EncodedImages | None]:
    """Return images to show, and those in which their neighbours are looked for.

    None for the second: neighbours are looked for among the images that are shown.
    """
    shown = splits.eval or splits.probe or splits.train
    test = _encoded(config, shown, encoder, measured.test)
    bank_split = splits.probe or splits.train
    if bank_split is shown:
        return test, None
    bank = _encoded(config, bank_split, encoder, measured.train)
    if not shown.has_labels:  # nothing to compare these labels with
        bank = dataclasses.replace(bank, labels=None)
    return test, bank


def _encoded(
    config: Config, split: datasets.Split, encoder: keras.Model, known: Features | None
) -> EncodedImages:
    """Return a sample of a split with its h, from ``known`` where it is there."""
    if known is not None:  # of the images of a limit
        split = sampling.sample(split, len(known))
    count = min(
        MAP_IMAGES, split.num_examples, *(x for x in config.evaluation.limits if x)
    )
    rows = sampling.sampled_rows(split, count)
    dataset = pipeline.make_eval_dataset(
        split,
        batch_size=config.evaluation.eval_batch_size,
        image_size=config.data.image_size,
        limit=count,
    )
    images = np.concatenate(
        [e["image"][e["mask"]] for e in dataset.as_numpy_iterator()]
    )
    if known is None:
        found = evaluation.extract(lambda x: encoder(x, training=False), dataset)
    else:
        found = Features(known.features[rows], known.labels[rows])
    return EncodedImages(
        images=images,
        features=found.features,
        labels=found.labels if split.has_labels else None,
    )


def _views(config: Config, split: datasets.Split) -> Views:
    """Return images as evaluation sees them, two views of each, and what they drew."""
    make = _classifier_views if _is_finetuned(config) else _contrastive_views
    rows, notes = [], []
    for i, example in enumerate(sampling.sample(split, PAIRS).as_dataset()):
        image = split.source.decode(example)
        views, note = make(config, image, i)
        size = config.data.image_size
        rows.append((augmentations.eval_view(image, image_size=size), *views))
        notes.append(note)
    originals, view1, view2 = (np.stack(column) for column in zip(*rows, strict=True))
    return Views(originals=originals, view1=view1, view2=view2, notes=notes)


def _contrastive_views(
    config: Config, image: tf.Tensor, number: int
) -> tuple[list[tf.Tensor], tuple[str, str]]:
    """Make two views of pretraining and say what was drawn for them."""
    settings = ViewSpec.for_pairs(config.augmentation, config.data.image_size).settings
    seeds = augmentations.view_seeds(tf.constant([config.seed, number]), num_views=2)
    views = [
        augmentations.pretrain_view(image, seed=seed, **settings) for seed in seeds
    ]
    first, second = (
        plots.caption(augmentations.describe_view(image.shape, seed=seed, **settings))
        for seed in seeds
    )
    return views, (first, second)


def _classifier_views(
    config: Config, image: tf.Tensor, number: int
) -> tuple[list[tf.Tensor], tuple[str, str]]:
    """Make two views of fine-tuning, which need no words."""
    views = [
        augmentations.finetune_view(
            image,
            seed=tf.constant([config.seed, 2 * number + view]),
            image_size=config.data.image_size,
        )
        for view in range(2)
    ]
    return views, ("", "")


def _is_finetuned(config: Config) -> bool:
    return "finetune" in (config.mode, config.train_mode)


def _what(config: Config, splits: Splits) -> str:
    if _is_finetuned(config):
        return "SimCLR fine-tuned" if splits.same_data else "Fine-tuned SimCLR measured"
    return "SimCLR" if splits.same_data else "SimCLR measured"


def _history(config: Config, folder: Path) -> list[dict[str, float]]:
    """Read the lines of metrics.jsonl; rename the scalars of a classifier."""
    lines = logs.read_metrics(folder)
    if not _is_finetuned(config):
        return lines
    names = {"loss": "classification_loss", "supervised_accuracy": "training_accuracy"}
    return [{names.get(k, k): v for k, v in line.items()} for line in lines]


def _chance_loss(config: Config) -> float | None:
    """Return the chance level of NT-Xent, whose formula the plot names, else None."""
    if _is_finetuned(config):
        return None
    batch = config.training.train_batch_size
    value, _ = losses.chance_level(config.loss, global_batch_size=batch)
    return value if config.loss.loss == "nt_xent" else None


def _chance(results: dict[str, dict[str, Any]]) -> float | None:
    """Return the share of the commonest class of the test images.

    None where ``results`` do not say it.
    """
    found = [r["chance"] for r in results.values() if r.get("chance") is not None]
    return found[0] if found else None


def why_no_accuracy(config: Config, splits: Splits) -> str:
    """Say why a run has no accuracy to show."""
    protocols, source = config.evaluation.protocols, config.data.source
    if not protocols:
        return "No accuracy was measured: --protocols is empty."
    names = ",".join(protocols)
    if splits.probe is not None or that_take("none", protocols) == protocols:
        return f"No accuracy was measured: --protocols={names} use no labels."
    has = lack_of_labels(config, splits.train)
    return f"No accuracy was measured: {source} has {has}."


def _by_section(config: Config) -> dict[str, dict[str, Any]]:
    """Return the config as the report shows it: section -> name -> value.

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


def _confusion(results: dict[str, dict[str, Any]], size: int) -> Confusion | None:
    """Return the confusion matrix of the first result that has one.

    It is over all classes of the data set.
    """
    for record in results.values():
        if "confusion" not in record:
            continue
        full = np.zeros([size, size], np.int64)
        full[np.ix_(record["classes"], record["classes"])] = record["confusion"]
        title = f"{record['row']}, {evaluation.title(record['protocol'])}"
        return Confusion(counts=full, title=title)
    return None


def _followed(folder: RunFolder) -> list[dict[str, float]]:
    """Read what was measured of the checkpoints, where there is more than one."""
    lines = read_followed(folder.evaluations)
    return lines if len({line["step"] for line in lines}) > 1 else []


def files_there(folder: RunFolder) -> list[tuple[Path, str]]:
    """List the files of a run folder that the report tells about, with a text."""
    known = {
        **listed_formats(folder),
        folder.results: "all results, with settings and intervals",
        folder.evaluations: "one line per measured checkpoint",
        folder.predictions: "predicted labels, for --compare_with",
        folder.neighbours: "nearest images of each image, for --compare_with",
        folder.best: "the best checkpoint so far: a run folder of its own",
    }
    return [(path, text) for path, text in known.items() if path.exists()]
