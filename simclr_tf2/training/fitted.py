"""Settings that were not given, chosen by a recipe: for own images or on request."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Any

from simclr_tf2 import config as config_lib
from simclr_tf2 import models
from simclr_tf2.config import Config
from simclr_tf2.data import fitting, held_out, image_sets, pipeline
from simclr_tf2.data.datasets import Split
from simclr_tf2.errors import ConfigError
from simclr_tf2.runs import flag_file
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.training import auto_recipe, finetune_settings
from simclr_tf2.training.auto_recipe import Facts

logger = logging.getLogger(__name__)

AUTO, REFERENCE = "auto", "reference"
BATCH, PART = "train_batch_size", "valid_size"
# What is chosen for own images whatever the recipe, and what auto chooses besides.
IMAGES = ("image_size", "use_blur", PART, BATCH)
LEARNING = (
    "resnet_depth",
    "width_multiplier",
    "sk_ratio",  # of --checkpoint; 0 without one
    "se_ratio",
    "stem",
    "resnet_d",
    "zero_init_residual",
    "batch_norm_decay",
    "proj_head_mode",
    "num_proj_layers",
    "proj_out_dim",
    "temperature",
    "color_jitter_strength",
    "num_views",
    "num_local_views",
    "optimizer",
    "learning_rate",
    "learning_rate_scaling",
    "weight_decay",
    "momentum",
    "train_epochs",
    "warmup_epochs",
    "mixed_precision",
)


def with_earlier_choices(config: Config) -> Config:
    """Take what an earlier start of the run chose, where nothing is given now.

    So that a run goes on as it began, also when images have been added since, on
    another device, or with a later version of the program.
    """
    if not config.model_dir:
        return config
    before = run_folder.earlier_config(config.model_dir)
    if before is None:
        return config
    earlier = before.recipe or REFERENCE
    if config.recipe is None and not config.data.by_name:
        config = dataclasses.replace(config, recipe=earlier)
    if config.data.by_name and config.recipe_kind == REFERENCE:
        return config
    names = _names(earlier)
    if earlier not in (AUTO, REFERENCE):
        names |= config.chosen
    names -= config_lib.given_settings(config)
    flat = config_lib.to_flat(before)
    return _chosen(config, {name: flat[name] for name in names})


def to_images(
    config: Config,
    train: Split,
    *,
    replicas: int = 1,
    device: str = auto_recipe.CPU,
    flags: bool = True,
) -> Config:
    """Choose by the recipe what is neither given nor chosen yet, and log the choice.

    ``--recipe=auto`` chooses all settings in ``IMAGES`` and ``LEARNING``; any other one
    chooses those in ``IMAGES``, for the user's own images. ``--mode=scan`` suggests
    these values too. A batch that leaves few steps an epoch is warned of.

    Args:
        config: Whole config.
        train: The training split, nothing held out of it yet.
        replicas: The batch is a multiple of it.
        device: ``cpu``, ``gpu`` or ``tpu``.
        flags: Log the choices as flags too, in a form that can be pasted.

    Raises:
        ConfigError: A recipe whose file was not read.
    """
    recipe = config.recipe_kind
    if recipe not in (AUTO, REFERENCE) and not config.chosen:
        raise ConfigError(
            f"--recipe={recipe}: only the command line reads recipes by name; in "
            "Python give its settings, or recipe='auto' or 'reference'"
        )
    if config.data.by_name and recipe != AUTO:
        return config
    asked = config
    free = _names(recipe) - config_lib.given_settings(config) - config.chosen
    if recipe == AUTO and free & set(LEARNING):
        config = _with_checkpoint(config, free)
        free -= config.chosen
    most = auto_recipe.largest_side(device) if recipe == AUTO else math.inf
    config, left = _for_images(config, train, free, most)
    facts = Facts(
        images=left,
        side=max(config.data.height_width),
        device=device,
        replicas=replicas,
    )
    if recipe == AUTO:
        config = _chosen(config, _learning(config, facts, free))
    fitting_batch = _fitting_batch(config, facts)
    if BATCH in free:
        config = _chosen(config, {BATCH: fitting_batch})
    else:
        _warn_of_few_steps(config.training.train_batch_size, left, fitting_batch)
    _log(config, asked.chosen, train, facts, flags=flags)
    return dataclasses.replace(config, recipe=recipe)


def names_of(config: Config) -> frozenset[str]:
    """Return the settings that the recipe decides on, also those that were given."""
    named = config_lib.given_settings(config) & {*IMAGES, *LEARNING}
    return named | config.chosen


def _names(recipe: str) -> frozenset[str]:
    return frozenset((*IMAGES, *LEARNING) if recipe == AUTO else IMAGES)


def _chosen(config: Config, values: dict[str, Any]) -> Config:
    """Return ``config`` with these values, marked as chosen and not as given."""
    parts: dict[str, Any] = {}
    for section, kind in config_lib.sections().items():
        names = {f.name for f in dataclasses.fields(kind)}
        own = {name: value for name, value in values.items() if name in names}
        parts[section] = dataclasses.replace(getattr(config, section), **own)
    return dataclasses.replace(
        config,
        given=config_lib.given_settings(config),
        chosen=config.chosen | set(values),
        **parts,
    )


def _for_images(
    config: Config, train: Split, free: frozenset[str], most: float
) -> tuple[Config, int]:
    """Choose image size, blur and held-out part; return how many images are left.

    The image size is ``most`` pixels at most.
    """
    values: dict[str, Any] = {}
    if "image_size" in free:
        shape = _typical_shape(config, train)
        shape = shape or config.data.height_width
        values["image_size"] = fitting.image_size(*shape, most=most)
    if "use_blur" in free:
        sides = _chosen(config, values).data.height_width
        values["use_blur"] = fitting.use_blur(*sides)
    if PART in free:
        values[PART] = _valid_size(config, train)
    config = _chosen(config, values)
    size = config.data.valid_size or 0.0
    left = fitting.left_to_train_on(train.num_examples, size)
    if size:
        left = min(left, int((~held_out.is_held_out(train, size)).sum()))
    return config, left


def _learning(config: Config, facts: Facts, free: frozenset[str]) -> dict[str, Any]:
    """Return what auto chooses of the settings that are free."""
    flat = config_lib.to_flat(config)
    fixed = config_lib.given_settings(config) | (config.chosen - free)
    found = auto_recipe.choose(facts, {name: flat[name] for name in fixed})
    # Measured where the processor or the GPU has bfloat16; operations that are
    # repeatable must not depend on a clock.
    precision = "off" if config.training.deterministic else "auto"
    found["mixed_precision"] = precision
    return {name: found.get(name, flat[name]) for name in free & set(LEARNING)}


def _fitting_batch(config: Config, facts: Facts) -> int:
    """Return the batch that the recipe takes if none is given."""
    if config.recipe_kind != AUTO:
        return max(2, fitting.batch_size(facts.images, replicas=facts.replicas))
    return auto_recipe.batch_size(facts, {"num_views": config.augmentation.num_views})


def _with_checkpoint(config: Config, free: frozenset[str]) -> Config:
    """Return ``config`` with the network of ``--checkpoint``, if there is one."""
    if not config.training.checkpoint:
        return config
    source = finetune_settings.read_source(config)
    network = free & set(finetune_settings.NETWORK)
    there = config.model if source is None else source.model
    values = {name: getattr(there, name) for name in network}
    if "stem" in values and source is not None and source.image_size is not None:
        values["stem"] = models.stem_at(there.stem, source.image_size)
    return _chosen(config, values)


def _warn_of_few_steps(batch: int, left: int, fitting_batch: int) -> None:
    steps = left // batch
    if 0 < steps < fitting.STEPS_PER_EPOCH and fitting_batch < batch:
        logger.warning(
            "--train_batch_size=%d makes %d step%s an epoch of %d images, and %d of "
            "them are left out of each epoch; --train_batch_size=%d makes %d",
            batch,
            steps,
            "s"[: steps > 1],
            left,
            left % batch,
            fitting_batch,
            left // fitting_batch,
        )


def _log(
    config: Config, before: frozenset[str], train: Split, facts: Facts, *, flags: bool
) -> None:
    """Log what was chosen just now, in a form that can be pasted."""
    names = config.chosen - before
    shown = flag_file.pasted(flag_file.chosen_flags(config, names))
    if not shown:
        return
    if config.recipe_kind == AUTO:
        flat = config_lib.to_flat(config)
        logger.info("%s", auto_recipe.describe(facts, train.num_examples, flat))
        shown = f"chosen: {shown}"
    else:
        shown = f"fitted to {train.num_examples} images: {shown}"
    if flags:
        logger.info("%s", shown)


def _valid_size(config: Config, train: Split) -> float:
    """Return the part to hold out; 0 where its loss is not, or cannot be, measured."""
    looks = config.training.monitor_epochs > 0
    if not looks or not pipeline.is_readable_by_index(train, config.data.cache_mode):
        return 0.0
    return fitting.valid_size(train.num_examples, labelled=bool(train.num_classes))


def _typical_shape(config: Config, train: Split) -> tuple[float, float] | None:
    """Return median height and width; None for records, which are not opened."""
    if config.data.image_dir or config.data.manifest:
        return image_sets.open_image_set(config.data).median_height_width()
    height, width, _ = train.image_shape
    return None if height is None or width is None else (height, width)
