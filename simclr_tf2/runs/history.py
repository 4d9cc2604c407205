"""history.json: the classes, images and length of a run at each of its starts.

Before a start writes anything, it compares the current data with this file.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from typing import Any

from simclr_tf2 import files
from simclr_tf2.config import Config
from simclr_tf2.data import identity, pipeline, records
from simclr_tf2.data.datasets import Split
from simclr_tf2.errors import ConfigError
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import checkpoints
from simclr_tf2.runs import folder as run_folder

logger = logging.getLogger(__name__)

NAMED = 5  # classes named in a message


def class_names(*splits: Split | None) -> tuple[str, ...]:
    """Return the classes of the first split that has classes."""
    return next((s.class_names for s in splits if s and s.class_names), ())


def starts(folder: RunFolder) -> list[dict[str, Any]]:
    """List the starts that changed images or length, as records of history.json."""
    return list(_read(folder).get("starts", []))


def check(
    config: Config,
    train: Split,
    *,
    classes: Sequence[str],
    total_steps: int,
    fixed: bool = False,
) -> None:
    """Compare the data with the last start of the run in ``model_dir``; writes nothing.

    Added, removed and changed images are accepted and logged; batches are then drawn
    from the current images. The classes must be the same. Images at another path
    (``--image_dir``) must be the same. Before the first checkpoint everything is
    accepted, because nothing has been learned.

    Args:
        config: The whole config.
        train: The training images.
        classes: Names of the classes, in the order of labels.
        total_steps: Number of steps of the whole run, with the current settings.
        fixed: Whether another set of images is refused, because a share of the labels
            was chosen from it.

    Raises:
        ConfigError: The classes differ, images at another path differ, or the run has
            fewer steps than are already trained.
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
    if _stream_order(train, config) not in (None, last.get("stream_order")):
        logger.warning(
            "%s: images are streamed in another order than at the last start, which "
            "was by an earlier version or with another --cache; the run goes on from "
            "step %d, but is not the run that it would have been",
            config.data.source,
            step,
        )
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
    """Record this start if it differs from the last one; write classes.json."""
    entry = {
        "from_step": start_step,
        "last_step": total_steps,
        "images": _images(train),
    }
    stream_order = _stream_order(train, run_folder.read_config(folder))
    if stream_order is not None:
        entry["stream_order"] = stream_order
    kept = [old for old in starts(folder) if old["from_step"] < start_step]
    compared = ("last_step", "images", "stream_order")
    changed = not kept or any(kept[-1].get(k) != entry.get(k) for k in compared)
    if changed:
        kept.append(entry)
    files.write_json(folder.history, {"classes": list(classes), "starts": kept})
    if classes:
        files.write_json(folder.classes, list(classes))


def _read(folder: RunFolder) -> dict[str, Any]:
    """Read history.json; without that file, only the classes of classes.json."""
    for path in (folder.history, folder.classes):
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        return found if isinstance(found, dict) else {"classes": found}
    return {}


def _stream_order(train: Split, config: Config) -> int | None:
    """Return the version of the order of streamed images; None if they are not."""
    if pipeline.is_readable_by_index(train, config.data.cache_mode):
        return None
    return records.ORDER_VERSION


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
    """Return a path in one form: photos, ./photos and photos/ are the same path."""
    return place if "://" in place else os.path.abspath(os.path.expanduser(place))


def _check_images(
    config: Config,
    folder: RunFolder,
    before: dict[str, Any] | None,
    train: Split,
    *,
    fixed: bool,
) -> str:
    """Return a text on what has changed in the images; empty if nothing has."""
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
