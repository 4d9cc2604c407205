"""Settings of fine-tuning that its checkpoint and its images give by default.

Network and channels are the checkpoint's, a flag that names another network is refused.
Image size, optimizer, length and batch are the user's, else chosen here, each with a
line in the log. A run that goes on keeps what its start chose.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass
from typing import Any

from simclr_tf2 import config as config_lib
from simclr_tf2 import models, saved_model
from simclr_tf2.config import Config, DataConfig, ModelConfig
from simclr_tf2.data.datasets import Split
from simclr_tf2.errors import ConfigError
from simclr_tf2.runs import checkpoints
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.training import semi_recipe
from simclr_tf2.training.splits import open_split

logger = logging.getLogger(__name__)

NETWORK = (
    "resnet_depth",
    "width_multiplier",
    "sk_ratio",
    "se_ratio",
    "resnet_d",
    "stem",
    "normalize_mean",
    "normalize_std",
    "proj_head_mode",
    "num_proj_layers",
    "proj_out_dim",
)
RATIOS = {"sk_ratio", "se_ratio"}  # shapes alone do not tell them exactly
IMAGES = ("image_size", "image_channels")
OPTIMIZER = (
    "optimizer",
    "learning_rate",
    "learning_rate_scaling",
    "warmup_epochs",
    "weight_decay",
    "momentum",
)
LENGTH = ("train_epochs", "train_steps")
CHOSEN = (*NETWORK, *IMAGES, *OPTIMIZER, "train_epochs", "train_batch_size")
# SimCLR, appendix B.6 and B.5: all labels, a frozen encoder and a trained one.
LINEAR_RATE, LINEAR_EPOCHS, EPOCHS = 0.1, 90, 30
LEAST_STEPS, MOST_EPOCHS = 300, 100  # [ours] of small sets
STEPS_PER_EPOCH = 8  # [ours] that a batch leaves at least, if it is not the smallest
FALLBACK_SPLIT = "test"


@dataclass(frozen=True)
class Source:
    """The known facts of the network in ``--checkpoint``.

    Attributes:
        model: The network; of its fields those in ``NETWORK`` count.
        channels: Of its images.
        image_size: Of its images in training; None where the file does not say.
        held_at_once: Images that its training had in the network; 0: not known.
        exact: Whether ``RATIOS`` are known, not only that there are some.
    """

    model: ModelConfig
    channels: int
    image_size: int | tuple[int, int] | None
    held_at_once: int = 0
    exact: bool = True


def from_checkpoint(config: Config) -> Config:
    """Return settings with the network of ``--checkpoint`` and the paper's optimizer.

    Reads files only.

    Raises:
        ConfigError: Nothing at ``--checkpoint``, or flags that name another network.
    """
    before = started_before(config)
    if before is not None:
        return _with(config, before, (*CHOSEN, "eval_split"))
    if not config.training.checkpoint:
        return config
    source = read_source(config)
    if source is not None:
        config = _with_network(config, source)
    if _takes_recipe(config):
        frozen = config.model.fine_tune_after_block == 4
        recipe = {n: getattr(semi_recipe.OPTIMIZER, n) for n in OPTIMIZER}
        recipe |= {"learning_rate": LINEAR_RATE} if frozen else {}
        config = _replace(config, recipe)
    return config


def with_eval_split(config: Config) -> Config:
    """Set ``test`` as the scored split if none is given and ``validation`` is missing.

    Raises:
        ConfigError: There is neither.
    """
    asked = config.evaluation.eval_split
    if "eval_split" in config_lib.given_settings(config):
        return config
    try:
        open_split(config.data, config.evaluation, asked)
        return config
    except ConfigError as error:
        if repr(asked) not in str(error):
            raise
        try:
            open_split(config.data, config.evaluation, FALLBACK_SPLIT)
        except ConfigError:
            raise ConfigError(
                f"{error}; the results need labelled images that are not trained on: "
                "name a split of them with --eval_split, or slices with "
                "--train_split=train[:80%] --eval_split=train[80%:]"
            ) from error
    logger.info("--eval_split=%s: there is no split %r", FALLBACK_SPLIT, asked)
    return _replace(config, {"eval_split": FALLBACK_SPLIT})


def fitted(config: Config, train: Split, replicas: int) -> Config:
    """Return settings with a batch and a length fitted to the images, if not given.

    Args:
        config: What ``settled`` gave.
        train: The labelled images that are trained on.
        replicas: That share a batch.
    """
    if started_before(config) is not None:
        return config
    config = _with_batch(config, train, replicas)
    if not _takes_recipe(config):
        return config
    given = config_lib.given_settings(config)
    if not given & set(LENGTH):
        per_epoch = max(1, train.num_examples // config.training.train_batch_size)
        frozen = config.model.fine_tune_after_block == 4
        least = math.ceil(LEAST_STEPS / per_epoch)
        usual = LINEAR_EPOCHS if frozen else EPOCHS
        epochs = float(max(usual, min(least, MOST_EPOCHS)))
        config = _replace(config, {"train_epochs": epochs})
    length = config.training.train_steps
    logger.info(
        "no optimizer flag given: Nesterov momentum, learning rate %g x batch / 256, "
        "no warm-up, no weight decay, %s (SimCLR, appendix B)",
        config.optimizer.learning_rate,
        f"{length} steps" if length else f"{config.training.train_epochs:g} epochs",
    )
    return config


def started_before(config: Config) -> Config | None:
    """Return settings of an earlier start of the run in ``--model_dir``, if any."""
    before = run_folder.earlier_config(config.model_dir) if config.model_dir else None
    if before is None:
        return None
    finetuned = "finetune" in (before.mode, before.train_mode)
    same = before.training.checkpoint == config.training.checkpoint
    return before if finetuned and same else None


def read_source(config: Config) -> Source | None:
    """Read the network of ``--checkpoint``; None where only its shapes tell it.

    Raises:
        ConfigError: There is no checkpoint, or it cannot be read.
    """
    name = config.training.checkpoint
    assert name
    if saved_model.is_reference(name):
        reference = saved_model.read_reference(
            name, ft_proj_selector=config.model.ft_proj_selector
        )
        size = 32 if reference.config.stem == "cifar" else DataConfig.image_size
        return Source(reference.config, reference.channels, size, exact=False)
    prefix = checkpoints.prefix_of(name)
    trained = run_folder.config_of_checkpoint(prefix)
    if trained is None:
        logger.warning(
            "%s has no config.json beside it: its network must be given by flags", name
        )
        return None
    training, views = trained.training, trained.augmentation.num_views
    return Source(
        trained.model,
        trained.data.image_channels,
        trained.data.image_size,
        (training.micro_batch_size or training.train_batch_size) * views,
    )


def require_same_normalization(config: Config) -> None:
    """Refuse to start pretraining from weights that saw otherwise normalized images.

    Their shapes do not tell it.

    Raises:
        ConfigError: ``--checkpoint`` was trained with another normalization.
    """
    name = config.training.checkpoint
    earlier = config.model_dir and run_folder.earlier_config(config.model_dir)
    if not name or earlier:
        return
    there = None
    if not saved_model.is_reference(name):
        trained = run_folder.config_of_checkpoint(checkpoints.prefix_of(name))
        if trained is None:
            return
        there = trained.model.normalization
    if there == config.model.normalization:
        return
    if there is None:
        advice = "without one; leave --normalize_mean and --normalize_std out"
    else:
        mean, std = (",".join(map(str, values)) for values in there)
        advice = f"with --normalize_mean={mean} --normalize_std={std}; give the same"
    raise ConfigError(
        f"the normalization of --checkpoint={name} differs: it was trained {advice}"
    )


def _with_network(config: Config, source: Source) -> Config:
    """Return ``config`` with the network of ``source``.

    Raises:
        ConfigError: Flags that were given name another one.
    """
    given = config_lib.given_settings(config)
    name, size = config.training.checkpoint, source.image_size
    if "image_size" not in given and size is not None:
        config = _replace(config, {"image_size": size})
    there = {n: getattr(source.model, n) for n in NETWORK}
    if size is not None and config.data.image_size != size:
        there["stem"] = models.stem_at(source.model.stem, size)
        logger.info(
            "images of %s px as asked; those of %s had %s",
            _size(config.data.image_size),
            name,
            _size(size),
        )
    _refuse_others(config, source, there, given)
    keep = RATIOS & given if not source.exact else frozenset()
    changes = {n: value for n, value in there.items() if n not in keep}
    config = _replace(config, {**changes, "image_channels": source.channels})
    stem = models.stem_at(config.model.stem, config.data.image_size)
    logger.info(
        "network of %s: %s; %s px, %d channels",
        name,
        saved_model.describe_network(dataclasses.replace(config.model, stem=stem)),
        _size(config.data.image_size),
        source.channels,
    )
    return config


def _refuse_others(
    config: Config, source: Source, there: dict[str, Any], given: frozenset[str]
) -> None:
    flat = config_lib.to_flat(config)
    wrong = [
        f"--{name}={flat[name]} (there {value})"
        for name, value in {**there, "image_channels": source.channels}.items()
        if name in given and not _is_same(name, flat[name], value, config, source)
    ]
    if wrong:
        raise ConfigError(
            f"the network of --checkpoint={config.training.checkpoint} differs: "
            f"{', '.join(wrong)}; leave {'it' if len(wrong) == 1 else 'them'} out"
        )


def _is_same(name: str, asked: Any, there: Any, config: Config, source: Source) -> bool:
    mode = source.model.proj_head_mode
    no_effect = {
        "none": {"num_proj_layers", "proj_out_dim"},
        "linear": {"num_proj_layers"},
    }
    if name in no_effect.get(mode, ()):
        return True
    if name == "stem":
        size = source.image_size or config.data.image_size
        stems = (models.stem_at(stem, size) for stem in (asked, there))
        return len(set(stems)) == 1
    if name == "resnet_d":
        return config.model.has_resnet_d == source.model.has_resnet_d
    if name in RATIOS and not source.exact:
        return bool(asked) == bool(there)
    return bool(asked == there)


def _takes_recipe(config: Config) -> bool:
    """Return whether the optimizer is chosen here: no flag in fine-tuning sets it."""
    ours = config.mode == "finetune" and config.training.checkpoint
    return bool(ours) and not config_lib.given_settings(config) & set(OPTIMIZER)


def _with_batch(config: Config, train: Split, replicas: int) -> Config:
    count, default = train.num_examples, config.training.train_batch_size
    if "train_batch_size" in config_lib.given_settings(config):
        return config
    if config.mode != "finetune" and count >= default:
        return config  # the reference's command, as it is there
    most = default
    if config.training.checkpoint:
        source = read_source(config)
        held = source.held_at_once if source is not None else 0
        most = min(default, max(held, semi_recipe.LEAST_BATCH)) if held else default
    batch = fitted_batch(count, replicas=replicas, most=most)
    if batch == default or not batch:
        return config
    logger.info(
        "--train_batch_size=%d: not given, and fitted to %d labelled images%s",
        batch,
        count,
        " and to what pretraining held at once" if batch == most < default else "",
    )
    return _replace(config, {"train_batch_size": batch})


def fitted_batch(count: int, *, replicas: int, most: int) -> int:
    """Return images per step for ``count`` images: a power of two if there are enough.

    Args:
        count: Images that are trained on.
        replicas: That share a batch equally, an even number of images each if possible.
        most: Maximum of the result.

    Returns:
        0 where there is not an image for each replica.
    """
    wanted = max(semi_recipe.LEAST_BATCH, count // STEPS_PER_EPOCH)
    batch = min(most, 1 << (wanted.bit_length() - 1), count)
    unit = 2 * replicas if batch >= 2 * replicas else replicas
    return batch // unit * unit


def _with(config: Config, other: Config, names: tuple[str, ...]) -> Config:
    """Take the settings that were not given from ``other``."""
    given, flat = config_lib.given_settings(config), config_lib.to_flat(other)
    return _replace(config, {n: flat[n] for n in names if n not in given})


def _replace(config: Config, changes: dict[str, Any]) -> Config:
    """Return ``config`` with other values; keep which settings were given."""
    given = config_lib.given_settings(config)
    changed = config_lib.from_flat(config_lib.to_flat(config) | changes)
    return dataclasses.replace(changed, given=given)


def _size(size: int | tuple[int, int]) -> str:
    return "x".join(map(str, size)) if isinstance(size, tuple) else str(size)
