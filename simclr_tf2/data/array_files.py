"""Images that are arrays already: in memory, or in an .npz or .npy file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import numpy as np

from simclr_tf2.data import (
    array_labels,
    held_out,
    image_sets,
    once,
    order,
    pixel_range,
    slices,
)
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.sources import ArraySource
from simclr_tf2.data.split_names import normalize_split
from simclr_tf2.data.subset import SubsetSource
from simclr_tf2.errors import ConfigError

# Part of each split -> (array, int64 [k] rows of it), in order.
Places = list[tuple[str, np.ndarray]]

# Names of arrays, in lower case, before or after the name of a split.
_IMAGES, _LABELS = ("images", "x"), ("labels", "y")


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    name: str = "arrays",
    split: str = "train",
    class_names: tuple[str, ...] = (),
    num_classes: int | None = None,
    channels: int | None = None,
    pixels: str = pixel_range.AUTO,
) -> Split:
    """Make a split from arrays of images in memory, for use as a library.

    Args:
        images: [n, h, w, c] of any number type, any number of channels; [n, h, w] is
            gray.
        labels: [n], [n, 1] or [n, l], as ``array_labels.read`` takes them; None: there
            are none.
        name: Name of the data set, for messages and results.
        split: Name of the split, for messages and results.
        class_names: In label order; default: what the labels say.
        num_classes: One more than the largest label unless given.
        channels: Expected; images [n, c, h, w] are turned where only that fits.
        pixels: ``--pixel_range``: auto, full or "LO,HI".

    Raises:
        ConfigError: Shapes, types or values that do not fit.
    """
    images = _as_images(np.asarray(images), channels, name)
    chosen, seen = pixel_range.of_arrays([images], pixels, name=name)
    read = None
    if labels is not None:
        read = array_labels.read({split: _one_each(labels, images, name)}, name=name)
    return _split(
        images,
        read.by_split[split] if read else None,
        name=name,
        split=split,
        class_names=tuple(class_names) or (read.class_names if read else ()),
        num_classes=num_classes or (read.num_classes if read else 0),
        pixels=chosen,
        seen=seen,
    )


def open_array_split(
    path: str,
    spec: str,
    *,
    channels: int | None = None,
    pixels: str = pixel_range.AUTO,
) -> Split:
    """Open a split of an .npz or .npy file.

    The arrays of an .npz are ``images`` and ``labels`` (or ``x`` and ``y``; the split
    ``train``) or, for each split, ``NAME_images`` and ``NAME_labels`` (or ``x_NAME``
    and ``y_NAME``), in upper or lower case. ``val`` is ``validation``. Labels may be
    missing. Where only ``train`` has labels and there is no ``validation``, that split
    is a tenth of train, chosen by a hash of the place in the file; ``all`` is every
    image. A slice is drawn from all of its split (``order.drawn``), whose arrays may be
    sorted by class. Range of the pixels and classes are those of all splits together.
    An .npy holds the images of the split ``train``; the file of its labels
    may lie beside it (``_labels_beside``).

    Args:
        path: The file.
        spec: A split, or slices of some.
        channels: Expected; images [n, c, h, w] are turned where only that fits.
        pixels: ``--pixel_range``: auto, full or "LO,HI".

    Raises:
        ConfigError: No such file or split, or arrays that are no images.
    """
    found, labels = _by_split(_load(path), path)
    found = {s: _as_images(a, channels, f"{path}:{s}") for s, a in found.items()}
    if len({array.dtype for array in found.values()}) > 1:
        kinds = ", ".join(f"{s} {a.dtype}" for s, a in found.items())
        raise ConfigError(f"{path} has images of several types ({kinds}); save one")
    chosen, seen = pixel_range.of_arrays(list(found.values()), pixels, name=path)
    read = None
    if labels:
        own = {s: _one_each(a, found[s], f"{path}:{s}") for s, a in labels.items()}
        read = array_labels.read(own, name=path)
    splits = _splits(found, read, path)
    sizes = {s: sum(len(rows) for _, rows in places) for s, places in splits.items()}
    rows = [
        place
        for p in slices.resolve(spec, sizes, name=path)
        for place in _taken(
            splits[p.split], order.drawn(p.start, p.stop, sizes[p.split])
        )
    ]
    labelled = read is not None and all(s in read.by_split for s, _ in rows)
    opened = _split(
        np.concatenate([found[s][row] for s, row in rows]),
        np.concatenate([read.by_split[s][row] for s, row in rows])
        if read is not None and labelled
        else None,
        name=path,
        split=spec,
        class_names=read.class_names if read is not None and labelled else (),
        num_classes=read.num_classes if read is not None and labelled else 0,
        pixels=chosen,
        seen=seen,
    )
    assert isinstance(opened.source, ArraySource)
    places = tuple((f"{path}:{s}", row) for s, row in rows)
    source = dataclasses.replace(opened.source, places=places)
    return dataclasses.replace(opened, source=source)


def _splits(
    images: dict[str, np.ndarray], labels: array_labels.Labels | None, path: str
) -> dict[str, Places]:
    """Return the places of each split, with ``all`` and, if needed, a held-out part.

    The split ``validation`` is held out of train where only train has labels.
    """
    whole = {s: np.arange(len(array)) for s, array in images.items()}
    found: dict[str, Places] = {s: [(s, rows)] for s, rows in whole.items()}
    if labels is not None and "validation" not in found and _only_train(labels):
        held = held_out.chosen(whole["train"], image_sets.HELD_OUT)
        if held.any():
            found["train"] = [("train", np.flatnonzero(~held))]
            found["validation"] = [("train", np.flatnonzero(held))]
            once.tell(
                f"{path}: only train has labels, so {held.sum()} of its {len(held)} "
                "images, by a hash of their place, are the split validation; "
                "--train_split=all trains on every image"
            )
    found.setdefault("all", list(whole.items()))
    return found


def _only_train(labels: array_labels.Labels) -> bool:
    """Return whether train, and no other split, has a label."""
    known = {s for s, array in labels.by_split.items() if (array >= 0).any()}
    return known == {"train"}


def _taken(places: Places, chosen: np.ndarray) -> Places:
    """Return the places at these positions (sorted) of a split."""
    found, start = [], 0
    for name, rows in places:
        inside = chosen[(chosen >= start) & (chosen < start + len(rows))] - start
        if len(inside):
            found.append((name, rows[inside]))
        start += len(rows)
    return found


def is_part_of_train(split: Split) -> bool:
    """Return whether a split ``validation`` of an array file is a part of its train."""
    source = split.source
    while isinstance(source, SubsetSource):
        source = source.base
    names = [name for name, _ in getattr(source, "places", ())]
    return bool(names) and all(name.endswith(":train") for name in names)


def _split(
    images: np.ndarray,
    labels: np.ndarray | None,
    *,
    name: str,
    split: str,
    class_names: tuple[str, ...],
    num_classes: int,
    pixels: str,
    seen: pixel_range.Seen,
) -> Split:
    known = labels is not None
    labels = np.full(len(images), array_labels.NONE) if labels is None else labels
    images = pixel_range.to_pixels(images, pixels)
    return Split(
        name=name,
        split=split,
        num_examples=len(images),
        num_classes=num_classes or None,
        class_names=class_names,
        has_labels=labels.ndim == 1 and known and bool((labels >= 0).all()),
        image_shape=(images.shape[1], images.shape[2], images.shape[3]),
        source=ArraySource(images, labels.astype(np.int64)),
        label_shape=labels.shape[1:],
        pixel_range=pixels,
        pixel_bytes=images.dtype.itemsize,
        seen=seen,
    )


def _as_images(images: np.ndarray, channels: int | None, name: str) -> np.ndarray:
    """Return images as [n, h, w, c], whatever their order; they are numbers or bool."""
    images = images[..., None] if images.ndim == 3 else images
    shape = "x".join(map(str, images.shape))
    if images.ndim != 4 or images.dtype.kind not in "biuf" or not images.size:
        raise ConfigError(
            f"images of {name} must be numbers [n, h, w, c] with n > 0. "
            f"Received: {images.dtype} {shape}."
        )
    images = images.astype(images.dtype.newbyteorder("="), copy=False)
    if channels is None or images.shape[3] == channels:
        return images
    if images.shape[1] == channels:
        once.tell(f"{name}: {shape} is read as channels first")
        return np.moveaxis(images, 1, 3)
    first = images.shape[1] < min(images.shape[2:])
    count = images.shape[1 if first else 3]
    order = " first" if first else ""
    raise ConfigError(
        f"{name} has images of {count} channels{order} ({shape}); pass "
        f"--image_channels={count}"
    )


def _one_each(labels: np.ndarray, images: np.ndarray, name: str) -> np.ndarray:
    labels = np.asarray(labels)
    if not labels.ndim or len(labels) != len(images):
        raise ConfigError(
            f"labels of {name} must be one an image. Received: "
            f"{len(labels) if labels.ndim else 1} for {len(images)} images."
        )
    return labels


def _load(path: str) -> dict[str, np.ndarray]:
    arrays = {}
    name = ""
    try:
        for name, array in _arrays(path):
            arrays[name] = array
    except (OSError, ValueError, EOFError) as error:
        if name and "allow_pickle" in str(error):
            raise ConfigError(
                f"{name} of --dataset={path} is an array of Python objects, which "
                "could run code; save text as labels.astype(str), numbers as "
                "labels.astype(int), images of one size as np.stack(images)"
            ) from error
        raise ConfigError(f"--dataset={path} cannot be read: {error}") from error
    return arrays


def _by_split(
    arrays: dict[str, np.ndarray], path: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the images and the labels of each split."""
    images: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    unknown = []
    for key, array in arrays.items():
        for names, found in ((_IMAGES, images), (_LABELS, labels)):
            split = _split_of(key, names)
            if split is None:
                continue
            if split in found:
                raise ConfigError(
                    f"{path} has two arrays for the {names[0]} of {split}"
                )
            found[split] = array
            break
        else:
            unknown.append(key)
    if not images:
        raise ConfigError(
            f"--dataset={path} holds no images, only: {', '.join(arrays)}; name them "
            "images or train_images, and labels or train_labels"
        )
    unknown += [f"labels of {split}" for split in labels.keys() - images.keys()]
    if unknown:
        once.warn(f"{path}: not read: {', '.join(unknown)}")
    return images, {s: array for s, array in labels.items() if s in images}


def _split_of(key: str, names: tuple[str, ...]) -> str | None:
    """Return the split of the array ``key`` if it is one of ``names``, else None."""
    long, short = names
    lower = key.lower()
    if lower in names:
        return "train"
    split = key[: -len(long) - 1] if lower.endswith(f"_{long}") else ""
    split = key[len(short) + 1 :] if lower.startswith(f"{short}_") else split
    return normalize_split(split) or None


def _arrays(path: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays of a file by name, without running code (no pickle)."""
    if path.endswith(".npz"):
        with np.load(path) as file:
            for name in file.files:
                yield name, file[name]
        return
    yield "images", np.load(path)
    beside = _labels_beside(path)
    if beside:
        once.tell(f"{path}: labels from {beside}")
        yield "labels", np.load(beside)


def _labels_beside(path: str) -> str | None:
    """Return the file of labels beside an .npy, None without one.

    It is a_labels.npy of a.npy, labels.npy of images.npy, y of x.npy.
    """
    folder, name = os.path.split(path)
    stem = name.removesuffix(".npy")
    names = [f"{stem}_labels", stem.replace("images", "labels")]
    names += [f"y{stem[1:]}"] if stem == "x" or stem.startswith("x_") else []
    paths = [os.path.join(folder, f"{n}.npy") for n in names if n != stem]
    return next((path for path in paths if os.path.exists(path)), None)
