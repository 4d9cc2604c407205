"""The splits of a run, opened and checked before anything is written."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

from simclr_tf2 import addresses, protocols
from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config, EvaluationConfig
from simclr_tf2.data import datasets, image_sets, overlap
from simclr_tf2.data.transfer_splits import check_names
from simclr_tf2.errors import ConfigError
from simclr_tf2.runs import pixels
from simclr_tf2.training import semi_recipe
from simclr_tf2.training.splits import labelled_part, open_split

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Splits:
    """The training split and, if protocols need them, the labelled splits.

    Attributes:
        train: Images to learn from without labels.
        probe: Labelled images that protocols are trained on.
        eval: Labelled images that protocols are scored on.
        same_data: Whether they are from the data set that the network was trained on.
        score_classifier: Whether the run's classifier is scored. It is not scored on
            another data set or on images that it was trained on.
        held: Images that ``--valid_size`` holds out of ``train``.
    """

    train: datasets.Split
    probe: datasets.Split | None
    eval: datasets.Split | None
    same_data: bool = True
    score_classifier: bool = True
    held: datasets.Split | None = None

    @property
    def labelled(self) -> tuple[datasets.Split, datasets.Split]:
        """The split that protocols are trained on and the one they are scored on."""
        assert self.probe is not None and self.eval is not None, "no labels"
        return self.probe, self.eval


def open_splits(
    config: Config, *, strict: bool = False, refuse_shared: bool = False
) -> Splits:
    """Open the splits that the config names.

    Args:
        config: The whole config.
        strict: Refuse the user's own images if they have no labels and a protocol needs
            some; if False, the protocol is left out with a warning.
        refuse_shared: Refuse images that are in the training and in the test split; if
            False, log a warning.

    Raises:
        ConfigError: Unknown set or split, labels missing where a protocol needs them.
    """
    splits = _open(config, strict=strict)
    shared = shared_images(splits)
    if shared and refuse_shared:
        raise ConfigError(_shared_text(splits, shared))
    if shared:
        logger.warning("%s", _shared_text(splits, shared))
    _warn_of_capped_probes(config, splits.probe)
    return splits


def capped_probes(
    asked: EvaluationConfig, probe: datasets.Split | None
) -> tuple[str, ...]:
    """List the published protocols for which --probe_examples leaves images out."""
    if probe is None or probe.num_examples <= asked.probe_examples:
        return ()
    return protocols.published(asked.protocols)


def _warn_of_capped_probes(config: Config, probe: datasets.Split | None) -> None:
    capped = capped_probes(config.evaluation, probe)
    if capped and probe is not None:
        logger.warning(
            "--probe_examples=%d: %s learn from so many of the %s images of %s, where "
            "published values learned from all; pass --probe_examples=%d to compare "
            "with those",
            config.evaluation.probe_examples,
            ", ".join(capped),
            f"{probe.num_examples:,}",
            probe.split,
            probe.num_examples,
        )


def shared_images(splits: Splits) -> int:
    """Count the evaluation images that the protocols are also trained on."""
    if splits.probe is None or splits.eval is None:
        return 0
    return overlap.shared_images(splits.probe, splits.eval)


def _shared_text(splits: Splits, shared: int) -> str:
    assert splits.probe is not None and splits.eval is not None
    return (
        f"--probe_split={splits.probe.split} and --eval_split={splits.eval.split} of "
        f"{splits.eval.name} share {shared} images: what is learned from or chosen on "
        "cannot be tested on; name other splits (without --probe_split the first is "
        "--train_split)"
    )


def _open(config: Config, *, strict: bool) -> Splits:
    train = open_split(config.data, config.evaluation, config.data.train_split)
    config = pixels.resolve(config, train)  # the same for the other splits
    if "transfer" in config.evaluation.protocols:
        check_names(config.data, config.evaluation.transfer_datasets)
    if _without_labels(config, train, strict=strict):
        return Splits(train, None, None)
    asked = config.evaluation.protocols
    if set(asked) == set(protocols.that_take("none", asked)):
        probe = _labelled_or_none(config, train)
        return Splits(train, probe, None)
    name = config.evaluation.probe_split
    probe = open_split(config.data, config.evaluation, name) if name else train
    several = set(asked) == set(protocols.that_take("several", asked))
    if probe.label_shape and several:
        return Splits(
            train,
            probe,
            open_split(config.data, config.evaluation, config.evaluation.eval_split),
        )
    if probe.label_shape:
        takers = _listed(protocols.that_take("several"))
        raise ConfigError(
            f"split {probe.split!r} of {probe.name} has several yes-or-no labels an "
            f"image; only --protocols={takers} take those"
        )
    probe = labelled_part(config.data, probe)
    if not probe.has_labels:
        raise ConfigError(
            f"--protocols={','.join(config.evaluation.protocols)} need labels, and "
            f"split {probe.split!r} of {probe.name} has none; name a labelled one with "
            "--probe_split, or pass --protocols= to skip the evaluation"
        )
    evaluation = open_split(
        config.data, config.evaluation, config.evaluation.eval_split
    )
    evaluation = labelled_part(config.data, evaluation)
    datasets.require_labels(evaluation)
    published = config.data.source == semi_recipe.IMAGENET  # has its own subsets
    if "semi" in config.evaluation.protocols and not published:
        semi_recipe.check(
            label_fraction=config.data.label_fraction,
            labels_per_class=config.data.labels_per_class,
            num_examples=probe.num_examples,
            num_classes=probe.num_classes or 0,
            all_labels="label_fraction" in config_lib.given_settings(config),
        )
    return Splits(train, probe, evaluation)


def _listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence: "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def with_own_classifier(config: Config, splits: Splits) -> Splits:
    """Add the evaluation split for the run's classifier if no protocol reads it."""
    if config.evaluation.protocols or splits.probe is None:
        return splits
    config = pixels.resolve(config, splits.train)
    split = labelled_part(
        config.data,
        open_split(config.data, config.evaluation, config.evaluation.eval_split),
    )
    single = split.has_labels and not split.label_shape
    return dataclasses.replace(splits, eval=split) if single else splits


def _without_labels(config: Config, train: datasets.Split, *, strict: bool) -> bool:
    """Return whether these are the user's own images with fewer than two classes."""
    several = train.num_classes and (train.num_classes > 1 or train.label_shape)
    own = config.data.own_images or config.data.array_file
    if not own or several or config.evaluation.probe_split:
        return False
    asked = config.evaluation.protocols
    left_out = [p for p in asked if p not in protocols.that_take("none")]
    if left_out:
        has = lack_of_labels(config, train)
        names = ",".join(left_out)
        if strict:
            raise ConfigError(
                f"--protocols={names} need images of two classes or more, and "
                f"{config.data.source} has {has}; --protocols=label_free needs none"
            )
        _say_what_is_left(config, has, names)
    return True


def _say_what_is_left(config: Config, has: str, skipped: str) -> None:
    """Log the protocols that are left out; warn if they were given."""
    source = config.data.source
    if "protocols" in config_lib.given_settings(config):
        logger.warning("%s has %s: --protocols=%s are skipped", source, has, skipped)
    else:
        logger.info("%s has %s: label-free measures only", source, has)


def lack_of_labels(config: Config, train: datasets.Split) -> str:
    """Say what images have instead of labels of two or more classes."""
    name = _only_class(config, train)
    return "no labels" if name is None else f"one class only: {name}"


def _only_class(config: Config, train: datasets.Split) -> str | None:
    """Return the name of the only class; None where images have no labels."""
    if train.num_classes:
        return train.class_names[0] if train.class_names else "0"
    data, source = config.data, train.source
    by_folder = data.image_dir and not data.manifest and data.image_layout == "auto"
    if not by_folder or not isinstance(source, image_sets.FileSource):
        return None
    assert data.image_dir is not None
    folders = {os.path.dirname(path) for path in source.paths}
    (folder, *others) = (os.fsdecode(path) for path in folders)
    tops = [os.path.normpath(top) for top in addresses.folders(data.image_dir)]
    if others or os.path.normpath(folder) in tops:
        return None
    return os.path.basename(folder)


def _labelled_or_none(config: Config, train: datasets.Split) -> datasets.Split | None:
    if config.evaluation.probe_split:
        train = open_split(
            config.data, config.evaluation, config.evaluation.probe_split
        )
        return labelled_part(config.data, train)
    part = labelled_part(config.data, train)
    return part if part.has_labels else None
