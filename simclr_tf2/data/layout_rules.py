"""What folder names say about labels and splits, and what to say where they do not.

``parts`` are the folders and the name of each image: ("train", "cat", "1.jpg").
"""

from __future__ import annotations

import posixpath
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from simclr_tf2.data.split_names import folder_split, is_plain

Parts = Sequence[Sequence[str]]
_HELD_OUT = ("validation", "test")


def recognize(parts: Parts) -> str:
    """Return the layout of the folders: "split_class", "class" or "flat".

    The first level is splits

    - if all its folders have names of splits, and every image lies in one;
    - if two different splits are among them, whatever lies beside;
    - if there is one, it has folders (classes) inside, and what lies beside has none or
      the same ones: ``train/cat``, ``train/dog``, ``extra/1.jpg``.

    Otherwise it is classes if there are two folders or more and every image lies
    directly in one: a class may be called ``train``.
    """
    inside = _inside(parts)
    splits = _split_folders(list(inside))
    tops = {p[0] for p in parts if len(p) > 1}
    if splits and (
        (tops == set(splits) and all(len(p) > 1 for p in parts))
        or len(set(splits.values())) > 1
        or _holds_classes(splits, inside)
    ):
        return "split_class"
    if len(tops) >= 2 and {len(p) for p in parts} == {2}:
        return "class"
    return "flat"


def splits_of(parts: Parts, *, beside: str) -> tuple[str, ...]:
    """Return the split of each image by its first folder.

    Folders that have no name of a split are splits of their own name.

    Args:
        parts: Folders and names.
        beside: Split of images that lie in no folder.
    """
    tops = {p[0] for p in parts if len(p) > 1}
    splits = {name: folder_split(name) or name for name in tops}
    return tuple(splits[p[0]] if len(p) > 1 else beside for p in parts)


def _split_folders(tops: Sequence[str]) -> dict[str, str]:
    """Map each folder that has a split's name to the split.

    Names with a number or a word more count only beside a folder to train on: test1,
    test2 alone may be anything.
    """
    found = {name: folder_split(name) for name in tops}
    splits = {name: split for name, split in found.items() if split}
    trained = {"train", "unlabeled"} & set(splits.values())
    return {n: s for n, s in splits.items() if trained or is_plain(n)}


def _inside(parts: Parts) -> dict[str, Counter[str]]:
    """Count images: first folder -> second folder ("" for none) -> images."""
    inside: dict[str, Counter[str]] = defaultdict(Counter)
    for p in parts:
        if len(p) > 1:
            inside[p[0]][p[1] if len(p) > 2 else ""] += 1
    return inside


def _holds_classes(splits: dict[str, str], inside: dict[str, Counter[str]]) -> bool:
    """Return whether the only split has class folders and the rest has no others."""
    classes = {name for top in splits for name in inside[top]} - {""}
    beside = {n for top, names in inside.items() if top not in splits for n in names}
    return len(classes) >= 2 and beside - {""} <= classes


def notes(parts: Parts, layout: str, *, root: str) -> Iterator[str]:
    """Yield what a user should know of how the folders were read, one line each.

    Args:
        parts: Folders and names.
        layout: As recognised.
        root: The folder that was given.
    """
    if layout == "split_class":
        yield from _notes_on_splits(parts)
    elif layout == "class":
        yield from _notes_on_classes(parts)
    else:
        yield from _notes_on_flat(parts, root)


def _notes_on_splits(parts: Parts) -> Iterator[str]:
    by_split: dict[str, list[Sequence[str]]] = defaultdict(list)
    for p, split in zip(parts, splits_of(parts, beside=""), strict=True):
        by_split[split].append(p)
    loose = by_split.pop("", [])
    for split, images in sorted(by_split.items()):
        tops = sorted({p[0] for p in images})
        if folder_split(tops[0]) is None:
            yield (
                f"{split}/ ({_images(len(images))}) beside the splits is a split of "
                f"its own: trained on only if named (--train_split=train+{split})"
            )
        elif len(tops) > 1 or not is_plain(tops[0]):
            yield f"read as the split {split}: {_some([f'{top}/' for top in tops])}"
        yield from _note_on_stray(split, images)
    if loose:
        yield (
            f"{_images(len(loose))} beside the folders of the splits "
            f"({_some([p[0] for p in loose])}): the split other, not trained on unless "
            "--train_split names it"
        )


def _note_on_stray(split: str, images: Parts) -> Iterator[str]:
    """Yield a note where a few images made a labelled split an unlabelled one."""
    stray = next((p for p in images if len(p) != 3), None)
    deep = {p[2] for p in images if len(p) > 3}
    if len(deep) >= 2 and len({p[1] for p in images}) == 1:
        yield (
            f"images of {split} lie deeper than SPLIT/CLASS/image "
            f"({'/'.join(images[0])!r}): read as unlabelled; if {_some(sorted(deep))} "
            "are classes, move them up one folder"
        )
        return
    classes = {p[1] for p in images if len(p) > 2}
    if stray is not None and len(classes) >= 2 and split != "unlabeled":
        yield (
            f"{sum(len(p) == 3 for p in images)} of {len(images)} images of {split} "
            f"lie in SPLIT/CLASS/image, but not {'/'.join(stray)!r}: {split} is read "
            "as unlabelled; move it, or pass --image_layout=split_class"
        )


def _notes_on_classes(parts: Parts) -> Iterator[str]:
    tops = sorted({p[0] for p in parts})
    splits = {top: folder_split(top) for top in tops}
    for top, split in splits.items():
        if split and (split != "train" or len(tops) == 2):
            others = _some([f"{t}/" for t in tops if t != top])
            yield (
                f"{top}/ is read as a class, as {others} beside it: if its images are "
                f"a split, put the others into train/, or list all in a --manifest "
                "with a column split"
            )


def _notes_on_flat(parts: Parts, root: str) -> Iterator[str]:
    """Yield notes on folders that look like labels or splits not understood."""
    folders = Counter(tuple(p[:-1]) for p in parts)
    common = _common(list(folders))
    kinds = sorted({f[len(common)] for f in folders if len(f) > len(common)})
    if len(kinds) >= 2 and common:
        inner = shlex.quote(posixpath.join(root, *common))
        yield (
            f"all images lie in {'/'.join(common)}/, which holds the folders "
            f"{_some(kinds)}: read as unlabelled; if these are classes or splits, pass "
            f"--image_dir={inner}"
        )
    elif len(kinds) >= 2:
        yield _several(parts, kinds)
    held: Counter[str] = Counter()
    for folder, count in folders.items():
        for name in {n for n in folder if folder_split(n) in _HELD_OUT}:
            held[name] += count
    for name, count in held.items():
        yield (
            f"{_images(count)} in folders called {name}: a part of train: to keep "
            f"them apart make it the first folder ({name}/CLASS/image), or list the "
            "images in a --manifest with a column split"
        )


def _several(parts: Parts, tops: Sequence[str]) -> str:
    in_class = sum(len(p) == 2 for p in parts)
    if in_class >= len(parts) / 2:
        stray = min((p for p in parts if len(p) != 2), key=len)
        return (
            f"{in_class} of {len(parts)} images lie in FOLDER/image, but not "
            f"{'/'.join(stray)!r}: read as unlabelled; move it, or pass "
            "--image_layout=class"
        )
    return (
        f"images lie in {len(tops)} folders ({_some(tops)}), not all as FOLDER/image: "
        "read as unlabelled; if the first folders are classes, pass "
        "--image_layout=class; a --manifest gives any labels"
    )


def _common(folders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the folders that all images share."""
    first, last = min(folders), max(folders)
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    return first[:shared]


def _images(count: int) -> str:
    return f"{count} image{'s' * (count != 1)}"


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
