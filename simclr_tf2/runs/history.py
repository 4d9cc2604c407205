"""The data of a run: classes, images and length, from which step on.

``history.json`` in the run folder. A start of the run compares it with what is there
now, before it writes anything.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from typing import Any

from simclr_tf2 import files
from simclr_tf2.config import Config
from simclr_tf2.data import identity
from simclr_tf2.data.datasets import Split
from simclr_tf2.errors import ConfigError
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import checkpoints
from simclr_tf2.runs import folder as run_folder

logger = logging.getLogger(__name__)

NAMED = 5  # classes named in a message


def class_names(*splits: Split | None) -> tuple[str, ...]:
    """Return the classes of the first split that has some."""
    return next((s.class_names for s in splits if s and s.class_names), ())


def starts(folder: RunFolder) -> list[dict[str, Any]]:
    """List changes of images or length: ``from_step``, ``last_step``, ``images``."""
    return list(_read(folder).get("starts", []))


def check(
    config: Config,
    train: Split,
    *,
    classes: Sequence[str],
    total_steps: int,
    fixed: bool = False,
) -> None:
    """Compare with the last start of the run in ``model_dir``; writes nothing.

    Images that were added, are gone or have changed are accepted and logged: then
    batches are drawn from what is there. Classes must be the same. Images from another
    place (``--image_dir``) must be the same. Before the first checkpoint nothing has
    been learned, and all is accepted.

    Args:
        config: Whole config.
        train: Images that are learned from.
        classes: Their names, in the order of labels.
        total_steps: Of the whole run, as of now.
        fixed: Whether another set of images is refused (labels were chosen in it).

    Raises:
        ConfigError: Other classes, other images in another place, or fewer steps than
            are trained already.
    """
    folder = run_folder.of(config)
    trained = checkpoints.list_checkpoints(folder)
    if not trained or not folder.config.exists():
        return
    before = _read(folder)
    _check_classes(folder, before.get("classes"), classes)
    last = (before.get("starts") or [{}])[-1]
    images = _check_images(config, folder, last.get("images"), train, fixed=fixed)
    step, planned = trained[0][0], last.get("last_step", total_steps)
    if config.training.extend and total_steps < step:
        raise ConfigError(
            f"--extend: {folder} is trained for {step} steps already, and the settings "
            f"give {total_steps}; pass a larger --train_epochs or --train_steps"
        )
    if images and step >= total_steps:
        logger.warning(
            "%s: %s. The run is trained to its last step, %d; what it measures and "
            "exports from here on is with the images that are there now",
            config.data.source,
            images,
            step,
        )
    elif images:
        moves = f"; its last step moves from {planned} to {total_steps}"
        logger.warning(
            "%s: %s. The run goes on from step %d with the images that are there now%s",
            config.data.source,
            images,
            step,
            moves if planned != total_steps else "",
        )
    elif planned != total_steps:
        logger.info(
            "another length: from step %d on to step %d (it was %d); the learning rate "
            "follows the new schedule from here",
            step,
            total_steps,
            planned,
        )


def write(
    folder: RunFolder,
    train: Split,
    *,
    classes: Sequence[str],
    start_step: int,
    total_steps: int,
) -> None:
    """Record this start where it differs from the last; classes.json has the names."""
    entry = {
        "from_step": start_step,
        "last_step": total_steps,
        "images": _images(train),
    }
    kept = [old for old in starts(folder) if old["from_step"] < start_step]
    changed = not kept or any(kept[-1][k] != entry[k] for k in ("last_step", "images"))
    if changed:
        kept.append(entry)
    files.write_json(folder.history, {"classes": list(classes), "starts": kept})
    if classes:
        files.write_json(folder.classes, list(classes))


def _read(folder: RunFolder) -> dict[str, Any]:
    """Read the records of the folder; only the classes where it has no such file."""
    for path in (folder.history, folder.classes):
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        return found if isinstance(found, dict) else {"classes": found}
    return {}


def _images(train: Split) -> dict[str, Any]:
    return {
        "count": train.num_examples,
        "digest": identity.images_digest(train.source),
        "labels": identity.labels_digest(train.source),
    }


def _check_classes(
    folder: RunFolder, before: Sequence[str] | None, now: Sequence[str]
) -> None:
    if before is None or list(before) == list(now):
        return
    added = [name for name in now if name not in before]
    gone = [name for name in before if name not in now]
    found = (("new", added), ("gone", gone))
    parts = [f"{word}: {_some(names)}" for word, names in found if names]
    difference = "; ".join(parts) or (
        f"another order: there {_some(before)}, now {_some(now)}"
    )
    raise ConfigError(
        f"{folder} was trained with other classes ({difference}), and its labels would "
        "mean something else; restore the classes, or choose another --model_dir "
        f"(--checkpoint={folder} starts from these weights)"
    )


def _some(names: Sequence[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _absolute(place: str) -> str:
    """Return a path in one form: photos, ./photos and photos/ are the same place."""
    return place if "://" in place else os.path.abspath(os.path.expanduser(place))


def _check_images(
    config: Config,
    folder: RunFolder,
    before: dict[str, Any] | None,
    train: Split,
    *,
    fixed: bool,
) -> str:
    """Return what has changed in the images, for a message; empty if nothing has."""
    place = run_folder.read_config(folder).data.source
    moved = _absolute(place) != _absolute(config.data.source)
    if before is None:
        if moved:
            raise ConfigError(
                f"{folder} was trained on {place} and does not say which images these "
                f"were, so {config.data.source} cannot be compared with them; name the "
                "same place, or choose another --model_dir"
            )
        return ""
    now = _images(train)
    if now == before:
        if moved:
            logger.info(
                "%s: the same %d images as in %s",
                config.data.source,
                now["count"],
                place,
            )
        return ""
    if now["count"] != before["count"]:
        change = f"{before['count']} images before, {now['count']} now"
    elif now["digest"] != before["digest"]:
        change = f"{now['count']} images as before, but names or sizes have changed"
    else:
        change = f"the same {now['count']} images with other labels"
    if moved or fixed:
        why = (
            f"a run goes on in another place only with the same images as in {place}"
            if moved
            else "the labels that are used were chosen among the images before"
        )
        raise ConfigError(
            f"{config.data.source}: {change}, and {why}; restore them, or choose "
            f"another --model_dir (--checkpoint={folder} starts from these weights)"
        )
    return change
