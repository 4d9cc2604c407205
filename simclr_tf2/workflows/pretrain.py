"""Pretrain: learn an encoder without labels, then evaluate, export and report."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2 import augmentations, distribution, losses, models, optimizers, startup
from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config
from simclr_tf2.data import pipeline, view_sizes
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.view_sizes import SizeStage
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import best_metric, monitoring, valid_loss
from simclr_tf2.evaluation.baselines import open_baseline
from simclr_tf2.evaluation.inputs import Splits, open_splits
from simclr_tf2.evaluation.subject import Conditions
from simclr_tf2.exports.formats import CLASSIFIER_FORMATS
from simclr_tf2.protocols import VALID_LOSS
from simclr_tf2.runs import best_checkpoint, pixels
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs import history as run_history
from simclr_tf2.runs.timing import timed
from simclr_tf2.training import (
    cached_gradients,
    finetune_settings,
    fitted,
    joint_start,
    length,
    loop,
    precision,
    progress,
    session,
    steps,
)
from simclr_tf2.training.optimizer import make_optimizer
from simclr_tf2.training.precision import layer_dtype
from simclr_tf2.workflows import conclusion

logger = logging.getLogger(__name__)


def pretrain(config: Config) -> dict[str, Any]:
    """Train from the newest checkpoint to the last step, then use the encoder.

    Returns:
        What results.json holds.

    Raises:
        ConfigError: A setting, the data or the run folder cannot be; nothing is
            written then.
    """
    started, asked = time.perf_counter(), config
    if config.model.fine_tune_after_block > -1:
        raise ConfigError(
            "--fine_tune_after_block freezes layers, which pretraining does not do; "
            "drop it or use --mode=finetune"
        )
    warn_of_no_effect(config)
    team = distribution.joined(config.distribution)
    with team.explaining():
        config, done = conclusion.finished_together(team, config, _checked)
        if done is not None:
            return done
        strategy = distribution.training_strategy(config.distribution)
        start = team.together(lambda: _prepared(config, strategy))
        config = joint_start.agree(
            team,
            start.config,
            start.splits.train,
            total_steps=start.total_steps,
            augment_backend=augment_backend(start.config),
        )
        distribution.log_devices(strategy)
        startup.log_kernels()
        timings = {"start": time.perf_counter() - started}

        opened = session.open_session(
            config,
            start.splits.train,
            strategy,
            lambda: build(config, start.splits.train, start.total_steps, strategy),
            total_steps=start.total_steps,
            classes=start.classes,
            asked=asked,
        )
        if opened.is_complete:
            logger.info(
                "training is finished: %d of %d steps",
                opened.start_step,
                start.total_steps,
            )
        else:
            with timed(timings, "training"):
                _train(opened, start.splits)
        return conclusion.by_chief(
            team,
            opened.last_step,
            lambda: conclusion.evaluate_and_conclude(
                config,
                # As --mode=eval opens it.
                dataclasses.replace(start.splits, train=start.whole),
                opened.trained_model(),
                opened.folder,
                step=opened.last_step,
                timings=timings,
            ),
        )


@dataclasses.dataclass(frozen=True)
class _Start:
    """What a run has decided and opened before its first step.

    Attributes:
        config: The whole config, with the chosen values.
        splits: The images; those that are held out are not in ``splits.train``.
        whole: The training images with those that are held out.
        total_steps: Number of steps in all.
        classes: Names of the classes.
    """

    config: Config
    splits: Splits
    whole: Split
    total_steps: int
    classes: Sequence[str]


def _checked(config: Config) -> Config:
    """Take the choices of an earlier start, and check the run folder."""
    config = fitted.with_earlier_choices(config)
    run_folder.check(config)
    return config


def _prepared(config: Config, strategy: tf.distribute.Strategy) -> _Start:
    """Open the images, make all choices, and check everything that can be checked.

    Raises:
        ConfigError: A setting, the data or the run folder cannot be.
    """
    config = pixels.recorded(config)
    finetune_settings.require_same_normalization(config)
    splits = open_splits(config)
    replicas = strategy.num_replicas_in_sync
    device = distribution.device_kind(strategy)
    config = fitted.to_images(config, splits.train, replicas=replicas, device=device)
    whole = splits.train
    splits = valid_loss.with_held_out(config.data, splits)
    check_valid_loss(config, splits)
    config = pixels.resolve(config, splits.train)
    total_steps = length.check_steps(
        config.training, config.data, splits.train, replicas
    )
    classes = run_history.class_names(splits.train, splits.probe)
    run_history.check(config, splits.train, classes=classes, total_steps=total_steps)
    check_micro_batches(config, replicas)
    view_sizes.check(config.augmentation, config.data.height_width)
    augment_backend(config)
    length.check_compile(config.training, strategy)
    if distribution.workers(strategy).is_chief:  # the others take its choice
        check_classifier(config, splits)
        for source in config.evaluation.baseline:
            open_baseline(source, config.data)  # refused now, not after training
        config = precision.resolve(config, strategy)
    return _Start(config, splits, whole, total_steps, classes)


def check_classifier(config: Config, splits: Splits) -> None:
    """Refuse ``--classifier_from`` where no classifier can be exported.

    Raises:
        ConfigError: No format of a classifier is exported, or there are no labels.
    """
    name = config.evaluation.classifier_from
    if not name:
        return
    if CLASSIFIER_FORMATS.isdisjoint(config.export.export_formats):
        raise ConfigError(
            f"--classifier_from={name} needs classifier or classifier_saved_model "
            "among --export_formats"
        )
    if splits.eval is None:
        raise ConfigError(
            f"--classifier_from={name} needs labelled images; fine-tune on some "
            "afterwards (--mode=finetune), or name them in --probe_split and "
            "--eval_split"
        )


def warn_of_no_effect(config: Config) -> None:
    """Warn once for each given setting that pretraining does not read."""
    flat, defaults = config_lib.to_flat(config), config_lib.field_defaults()
    unread = config_lib.reported_by_workflow("pretrain", config.evaluation.protocols)
    if config.evaluation.best_metric != VALID_LOSS:
        unread = ["best_metric", *unread]  # read with this value only
    for name in unread:
        if flat[name] != defaults[name]:
            logger.warning("--%s has no effect in --mode=pretrain", name)
    if "early_share" in config_lib.given_settings(config):
        if not config.augmentation.early_image_sizes:
            logger.warning("--early_share has no effect without --early_image_sizes")


def check_valid_loss(config: Config, splits: Splits) -> None:
    """Refuse to keep the best checkpoint by a loss that is never measured.

    Raises:
        ConfigError: ``--best_metric=valid_loss`` without held-out images or
            online evaluations.
    """
    best = best_by_valid_loss(config, splits)
    if best is not None and not config.training.monitor_epochs:
        raise ConfigError(
            "--best_metric=valid_loss is measured at each --monitor_epochs, and "
            "--monitor_epochs=0 means never; leave it out"
        )


def best_by_valid_loss(
    config: Config, splits: Splits
) -> best_checkpoint.BestCheckpoint | None:
    """Return the keeper of the best checkpoint during training, if asked for."""
    if config.evaluation.best_metric != VALID_LOSS:
        return None
    return best_metric.by_valid_loss(config.evaluation, splits, run_folder.of(config))


def build(
    config: Config,
    train: Split,
    total_steps: int,
    strategy: tf.distribute.Strategy,
) -> tuple[models.SimCLR, keras.optimizers.Optimizer]:
    """Build the model and the optimizer, with their variables."""
    supervised = config.training.lineareval_while_pretraining
    classes = train.num_classes if train.has_labels else None
    model = models.build_simclr(
        config.model,
        image_size=config.data.image_size,
        channels=config.data.image_channels,
        num_classes=classes if supervised else None,
        num_replicas=strategy.num_replicas_in_sync,
        dtype=layer_dtype(config.training),
        any_size=bool(
            config.augmentation.num_local_views or config.augmentation.early_image_sizes
        ),
    )
    models.recompute(model, config.training.remat)
    optimizer = optimizers.with_loss_scale(
        make_optimizer(
            config.optimizer,
            config.training,
            config.data,
            train,
            model,
            total_steps=total_steps,
        ),
        config.training.mixed_precision,
    )
    optimizer.build(model.trainable_variables)
    return model, optimizer


def check_micro_batches(config: Config, replicas: int) -> None:
    """Refuse parts that a replica's batch cannot be cut into, before training.

    Raises:
        ConfigError: ``--micro_batch_size`` is no divisor, or beside multi-crop.
    """
    size = config.training.micro_batch_size
    share = config.training.train_batch_size // replicas
    if size and share % size:
        raise ConfigError(
            f"--micro_batch_size={size} must divide the {share} images of a replica's "
            "batch; use a divisor"
        )
    if size and config.augmentation.num_local_views:
        raise ConfigError(
            "--micro_batch_size does not work with --num_local_views yet; drop one"
        )


def augment_backend(config: Config) -> str:
    """Choose the code that makes the views: ``auto`` is Numba unless input is remote.

    Raises:
        ConfigError: Numba is asked for and not installed, or for a tf.data service.
    """
    wanted, service = config.augmentation.augment_backend, config.data.data_service
    tpu = config.distribution
    remote = service or tpu.master or tpu.tpu_name not in (None, "", "local")
    available = augmentations.numba_is_available()
    if wanted == "auto":
        return "numba" if available and not remote else "tf"
    if wanted == "numba" and not available:
        raise ConfigError("--augment_backend=numba needs Numba: pip install numba")
    if wanted == "numba" and service:
        raise ConfigError(
            "--augment_backend=numba runs in the training process and cannot be sent "
            "to a --data_service; drop one"
        )
    return wanted


def _train(opened: session.Session, splits: Splits) -> None:
    """Train to the last step."""
    config = opened.config
    batch = config.training.train_batch_size
    chance, formula = losses.chance_level(config.loss, global_batch_size=batch)
    backend = augment_backend(config)
    logger.info(
        "augmentation: %s%s",
        {"numba": "Numba", "tf": "TensorFlow"}[backend],
        " (flip, colours and blur on the device)"
        if config.augmentation.augment_on == "device"
        else "",
    )
    first, *later = _stages(opened)
    conditions = Conditions.of(config, splits)
    valid_loss.announce(conditions)
    session.run(
        opened,
        _make_step(opened),
        first.make(),
        describe=progress.TrainingLines(
            total_steps=opened.total_steps,
            steps_per_epoch=opened.epoch_length,
            chance=chance,
            chance_formula=formula,
            warmup_steps=optimizers.warmup_steps(
                num_examples=length.images_per_epoch(
                    config.training, config.data, opened.train
                ),
                warmup_epochs=config.optimizer.warmup_epochs,
                global_batch_size=batch,
            ),
        ),
        monitor=monitoring.make_run_monitor(conditions, opened.model, opened.strategy),
        best=best_by_valid_loss(config, splits),
        later=later,
    )


def _stages(opened: session.Session) -> list[loop.Stage]:
    """Return what is left of the stages in which views have one size, in order."""
    starts = opened.workers.of_chief(run_history.starts(opened.folder))
    sizes = view_sizes.size_stages(
        opened.config.augmentation,
        opened.config.data.height_width,
        lengths=[(start["from_step"], start["last_step"]) for start in starts],
    )
    return [
        loop.Stage(
            start=max(stage.start, opened.start_step),
            make=functools.partial(_views_dataset, opened, stage),
        )
        for stage in sizes
        if stage.end is None or stage.end > opened.start_step
    ]


def _views_dataset(
    opened: session.Session, stage: SizeStage
) -> tf.distribute.DistributedDataset:
    """Build the batches of views of a stage, in the order of steps.

    They begin at the start step of the session if that is within the stage.
    """
    config, train = opened.config, opened.train
    if config.augmentation.early_image_sizes:
        logger.info(
            "views have %d px from step %d on", stage.height_width[0], stage.start + 1
        )
    views = ViewSpec.for_training(
        config.augmentation, config.data.height_width, backend=augment_backend(config)
    )
    # Local views keep their size.
    views = dataclasses.replace(views, image_size=stage.height_width)
    return opened.strategy.distribute_datasets_from_function(
        lambda context: pipeline.make_pretrain_dataset(
            train,
            pipeline.plan_batches(train, config.training.train_batch_size, context),
            views,
            seed=config.seed,
            start_step=max(stage.start, opened.start_step),
            cache=config.data.cache_mode,
            service=config.data.data_service,
        )
    )


def _make_step(opened: session.Session) -> steps.Step:
    """Build the training step: what one replica does with one batch of views."""
    config, model, views = opened.config, opened.model, opened.config.augmentation
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    make_step: Callable[..., steps.Step] = steps.pretrain_step
    if config.training.micro_batch_size:
        make_step = functools.partial(
            cached_gradients.cached_gradient_step,
            micro_batch_size=config.training.micro_batch_size,
            batch_norm=config.training.micro_batch_norm,
        )
    step = make_step(
        model,
        opened.optimizer,
        losses.over_view_pairs(
            losses.build_loss(config.loss),
            num_views=views.num_views + views.num_local_views,
        ),
        decayed_variables=optimizers.decayed_in_loss(
            model.trainable_variables, roles, optimizer=config.optimizer.optimizer
        ),
        weight_decay=config.optimizer.weight_decay,
        supervised=model.supervised_head is not None,
    )
    if views.augment_on == "device":
        step = steps.with_views_finished(step, use_blur=views.use_blur)
    return step
