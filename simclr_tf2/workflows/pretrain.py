"""Pretrain: learn an encoder without labels, then evaluate, export and report."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2 import (
    augmentations,
    distribution,
    losses,
    models,
    optimizers,
    saved_model,
    startup,
)
from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config, ConfigError
from simclr_tf2.data import pipeline
from simclr_tf2.data.datasets import Split
from simclr_tf2.training import (
    cached_gradients,
    checkpoints,
    run_folder,
    run_history,
    steps,
)
from simclr_tf2.workflows import (
    after_training,
    best_checkpoint,
    fit,
    fitted,
    pixels,
    precision,
    progress_lines,
    valid_loss,
    watching,
)
from simclr_tf2.workflows.scan import record
from simclr_tf2.workflows.splits import Splits, open_splits

logger = logging.getLogger(__name__)

NOT_IN_PRETRAINING = (
    "best_metric",
    "head_lr_multiplier",
    "backbone_lr_multiplier",
    "finetune_baselines",
    "finetune_validation",
    "label_fraction",
    "labels_per_class",
)
OF_SEMI = ("finetune_baselines", "label_fraction", "labels_per_class")


def pretrain(config: Config, flagfile: str = "") -> dict[str, Any]:
    """Train from the newest checkpoint to the last step, then use the encoder.

    Returns:
        What results.json holds.

    Raises:
        ConfigError: A setting, the data or the run folder cannot be; nothing is
            written then.
    """
    started = time.perf_counter()
    if config.model.fine_tune_after_block > -1:
        raise ConfigError(
            "--fine_tune_after_block freezes layers, which pretraining does not do; "
            "drop it or use --mode=finetune"
        )
    warn_of_no_effect(config)
    config = fitted.with_earlier_choices(config)
    run_folder.check(config)
    done = after_training.finished(config)
    if done is not None:
        after_training.show_finished(config, done)
        return done
    strategy = distribution.shared_strategy(config.distribution)
    config = pixels.recorded(config)
    splits = open_splits(config)
    replicas = strategy.num_replicas_in_sync
    config = fitted.to_images(config, splits.train, replicas=replicas)
    whole = splits.train
    splits = valid_loss.with_held_out(config, splits)
    check_valid_loss(config, splits)
    config = pixels.decided(config, splits.train)
    total_steps = fit.check_steps(config, splits.train, replicas)
    classes = run_history.class_names(splits.train, splits.probe)
    run_history.check(config, splits.train, classes=classes, total_steps=total_steps)
    check_micro_batches(config, replicas)
    augment_backend(config)
    fit.check_compile(config, strategy)
    config = precision.decided(config, strategy)
    startup.log_kernels()
    timings = {"start": time.perf_counter() - started}

    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        model, optimizer = build(config, splits, total_steps, strategy)
    checkpoint = checkpoints.of_run(model, optimizer)
    start_step = restore(config, checkpoint, model, Path(str(config.model_dir)))
    # Here, where nothing is refused any more, the first file is written.
    folder = run_folder.create(config, fitted.as_comments(config, flagfile))
    record(config, folder)
    run_history.write(
        folder,
        splits.train,
        classes=classes,
        start_step=start_step,
        total_steps=total_steps,
    )

    if start_step < total_steps:
        begun = time.perf_counter()
        _train(
            config,
            splits,
            strategy,
            model,
            optimizer,
            checkpoint,
            folder,
            start_step=start_step,
            total_steps=total_steps,
        )
        timings["training"] = time.perf_counter() - begun
    else:
        logger.info("training is finished: %d of %d steps", start_step, total_steps)
    return after_training.finish(
        config,
        dataclasses.replace(splits, train=whole),  # as --mode=eval opens it
        model,
        folder,
        step=max(start_step, total_steps),
        timings=timings,
    )


def warn_of_no_effect(config: Config) -> None:
    """One warning for each setting given that pretraining does not read."""
    flat, defaults = config_lib.to_flat(config), config_lib.field_defaults()
    for name in NOT_IN_PRETRAINING:
        used = name in OF_SEMI and "semi" in config.evaluation.protocols
        used = used or flat[name] == best_checkpoint.VALID_LOSS
        if flat[name] != defaults[name] and not used:
            logger.warning("--%s has no effect in --mode=pretrain", name)


def check_valid_loss(config: Config, splits: Splits) -> None:
    """Refuse to keep the best checkpoint by a loss that is never measured.

    Raises:
        ConfigError: ``--best_metric=valid_loss`` without held-out images or looks.
    """
    best = best_by_valid_loss(config, splits, Path(config.model_dir or "."))
    if best is not None and not config.training.monitor_epochs:
        raise ConfigError(
            "--best_metric=valid_loss is measured at each --monitor_epochs, and "
            "--monitor_epochs=0 means never; leave it out"
        )


def best_by_valid_loss(
    config: Config, splits: Splits, folder: Path
) -> best_checkpoint.BestCheckpoint | None:
    """What keeps the best checkpoint while training goes on, if that is asked for."""
    if config.evaluation.best_metric != best_checkpoint.VALID_LOSS:
        return None
    return best_checkpoint.by_valid_loss(config, folder, splits)


def build(
    config: Config,
    splits: Splits,
    total_steps: int,
    strategy: tf.distribute.Strategy,
) -> tuple[models.SimCLR, keras.optimizers.Optimizer]:
    """Model and optimizer, with their variables."""
    supervised = config.training.lineareval_while_pretraining
    classes = splits.train.num_classes if splits.train.has_labels else None
    model = models.build_simclr(
        config.model,
        image_size=config.data.image_size,
        channels=config.data.image_channels,
        num_classes=classes if supervised else None,
        num_replicas=strategy.num_replicas_in_sync,
        dtype=layer_dtype(config),
        any_size=config.augmentation.num_local_views > 0,
    )
    models.recompute(model, config.training.remat)
    optimizer = optimizers.with_loss_scale(
        make_optimizer(config, splits.train, total_steps, model),
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
    """What makes the views: ``auto`` takes Numba unless the input runs elsewhere.

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


def layer_dtype(config: Config) -> str | None:
    """Keras dtype policy of the backbone's layers."""
    return precision.POLICIES[config.training.mixed_precision]


def make_optimizer(
    config: Config, split: Split, total_steps: int, model: models.SimCLR
) -> keras.optimizers.Optimizer:
    """The optimizer of a run with its schedule and exclusions, not yet built."""
    schedule = optimizers.warmup_cosine(
        config.optimizer.learning_rate,
        scaling=config.optimizer.learning_rate_scaling,
        global_batch_size=config.training.train_batch_size,
        num_examples=fit.images_per_epoch(config, split),
        train_epochs=config.training.train_epochs,
        train_steps=total_steps,
        warmup_epochs=config.optimizer.warmup_epochs,
    )
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    return optimizers.build_optimizer(
        config.optimizer,
        learning_rate=schedule,
        exclude=optimizers.exclusions(config.optimizer.optimizer, roles),
    )


def restore(
    config: Config,
    checkpoint: tf.train.Checkpoint,
    model: models.SimCLR,
    folder: Path,
    *,
    with_head: bool = True,
    source: bool = True,
) -> int:
    """Resume from the folder, else start from --checkpoint, else from scratch.

    Args:
        config: Whole config.
        checkpoint: What a checkpoint of this run holds.
        model: Gets the weights of ``--checkpoint``.
        folder: The run folder.
        with_head: Whether the supervised head must be in ``--checkpoint`` as well.
        source: Whether ``--checkpoint`` is read; False where the model has its weights.

    Returns:
        Steps done.
    """
    step = checkpoints.restore_newest(checkpoint, folder)
    if step is not None:
        logger.info("resuming from %s at step %d", folder / f"ckpt-{step}", step)
        return step
    if (folder / "metrics.jsonl").exists():
        logger.warning(
            "%s was started before but holds no checkpoint yet: starting from step 0",
            folder,
        )
    name = config.training.checkpoint
    if name and source:
        if saved_model.is_reference(name):
            saved_model.load_reference_weights(model, name, with_head=with_head)
        else:
            checkpoints.initialize_weights(model, name, with_head=with_head)
        logger.info("weights initialised from %s", name)
    return 0


def _train(
    config: Config,
    splits: Splits,
    strategy: tf.distribute.Strategy,
    model: models.SimCLR,
    optimizer: keras.optimizers.Optimizer,
    checkpoint: tf.train.Checkpoint,
    folder: Path,
    *,
    start_step: int,
    total_steps: int,
) -> None:
    batch, views = config.training.train_batch_size, config.augmentation
    chance, formula = losses.chance_level(config.loss, global_batch_size=batch)
    steps_per_epoch = splits.train.num_examples // batch
    backend = augment_backend(config)
    on_device = views.augment_on == "device"
    logger.info(
        "augmentation: %s%s",
        {"numba": "Numba", "tf": "TensorFlow"}[backend],
        " (flip, colours and blur on the device)" if on_device else "",
    )
    valid_loss.announce(config, splits)
    dataset = strategy.distribute_datasets_from_function(
        lambda context: pipeline.make_pretrain_dataset(
            splits.train,
            global_batch_size=batch,
            image_size=config.data.image_size,
            strength=config.augmentation.color_jitter_strength,
            use_blur=config.augmentation.use_blur,
            num_views=views.num_views,
            num_local_views=views.num_local_views,
            local_image_size=views.local_size(config.data.height_width),
            backend=backend,
            on_device=on_device,
            seed=config.seed,
            start_step=start_step,
            cache=fit.cache_of(config),
            service=config.data.data_service,
            **fit.input_share(context),
        )
    )
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
        optimizer,
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
    if on_device:
        step = steps.with_views_finished(step, use_blur=views.use_blur)
    fit.fit(
        config,
        step,
        dataset,
        split=splits.train,
        strategy=strategy,
        optimizer=optimizer,
        checkpoint=checkpoint,
        folder=folder,
        steps_per_epoch=steps_per_epoch,
        start_step=start_step,
        total_steps=total_steps,
        describe=progress_lines.TrainingLines(
            total_steps=total_steps,
            steps_per_epoch=fit.epoch_length(config, total_steps, steps_per_epoch),
            chance=chance,
            chance_formula=formula,
            warmup_steps=optimizers.warmup_steps(
                num_examples=fit.images_per_epoch(config, splits.train),
                warmup_epochs=config.optimizer.warmup_epochs,
                global_batch_size=batch,
            ),
        ),
        look=watching.make_watch(config, splits, model, strategy),
        best=best_by_valid_loss(config, splits, folder),
    )
