"""Which images a folder holds, and what its folders say about labels and splits."""

from __future__ import annotations

import dataclasses
import logging
import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from simclr_tf2.config import ConfigError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
LAYOUTS = ("auto", "flat", "class", "split_class")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "unlabeled": "unlabeled",
    "unlabelled": "unlabeled",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images of a data set in a fixed order, and what is known before opening one.

    Attributes:
        root: Folder that relative paths start from.
        paths: '/'-separated, sorted; absolute only if a manifest says so.
        labels: Class name of each (None: this one has no label); None: no labels.
        splits: Split of each, normalised ("val" -> "validation"); None: not said.
        layout: "flat", "class", "split_class" or "manifest".
        multi_labels: int8 [n, L] of 0, 1 and -1 (not known), or None.
        multi_label_names: L names.
        others: Files without an image suffix: suffix -> count.
        hidden: Files and folders left out because their name begins with a dot.
        notes: What a user should know about the listing, one line each.
    """

    root: str
    paths: tuple[str, ...]
    labels: tuple[str | None, ...] | None
    splits: tuple[str | None, ...]
    layout: str
    multi_labels: np.ndarray | None = field(default=None, compare=False)
    multi_label_names: tuple[str, ...] = ()
    others: dict[str, int] = field(default_factory=dict, compare=False)
    hidden: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def class_names(self) -> tuple[str, ...]:
        """Classes in label order: those of train, then those of other splits only.

        Each part is sorted, as numbers where all names are whole numbers.
        """
        if self.labels is None:
            return ()
        names = {label for label in self.labels if label is not None}
        first = {
            label
            for label, split in zip(self.labels, self.splits, strict=True)
            if label is not None and split in ("train", None)
        }
        return (*_sorted_names(first), *_sorted_names(names - first))

    def label_ids(self) -> np.ndarray:
        """Place of each image's label in ``class_names``, int64 [n]; -1 without."""
        ids = {name: place for place, name in enumerate(self.class_names())}
        labels = self.labels or (None,) * len(self)
        # A label that is None has no entry.
        found = (-1 if label is None else ids[label] for label in labels)
        return np.fromiter(found, np.int64, len(self))


def list_folder(root: str, *, layout: str = "auto") -> Listing:
    """List the images below a folder.

    ``auto`` takes folders for labels only where every image agrees: all in
    ROOT/SPLIT/CLASS/ or ROOT/SPLIT/, the first level being names of splits
    (``SPLIT_NAMES``), or all in ROOT/CLASS/ with at least two classes. Otherwise the
    images are unlabelled. ``class`` and ``split_class`` take the first folders for what
    they say, whatever lies deeper.

    Args:
        root: A folder, or its address (gs://, s3://).
        layout: One of LAYOUTS.

    Raises:
        ConfigError: No such folder, or no file with an image suffix in it.
    """
    assert layout in LAYOUTS, layout
    walked = _walk_remote(root) if "://" in root else _walk_local(root)
    if not walked.images:
        others = ", ".join(f"{n} {s}" for s, n in walked.others.most_common(5))
        raise ConfigError(
            f"{root} holds no image: expected files ending in {', '.join(SUFFIXES)}"
            + (f"; it has: {others}" if others else "")
        )
    paths = tuple(sorted(walked.images))
    parts = [path.split("/") for path in paths]
    notes = list(walked.notes)
    if layout == "auto":
        layout = _recognize(parts)
        notes += _nearly(parts, layout)
    labels, splits = _read_folders(parts, layout)
    listing = Listing(
        root=root,
        paths=paths,
        labels=labels,
        splits=splits,
        layout=layout,
        others=dict(walked.others),
        hidden=walked.hidden,
        notes=tuple(notes),
    )
    return with_notes(listing)


def with_notes(listing: Listing) -> Listing:
    """Add notes on classes that train lacks; log every note as a warning."""
    notes = [*listing.notes]
    known = {s for s in listing.splits if s is not None}
    if listing.labels is not None and "train" in known:
        pairs = set(zip(listing.labels, listing.splits, strict=True))
        train = {label for label, split in pairs if split in ("train", None)}
        extra = _sorted_names({x for x, _ in pairs if x is not None and x not in train})
        if extra:
            notes.append(
                f"{len(extra)} classes are not in train and get the ids after it: "
                + _some(extra)
            )
    for note in notes:
        _log.warning("%s: %s", listing.root, note)
    return dataclasses.replace(listing, notes=tuple(notes))


@dataclass
class _Walked:
    images: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, path: str, name: str) -> None:
        suffix = posixpath.splitext(name)[1].lower()
        if suffix in SUFFIXES:
            self.images.append(path)
        else:
            self.others[suffix or "(none)"] += 1


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _walk_local(root: str) -> _Walked:
    """Real folders first, then linked ones, each folder once: no cycle, no double."""
    if not os.path.isdir(root):
        raise ConfigError(f"{root} is not a folder; give the folder of the images")
    walked, seen = _Walked(), {_identity(root)}
    links, again = _walk_tree(root, "", walked, seen), 0
    while links:
        links.sort(reverse=True)
        prefix = links.pop()
        identity = _identity(os.path.join(root, prefix))
        if identity in seen:
            again += 1
            continue
        seen.add(identity)
        links += _walk_tree(root, prefix, walked, seen)
    if again:
        walked.notes.append(
            f"{again} linked folders lead to folders that are read already; left out"
        )
    return walked


def _walk_tree(
    root: str, prefix: str, walked: _Walked, seen: set[tuple[int, int]]
) -> list[str]:
    """Add the files below a folder; returns the folder links met."""
    links, stack = [], [prefix]
    while stack:
        prefix = stack.pop()
        try:
            with os.scandir(os.path.join(root, prefix)) as entries:
                found = list(entries)
        except OSError as error:
            walked.notes.append(f"folder {prefix!r} is not readable: {error.strerror}")
            continue
        if not found and posixpath.splitext(prefix)[1].lower() in SUFFIXES:
            walked.images.append(prefix)  # an empty folder x.jpg: named as bad later
        for entry in found:
            name = entry.name
            path = f"{prefix}/{name}" if prefix else name
            if _is_hidden(name):
                walked.hidden += 1
            elif not _is_dir(entry):
                walked.add(path, name)
            elif entry.is_symlink():
                links.append(path)
            else:
                identity = _identity(os.path.join(root, path))
                if identity not in seen:
                    seen.add(identity)
                    stack.append(path)
    return links


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (-1, hash(path))
    return (status.st_dev, status.st_ino)


def _walk_remote(root: str) -> _Walked:
    walked, base = _Walked(), root.rstrip("/")
    for folder, _, names in tf.io.gfile.walk(base):
        inside = folder[len(base) :].strip("/")
        hidden = any(_is_hidden(part) for part in inside.split("/") if part)
        for name in names:
            if hidden or _is_hidden(name):
                walked.hidden += 1
            else:
                walked.add(f"{inside}/{name}" if inside else name, name)
    return walked


def _recognize(parts: Sequence[Sequence[str]]) -> str:
    depths = {len(p) for p in parts}
    tops = {p[0] for p in parts if len(p) > 1}
    if min(depths) >= 2 and all(top.lower() in SPLIT_NAMES for top in tops):
        return "split_class"
    if depths == {2} and len(tops) >= 2:
        return "class"
    return "flat"


def _nearly(parts: Sequence[Sequence[str]], layout: str) -> Iterator[str]:
    """A note where a few strays made a labelled folder an unlabelled one."""
    if layout != "flat":
        return
    in_class = sum(len(p) == 2 for p in parts)
    stray = next((p for p in parts if len(p) != 2), None)
    if stray is not None and in_class >= 0.9 * len(parts):
        yield (
            f"{in_class} of {len(parts)} images lie in FOLDER/image, but not "
            f"{'/'.join(stray)!r}: read as unlabelled; move it, or pass "
            "--image_layout=class"
        )


def _read_folders(
    parts: Sequence[Sequence[str]], layout: str
) -> tuple[tuple[str | None, ...] | None, tuple[str | None, ...]]:
    if layout == "flat":
        return None, (None,) * len(parts)
    if layout == "class":
        labels = tuple(p[0] if len(p) > 1 else None for p in parts)
        return labels, (None,) * len(parts)
    splits = tuple(normalize_split(p[0]) if len(p) > 1 else None for p in parts)
    # A split is labelled if each of its images is in a folder of its own class.
    plain = {s for p, s in zip(parts, splits, strict=True) if len(p) != 3}
    plain.add("unlabeled")
    split_labels = tuple(
        p[1] if s not in plain else None for p, s in zip(parts, splits, strict=True)
    )
    # A single folder (train/images/) says where the images are, not what they show.
    several = len(set(split_labels) - {None}) >= 2
    return (split_labels if several else None), splits


def normalize_split(name: str) -> str:
    """A split's usual name ("val" -> "validation"); others are kept as they are."""
    return SPLIT_NAMES.get(name.lower(), name)


def _sorted_names(names: Iterable[str]) -> list[str]:
    names = list(names)
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
