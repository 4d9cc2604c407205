"""Images that are arrays already: in memory, or in an .npz or .npy file."""

from __future__ import annotations

import dataclasses
import logging
import os

import numpy as np

from simclr_tf2.config import ConfigError
from simclr_tf2.data import slices
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.sources import ArraySource
from simclr_tf2.data.split_names import normalize_split

logger = logging.getLogger(__name__)


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    name: str = "arrays",
    split: str = "train",
    class_names: tuple[str, ...] = (),
    num_classes: int | None = None,
) -> Split:
    """A split of images in memory, for the library.

    Args:
        images: uint8 or uint16 [n, h, w, c], any number of channels; [n, h, w] is gray.
        labels: Integers [n], -1 where there is none; or [n, l], yes-or-no labels.
        name: For messages and results.
        split: For messages and results.
        class_names: In label order.
        num_classes: One more than the largest label unless given.

    Raises:
        ConfigError: Shapes or types that do not fit.
    """
    images = np.asarray(images)
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.dtype not in (np.uint8, np.uint16) or not len(images):
        raise ConfigError(
            f"images of {name} must be uint8 or uint16 [n, h, w, c] with n > 0. "
            f"Received: {images.dtype} {images.shape}."
        )
    known = labels is not None
    labels = np.full(len(images), -1) if labels is None else np.asarray(labels)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if len(labels) != len(images) or not np.issubdtype(labels.dtype, np.integer):
        raise ConfigError(
            f"labels of {name} must be integers, one an image. "
            f"Received: {labels.dtype} {labels.shape} for {len(images)} images."
        )
    single = labels.ndim == 1
    classes = num_classes or (
        int(labels.max()) + 1 if known and single else labels.shape[-1] if known else 0
    )
    return Split(
        name=name,
        split=split,
        num_examples=len(images),
        num_classes=classes or None,
        class_names=tuple(class_names),
        has_labels=single and known and bool((labels >= 0).all()),
        image_shape=(images.shape[1], images.shape[2], images.shape[3]),
        source=ArraySource(images, labels.astype(np.int64)),
        label_shape=labels.shape[1:],
    )


def open_array_split(path: str, spec: str) -> Split:
    """Open a split of an .npz or .npy file.

    The arrays of an .npz are ``images`` and ``labels`` (the split ``train``) or, for
    each split, ``NAME_images`` and ``NAME_labels``; Keras's ``x_train``, ``y_train``,
    ``x_test`` and ``y_test`` are known too. Labels may be missing. An .npy holds the
    images of the split ``train``; the file of its labels may lie beside it
    (``_labels_beside``).

    Raises:
        ConfigError: No such file or split, or arrays that are no images.
    """
    try:
        arrays = _load(path)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"--dataset={path} cannot be read: {error}") from error
    found = _by_split(arrays)
    if not found:
        raise ConfigError(
            f"--dataset={path} holds no images, only: {', '.join(arrays)}; name them "
            "images or train_images, and labels or train_labels"
        )
    sizes = {name: len(images) for name, (images, _) in found.items()}
    parts = slices.resolve(spec, sizes, name=path)
    chosen = [found[p.split] for p in parts]
    rows = [slice(p.start, p.stop) for p in parts]
    images = [pair[0][row] for pair, row in zip(chosen, rows, strict=True)]
    labels = [
        pair[1][row]
        for pair, row in zip(chosen, rows, strict=True)
        if pair[1] is not None
    ]
    classes = [int(y.max()) + 1 for _, y in found.values() if y is not None]
    opened = from_arrays(
        np.concatenate(images),
        np.concatenate(labels) if len(labels) == len(images) else None,
        name=path,
        split=spec,
        num_classes=max(classes) if len(labels) == len(images) else None,
    )
    ranges = tuple((f"{path}:{p.split}", p.start, p.stop) for p in parts)
    assert isinstance(opened.source, ArraySource)
    source = dataclasses.replace(opened.source, ranges=ranges)
    return dataclasses.replace(opened, source=source)


def _load(path: str) -> dict[str, np.ndarray]:
    # allow_pickle stays off: a file must not run code.
    if path.endswith(".npz"):
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    arrays = {"images": np.load(path)}
    beside = _labels_beside(path)
    if beside:
        logger.info("%s: labels from %s", path, beside)
        arrays["labels"] = np.load(beside)
    return arrays


def _labels_beside(path: str) -> str | None:
    """File of labels: a_labels.npy of a.npy, labels.npy of images.npy, y of x.npy."""
    folder, name = os.path.split(path)
    stem = name.removesuffix(".npy")
    names = [f"{stem}_labels", stem.replace("images", "labels")]
    names += [f"y{stem[1:]}"] if stem == "x" or stem.startswith("x_") else []
    paths = [os.path.join(folder, f"{n}.npy") for n in names if n != stem]
    return next((path for path in paths if os.path.exists(path)), None)


def _by_split(
    arrays: dict[str, np.ndarray],
) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    found = {}
    for name, array in arrays.items():
        if name == "images":
            found["train"] = (array, arrays.get("labels"))
        elif name.endswith("_images"):
            split = name.removesuffix("_images")
            found[normalize_split(split)] = (
                array,
                arrays.get(f"{split}_labels"),
            )
        elif name.startswith("x_"):
            split = name.removeprefix("x_")
            found[normalize_split(split)] = (
                array,
                arrays.get(f"y_{split}"),
            )
    return found
