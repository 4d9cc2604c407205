"""``--protocols=semi``: fine-tune a run's network on few labels (SimCLR, B.5)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from typing import Any

import tensorflow as tf

from simclr_tf2 import addresses, models
from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config
from simclr_tf2.data import prepare
from simclr_tf2.errors import ConfigError, NotFinite
from simclr_tf2.evaluation import finetuning
from simclr_tf2.evaluation.features import cache as feature_cache
from simclr_tf2.evaluation.measured import Measured
from simclr_tf2.evaluation.subject import Subject
from simclr_tf2.results.rows import FINETUNED_ROW
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.training import semi_recipe
from simclr_tf2.training.labelled import Labelled, open_labelled
from simclr_tf2.training.semi_recipe import Share
from simclr_tf2.training.splits import open_split

logger = logging.getLogger(__name__)

# Number of digits of digests in the names of folders.
DIGITS_OF_WEIGHTS, DIGITS_OF_SETTINGS = 12, 6
# Number of checkpoints of a fine-tuning, and minimum number of lines of its log.
PARTS = 10


def measure(subject: Subject) -> Measured:
    """Fine-tune the network on each share of the labels."""
    found = measure_semi(
        subject.conditions.run, subject.model, subject.conditions.strategy
    )
    return Measured(others={"semi": found})


def measure_semi(
    config: Config, model: models.SimCLR, strategy: tf.distribute.Strategy
) -> dict[str, dict[str, Any]]:
    """Fine-tune on each share of the labels, in ``semi/`` of the run folder.

    Args:
        config: The whole config of the run; the labels are those of ``--probe_split``
            or ``--train_split``.
        model: The network that fine-tuning starts from; its weights do not change.
        strategy: The devices.

    Returns:
        Title of the share -> record with ``value``, top-1 in [0, 1] (None: not
        measured, and ``not_measured`` says why), ``top5`` and the recipe. There are
        such records for each of ``--finetune_baselines``, too.

    Raises:
        ConfigError: No share of the labels can be made.
    """
    fraction, count = config.data.label_fraction, config.data.labels_per_class
    split = open_split(
        config.data,
        config.evaluation,
        config.evaluation.probe_split or config.data.train_split,
    )
    results: dict[str, dict[str, Any]] = {}
    for share in semi_recipe.shares(
        label_fraction=fraction,
        labels_per_class=count,
        all_labels="label_fraction" in config_lib.given_settings(config),
    ):
        published = _published_subset(config, share)
        reason = semi_recipe.too_small(
            share, num_examples=split.num_examples, num_classes=split.num_classes or 0
        )
        if reason and not published:
            logger.warning("semi: %s", reason)
            unmeasured = {"value": None, "not_measured": reason}
            results[share.title] = unmeasured | {"dataset": config.data.source}
        else:
            planned = _without_batch(config, model, share, published)
            images = semi_recipe.IMAGES if published else split.num_examples
            results |= _measure(config, model, share, planned, images, strategy)
    return results


def _measure(
    config: Config,
    model: models.SimCLR,
    share: Share,
    planned: Config,
    images: int,
    strategy: tf.distribute.Strategy,
) -> dict[str, dict[str, Any]]:
    labelled = open_labelled(planned)
    labels, replicas = labelled.train.num_examples, strategy.num_replicas_in_sync
    run = _with_batch(
        config, share, planned, labels=labels, images=images, replicas=replicas
    )
    logger.info("semi: %s (%d images)", share.title, labelled.train.num_examples)
    try:
        record = finetuning.train_beside(
            run, strategy, labelled, row=FINETUNED_ROW, initial=model
        )
    except NotFinite as error:  # the other results are kept
        reason = f"{error}, or a smaller --semi_batch_size"
        logger.warning("semi: %s", reason)
        unmeasured = {"value": None, "not_measured": reason}
        return {share.title: unmeasured | _facts(run, share, labelled)}
    record["weights"] = feature_cache.digest_of_weights(model)
    results = {share.title: record | _facts(run, share, labelled)}
    for name in config.evaluation.finetune_baselines:
        (record,) = finetuning.measure_baseline(run, strategy, labelled, name).values()
        facts = _facts(finetuning.baseline_config(run, name), share, labelled)
        results[f"{share.title}: {record['row']}"] = record | facts
    return results


def _with_batch(
    config: Config,
    share: Share,
    planned: Config,
    *,
    labels: int,
    images: int,
    replicas: int,
) -> Config:
    """Return the planned run with batch, length and ten checkpoints.

    Args:
        config: The whole config of the run that is measured.
        share: Share of the labels.
        planned: The result of ``_without_batch``.
        labels: Number of images that are trained on.
        images: Number of all labelled images.
        replicas: Number of replicas, which share a batch.
    """
    asked, training = config.evaluation, planned.training
    held = asked.semi_batch_size or _held_at_once(config, replicas)
    batch = semi_recipe.batch_size(
        labels,
        wanted=asked.semi_batch_size or semi_recipe.paper_batch(images),
        most=held,
        replicas=replicas,
    )
    fraction = labels / images if share.count else share.fraction
    epochs = asked.semi_epochs or semi_recipe.epochs(fraction)
    tenth = max(1, round(epochs * labels / batch / PARTS))
    run = dataclasses.replace(
        planned,
        training=dataclasses.replace(
            training,
            train_batch_size=batch,
            train_epochs=epochs,
            checkpoint_epochs=max(training.checkpoint_epochs, epochs / PARTS),
            log_steps=min(training.log_steps, tenth),
        ),
    )
    assert run.model_dir is not None
    folder = addresses.local(run.model_dir) / _name_of_settings(run)
    return dataclasses.replace(run, model_dir=addresses.shown(folder))


def _name_of_settings(run: Config) -> str:
    """Return a name for the folder that depends on the settings of the recipe."""
    defaults, learned = config_lib.field_defaults(), config_lib.learned_settings()
    settings = {
        name: value
        for name, value in config_lib.to_flat(run).items()
        if name in learned and value != defaults[name]
    }
    text = json.dumps(settings, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGITS_OF_SETTINGS]
    training = run.training
    return (
        f"{training.train_epochs:g}_epochs-batch_{training.train_batch_size}-{digest}"
    )


def _facts(run: Config, share: Share, labelled: Labelled) -> dict[str, Any]:
    """Return the keys of a record that describe its recipe."""
    return {
        "protocol": "semi",
        "dataset": run.data.source,
        "labels": labelled.train.num_examples,
        "share": dataclasses.asdict(share),
        "epochs": run.training.train_epochs,
        "global_batch_size": run.training.train_batch_size,
        "optimizer": dataclasses.asdict(run.optimizer),
        "folder": run.model_dir,
    }


def _held_at_once(config: Config, replicas: int) -> int:
    """Return the number of views that pretraining had in the network at once."""
    micro = config.training.micro_batch_size * replicas
    images = micro or config.training.train_batch_size
    return images * config.augmentation.num_views


def _without_batch(
    config: Config, model: models.SimCLR, share: Share, published: str
) -> Config:
    """Return the run that fine-tunes on ``share``, without its batch and length.

    It has no ``--checkpoint``: the network is passed as an argument, and its digest is
    a part of the folder's name.
    """
    assert config.model_dir is not None
    digest = feature_cache.digest_of_weights(model)[:DIGITS_OF_WEIGHTS]
    name = share.title.replace("%", "percent").replace(" ", "_")
    data = dataclasses.replace(
        config.data,
        train_split=config.evaluation.probe_split or config.data.train_split,
        label_fraction=share.fraction,
        labels_per_class=share.count,
    )
    if published:
        data = dataclasses.replace(
            data, dataset=published, train_split="train", label_fraction=1.0
        )
    return dataclasses.replace(
        config,
        mode="finetune",
        model_dir=str(RunFolder.at(config.model_dir).semi(digest, name)),
        data=data,
        model=dataclasses.replace(config.model, fine_tune_after_block=-1),
        optimizer=semi_recipe.OPTIMIZER,
        training=dataclasses.replace(
            config.training,
            checkpoint=None,
            train_steps=0,
            micro_batch_size=0,
            weights_ema=0.0,
            monitor_epochs=0,
            finetune_validation=0.0,
        ),
        evaluation=dataclasses.replace(
            config.evaluation, finetune_baselines=(), protocols=(), eval_name=None
        ),
        export=dataclasses.replace(config.export, export_formats=()),
    )


def _published_subset(config: Config, share: Share) -> str:
    """Return the name of the paper's subset of ImageNet; "" for other data sets."""
    data = config.data
    name = semi_recipe.IMAGENET_SUBSETS.get(share.fraction, "")
    if not name or share.count or data.source != semi_recipe.IMAGENET:
        return ""
    try:
        prepare.prepared_builder(name, data_dir=data.data_dir, download=data.download)
    except ConfigError as error:
        logger.warning(
            "%s is not there, so %s are drawn from %s instead: %s",
            name,
            share.title,
            data.dataset,
            error,
        )
        return ""
    return name
