"""Which images a folder holds, and what its folders say about labels and splits."""

from __future__ import annotations

import dataclasses
import difflib
import os
import posixpath
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from simclr_tf2.config import IMAGE_LAYOUTS
from simclr_tf2.data import dicom_files, layout_rules, side_files
from simclr_tf2.errors import ConfigError

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
ARRAY = ".npy"  # is an image in a folder without other images
BESIDE = "other"  # split of images that lie beside the folders of splits


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Images of a data set in a fixed order, and what is known before opening one.

    Attributes:
        root: Folder that relative paths start from; of several folders, all their
            names, as they were given.
        folders: Of several folders: first part of the paths -> folder.
        paths: '/'-separated, sorted; absolute only if a manifest says so.
        labels: Class name of each (None: this one has no label); None: no labels.
        splits: Split of each, normalised ("val" -> "validation"); None: not said.
        layout: "flat", "class", "split_class" or "manifest".
        multi_labels: int8 [n, L] of 0, 1 and -1 (not known), or None.
        multi_label_names: L names.
        others: Files without an image suffix: suffix -> count.
        hidden: Files and folders left out because their name begins with a dot or
            belongs to a system (``side_files``).
        side_folders: Of these the folders of systems: name -> count.
        notes: What a user should know about the listing, one line each.
        missing: Which paths of a manifest lead to no file, and what was tried.
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
    side_folders: dict[str, int] = field(default_factory=dict, compare=False)
    notes: tuple[str, ...] = ()
    missing: str = ""
    folders: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def left_out(self) -> str:
        """What is not read of the folder, on one line; "" if everything is."""
        return side_files.left_out(self.others, self.side_folders, self.hidden)

    def __len__(self) -> int:
        return len(self.paths)

    def place_of(self, path: str) -> tuple[str, str]:
        """Return the folder of a listed path, and the path below that folder."""
        for name, folder in self.folders.items():
            if path.startswith(f"{name}/"):
                return folder, path[len(name) + 1 :]
        return self.root, path

    def class_names(self) -> tuple[str, ...]:
        """Return classes in label order: those of train, then those of other splits.

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
        """Return the place of each label in ``class_names``, int64 [n]; -1 without."""
        ids = {name: place for place, name in enumerate(self.class_names())}
        labels = self.labels or (None,) * len(self)
        # A label that is None has no entry.
        found = (-1 if label is None else ids[label] for label in labels)
        return np.fromiter(found, np.int64, len(self))


def list_folder(root: str, *, layout: str = "auto") -> Listing:
    """List the images below a folder.

    ``auto`` takes folders for splits if the first level has names of splits
    (``split_names``) and for classes if every image of a split, or every image, lies in
    a folder of its own class; ``layout_rules`` has the rules. Otherwise the images are
    unlabelled, and a note says what was seen. ``class`` and ``split_class`` take the
    first folders for what they say, whatever lies deeper.

    Args:
        root: A folder, or its address (gs://, s3://).
        layout: One of ``IMAGE_LAYOUTS``.

    Raises:
        ConfigError: No such folder, or no file with an image suffix in it.
    """
    assert layout in IMAGE_LAYOUTS, layout
    walked = _walk_remote(root) if "://" in root else _walk_local(root)
    walked.take_arrays()
    left_out = side_files.left_out(walked.others, walked.side_folders, walked.hidden)
    if not walked.images:
        if walked.archives and not walked.others.keys() - set(side_files.ARCHIVES):
            raise ConfigError(side_files.only_archives(root, walked.archives))
        raise ConfigError(
            f"{root} holds no image: expected files ending in {', '.join(SUFFIXES)}"
            + (f"; it has: {left_out}" if left_out else "")
        )
    paths = tuple(sorted(walked.images))
    parts = [path.split("/") for path in paths]
    forced = layout != "auto"
    found = layout if forced else layout_rules.recognize(parts)
    labels, splits = read_subfolders(parts, found, exact=not forced)
    notes = list(walked.notes)
    if not forced:
        notes += layout_rules.notes(parts, found, root=root)
    listing = Listing(
        root=root,
        paths=paths,
        labels=labels,
        splits=splits,
        layout=found,
        others=dict(walked.others),
        hidden=walked.hidden,
        side_folders=dict(walked.side_folders),
        notes=tuple(notes),
    )
    return with_notes(listing)


def with_notes(listing: Listing) -> Listing:
    """Add notes on classes that train lacks."""
    notes = [*listing.notes]
    known = {s for s in listing.splits if s is not None}
    if listing.labels is not None and "train" in known:
        pairs = set(zip(listing.labels, listing.splits, strict=True))
        train = {label for label, split in pairs if split in ("train", None)}
        extra = _sorted_names({x for x, _ in pairs if x is not None and x not in train})
        if extra:
            notes.append(
                "not in train, with the ids after its classes: " + _some(extra)
            )
    return dataclasses.replace(listing, notes=tuple(notes))


@dataclass
class _Walked:
    images: list[str] = field(default_factory=list)
    arrays: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    side_folders: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, path: str, name: str) -> None:
        suffix = side_files.suffix_of(name)
        if suffix in SUFFIXES or (
            suffix in dicom_files.SUFFIXES and dicom_files.is_installed()
        ):
            self.images.append(path)
            return
        self.others[suffix] += 1
        if suffix == ARRAY:
            self.arrays.append(path)
        elif suffix in side_files.ARCHIVES:
            self.archives.append(path)

    def take_arrays(self) -> None:
        """Take .npy files for images if there are no others.

        Beside images they are usually something else, such as labels.
        """
        if not self.images:
            self.images = self.arrays
            self.others.pop(ARRAY, None)

    def hide(self, name: str, *, folder: bool) -> None:
        self.hidden += 1
        if folder and name not in (".git", ".cache"):
            self.side_folders[name] += 1


def _walk_local(root: str) -> _Walked:
    """Walk real folders first, then linked ones, each once: no cycle, no double."""
    if not os.path.isdir(root):
        raise ConfigError(_no_folder(root))
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


def _no_folder(path: str) -> str:
    if not os.path.exists(path):
        folder, name = os.path.split(os.path.abspath(path))
        near = difflib.get_close_matches(name, _folders_in(folder), n=1)
        near = [os.path.join(os.path.dirname(path.rstrip("/")), n) for n in near]
        hint = f"did you mean {near[0]}?" if near else "check the path"
        return f"{path} is not a folder, nothing is there; {hint}"
    remedy = side_files.reading_flag(path)
    if not remedy and side_files.suffix_of(path) in SUFFIXES:
        remedy = f"pass --image_dir={shlex.quote(os.path.dirname(path) or '.')}"
    return f"{path} is not a folder; {remedy or 'give the folder of the images'}"


def _folders_in(folder: str) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(folder) if _is_dir(entry)]
    except OSError:
        return []


def _walk_tree(
    root: str, prefix: str, walked: _Walked, seen: set[tuple[int, int]]
) -> list[str]:
    """Add the files below a folder and return the folder links met."""
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
            if side_files.is_hidden(name):
                walked.hide(name, folder=_is_dir(entry))
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
        within = [part for part in inside.split("/") if side_files.is_hidden(part)]
        for name in names:
            if within or side_files.is_hidden(name):
                walked.hidden += 1
            else:
                walked.add(f"{inside}/{name}" if inside else name, name)
    return walked


def read_subfolders(
    parts: Sequence[Sequence[str]], layout: str, *, exact: bool
) -> tuple[tuple[str | None, ...] | None, tuple[str | None, ...]]:
    """Return labels and splits by the folders of each image.

    Args:
        parts: Folders and name of each image.
        layout: "flat", "class" or "split_class".
        exact: Whether a split is labelled only if each of its images lies in a folder
            of its class; else what is deeper or higher is left without a label.
    """
    if layout == "flat":
        return None, (None,) * len(parts)
    if layout == "class":
        labels = tuple(p[0] if len(p) > 1 else None for p in parts)
        return labels, (None,) * len(parts)
    splits = layout_rules.splits_of(parts, beside=BESIDE)
    plain = {"unlabeled", BESIDE}
    if exact:
        plain |= {s for p, s in zip(parts, splits, strict=True) if len(p) != 3}
    split_labels = tuple(
        p[1] if s not in plain and len(p) > 2 else None
        for p, s in zip(parts, splits, strict=True)
    )
    # A single folder (train/images/) says where the images are, not what they show.
    several = len(set(split_labels) - {None}) >= 2
    return (split_labels if several else None), splits


def _sorted_names(names: Iterable[str]) -> list[str]:
    names = list(names)
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
