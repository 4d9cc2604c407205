"""Several folders of images as one: ``--image_dir=a,b``."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence

import numpy as np

from simclr_tf2.data import layout_rules, layouts, split_names
from simclr_tf2.data.layouts import Listing
from simclr_tf2.errors import ConfigError


def list_folders(folders: Sequence[str], *, layout: str = "auto") -> Listing:
    """List the images of one folder, or of several as if they were in one.

    Of several folders, the path of each image begins with the name of its folder. Each
    folder is read by its own subfolders, so that classes of one name are one class,
    and images of a folder without classes have no label. Folders that show classes
    only together (one class in each) are read together.

    Args:
        folders: One or more, local or addresses.
        layout: One of ``IMAGE_LAYOUTS``, of each folder.

    Raises:
        ConfigError: As ``layouts.list_folder``, naming the folder; a folder that is
            given twice, or lies in another one.
    """
    if len(folders) == 1:
        return layouts.list_folder(folders[0], layout=layout)
    _require_separate(folders)
    listings = [layouts.list_folder(folder, layout=layout) for folder in folders]
    if layout == "auto" and all(listing.layout == "flat" for listing in listings):
        listings = _read_together(listings)
    return _joined(listings, short_names(folders))


def short_names(folders: Sequence[str]) -> list[str]:
    """Return the shortest last parts of paths that are all different.

    Args:
        folders: Different paths; ``2023/photos`` and ``2024/photos`` keep two parts.
    """
    parts = [
        f.rstrip("/").split("/") if "://" in f else os.path.abspath(f).split(os.sep)
        for f in folders
    ]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def _require_separate(folders: Sequence[str]) -> None:
    real = [f.rstrip("/") if "://" in f else os.path.realpath(f) for f in folders]
    for i, one in enumerate(real):
        for j, other in enumerate(real):
            if i == j or not f"{other}/".startswith(f"{one}/"):
                continue
            if one == other:
                raise ConfigError(f"--image_dir names {folders[i]} twice")
            raise ConfigError(
                f"--image_dir: {folders[j]} lies in {folders[i]}, so its images would "
                "be read twice; leave one of them out"
            )


def _read_together(listings: list[Listing]) -> list[Listing]:
    """Read flat folders by the subfolders of all, if these show classes or splits."""
    parts = [path.split("/") for listing in listings for path in listing.paths]
    found = layout_rules.recognize(parts)
    if found == "flat":
        return listings
    labels, splits = layouts.read_subfolders(parts, found, exact=True)
    ends = np.cumsum([len(listing) for listing in listings])
    return [
        dataclasses.replace(
            listing,
            labels=None if labels is None else labels[end - len(listing) : end],
            splits=splits[end - len(listing) : end],
            layout=found,
            notes=(),
        )
        for listing, end in zip(listings, ends.tolist(), strict=True)
    ]


def _joined(listings: Sequence[Listing], names: Sequence[str]) -> Listing:
    """Join listings; the paths of each begin with the name of its folder."""
    rows: list[tuple[str, str | None, str | None]] = []
    notes: list[str] = []
    others: Counter[str] = Counter()
    side_folders: Counter[str] = Counter()
    for listing, name in zip(listings, names, strict=True):
        labels = listing.labels or (None,) * len(listing)
        named = (f"{name}/{path}" for path in listing.paths)
        rows += zip(named, labels, listing.splits, strict=True)
        notes += [f"{name}: {note}" for note in listing.notes]
        notes += _note_of_split(name, listing)
        others += Counter(listing.others)
        side_folders += Counter(listing.side_folders)
    rows.sort(key=lambda row: row[0])
    paths, labels, splits = zip(*rows, strict=True)
    layout = {listing.layout for listing in listings}
    joined = Listing(
        root=",".join(listing.root for listing in listings),
        paths=paths,
        labels=None if set(labels) == {None} else labels,
        splits=splits,
        layout=layout.pop() if len(layout) == 1 else "several",
        others=dict(others),
        hidden=sum(listing.hidden for listing in listings),
        side_folders=dict(side_folders),
        notes=tuple(notes),
        folders={n: li.root for n, li in zip(names, listings, strict=True)},
    )
    return layouts.with_notes(joined)


def _note_of_split(name: str, listing: Listing) -> list[str]:
    """Say that a folder with the name of a test split is trained on."""
    last = name.rpartition("/")[2]
    split = split_names.normalize_split(last)
    if split not in ("validation", "test") or set(listing.splits) != {None}:
        return []
    return [
        f"the images of {listing.root} belong to train, as those of the other folders; "
        "give the folder above it to read the names of folders as splits"
    ]
