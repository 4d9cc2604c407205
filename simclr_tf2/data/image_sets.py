"""A folder of images, or a manifest of some, as splits to train and evaluate on."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from simclr_tf2 import addresses, places
from simclr_tf2.config import DataConfig
from simclr_tf2.data import (
    datasets,
    file_index,
    folders,
    image_files,
    manifest,
    order,
    pixel_range,
    prepare,
    slices,
    stored_images,
)
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.file_index import FileIndex
from simclr_tf2.data.layouts import Listing
from simclr_tf2.data.sources import Example, Shape, digest
from simclr_tf2.errors import ConfigError

logger = logging.getLogger(__name__)

HELD_OUT = 0.1  # [ours] of a labelled set without splits; chosen by a hash of the path
PROGRESS_SECONDS = 10
_NAMES = {"dcm": "DICOM", "npy": ".npy", "pnm": "PPM or PGM"}
NAMED_BAD = 10  # broken files named in the log; scan.json names all


@dataclass(frozen=True)
class FileSource:
    """Image files, read one by one when they are needed.

    Attributes:
        paths: Of all images, in order.
        labels: int64 [n] or [n, l].
        orientations: uint8 [n], of EXIF (1 is upright).
        sizes: int64 [n], bytes.
        shape: Of a decoded image.
        pixels: ``pixel_range.resolve`` where images have 16 bits; None: 8 bits.
        keys: uint64 [n], a hash of each path below the folder.
    """

    paths: tuple[bytes, ...]
    labels: np.ndarray
    orientations: np.ndarray
    sizes: np.ndarray
    shape: Shape
    random_access: bool = True
    pixels: str | None = None
    keys: np.ndarray | None = None
    mixed: bool = True

    @property
    def num_bytes(self) -> int:
        """Bytes of all images as they are stored."""
        return int(self.sizes.sum())

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of names and sizes of the files, and of labels."""
        wide = [] if self.pixels is None else [f"pixels {self.pixels}"]
        return digest(self.paths, self.sizes.tobytes(), self.labels.tobytes(), *wide)

    @functools.cached_property
    def _tensors(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        with tf.init_scope(), tf.device("/cpu:0"):
            paths = tf.constant(self.paths)
            return paths, tf.constant(self.labels), tf.constant(self.orientations)

    def examples(self) -> tf.data.Dataset:
        """Return a dataset of every image once, in order."""
        dataset = tf.data.Dataset.range(len(self.paths))
        return dataset.map(self.at, num_parallel_calls=tf.data.AUTOTUNE)

    def at(self, index: tf.Tensor) -> Example:
        """Return one example by its index."""
        paths, labels, orientations = self._tensors
        return {
            "image": tf.io.read_file(tf.gather(paths, index)),
            "label": tf.gather(labels, index),
            "index": index,
            "orientation": tf.gather(orientations, index),
        }

    def stream(
        self, plan: order.BatchPlan, *, seed: int, start_step: int
    ) -> tf.data.Dataset:
        """Return a dataset of endless shuffled examples."""
        raise NotImplementedError("files are read by index")

    def decode(self, example: Example) -> tf.Tensor:
        """Decode an example to pixels [h, w, c]."""
        settings = {"channels": self.shape[2], "orientation": example["orientation"]}
        if self.pixels is None:
            pixels = image_files.decode(example["image"], **settings)
        else:
            pixels = image_files.decode_wide(
                example["image"], pixels=self.pixels, **settings
            )
        return tf.ensure_shape(pixels, self.shape)

    def first_broken(self) -> str | None:
        """Return a file that cannot be read or decoded now, with why; else None."""
        files = zip(self.paths, self.sizes, strict=True)
        for path, _ in sorted(files, key=_has_its_size):
            try:
                image_files.decode(tf.io.read_file(path), channels=self.shape[2])
            except tf.errors.OpError as error:
                return f"{os.fsdecode(path)!r} ({prepare.one_line(error, width=80)})"
        return None


def _has_its_size(file: tuple[bytes, int]) -> bool:
    """Return False for suspects: files that are gone or have another size by now."""
    try:
        size: int = tf.io.gfile.stat(file[0]).length
    except tf.errors.OpError:
        return False
    return size == file[1]


@dataclass(frozen=True)
class ImageSet:
    """All usable images of a folder or manifest, with labels and splits.

    Attributes:
        name: The folder or the manifest.
        listing: Every image file, as listed.
        index: What is known of each.
    """

    name: str
    listing: Listing
    index: FileIndex

    @functools.cached_property
    def good(self) -> np.ndarray:
        """Places of usable images in the listing, int64, in the order of a hash.

        A folder is sorted by class or by date; its hash order is not, so that a slice
        is a fair sample. It depends on the path alone.
        """
        good = np.flatnonzero(self.index.good)
        return good[np.argsort(self._hashes[good], kind="stable")]

    @functools.cached_property
    def _hashes(self) -> np.ndarray:
        digests = (
            hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
            for path in self.listing.paths
        )
        return np.frombuffer(b"".join(digests), np.uint64)

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order; those of the columns of yes-or-no labels."""
        if self.listing.multi_labels is not None:
            return self.listing.multi_label_names
        return self.listing.class_names()

    @functools.cached_property
    def holds_out(self) -> bool:
        """Whether a part of train is the split ``validation``, as there is no other."""
        names = np.array([split or "train" for split in self.listing.splits], object)
        labelled = self._labelled_splits(names)
        return labelled == {"train"} and "validation" not in names

    @functools.cached_property
    def split_names(self) -> np.ndarray:
        """Split of every listed image."""
        names = np.array([split or "train" for split in self.listing.splits], object)
        if self.holds_out:
            held = self._hashes < np.uint64(HELD_OUT * 2**64)
            names[held & (names == "train")] = "validation"
        return names

    def _labelled_splits(self, names: np.ndarray) -> set[str]:
        labels = self._all_labels
        known = labels >= 0 if labels.ndim == 1 else (labels >= 0).any(axis=1)
        return set(names[known])

    @functools.cached_property
    def splits(self) -> dict[str, np.ndarray]:
        """Places of the images of each split; "all" is every image.

        Where no split but train has labels, a tenth of train, chosen by hash, is the
        split ``validation``.
        """
        names = self.split_names
        found = {
            str(name): self.good[names[self.good] == name]
            for name in dict.fromkeys(names)
        }
        return {**found, "all": self.good}

    def median_height_width(self) -> tuple[float, float]:
        """Return median height and width of the usable images, in pixels, upright."""
        height, width = (side[self.good] for side in self.index.upright_shape())
        return float(np.median(height)), float(np.median(width))

    @functools.cached_property
    def seen(self) -> pixel_range.Seen | None:
        """Values of the images of more than 8 bits; None where there are none."""
        rows = self.good[self.index.wide[self.good]]
        if not rows.size:
            return None
        kinds = [np.dtype(kind) for kind in set(self.index.kind[rows].tolist())]
        return pixel_range.Seen.of_spreads(
            self.index.values[rows].tolist(),
            np.result_type(*kinds),
            whole=bool(self.index.whole[rows].all()),
        )

    def decide_range(self, pixels: str) -> str:
        """Decide the ``--pixel_range`` of images of more than 8 bits.

        DICOM files that say themselves what is black and white (a window) are read as
        they say, unless a range LO,HI is given.

        Raises:
            ConfigError: The values, or the files, do not say what black and white are.
        """
        assert self.seen is not None
        windowed = self.index.windowed[self.good[self.index.wide[self.good]]]
        if pixels not in (pixel_range.AUTO, pixel_range.FULL) or not windowed.any():
            return pixel_range.resolve(pixels, self.seen, name=self.name)
        if pixels == pixel_range.AUTO and not windowed.all():
            raise ConfigError(
                f"{int(windowed.sum())} of the {len(windowed)} images of {self.name} "
                "that have more than 8 bits say what is black and white (a DICOM "
                "window), the others do not; pass --pixel_range=LO,HI for all of them "
                f"({pixel_range.suggest(self.seen)} is what was seen)"
            )
        return pixel_range.FULL

    def open(
        self, spec: str, *, channels: int = 3, pixels: str = pixel_range.AUTO
    ) -> Split:
        """Open a split or slices of some ("train[:80%]").

        Args:
            spec: The split.
            channels: Of the decoded images.
            pixels: ``--pixel_range``: auto, full or "LO,HI".

        Raises:
            ConfigError: No such split, or no image in it.
        """
        sizes = {name: len(places) for name, places in self.splits.items()}
        parts = slices.resolve(spec, sizes, name=self.name)
        rows = np.concatenate([self.splits[p.split][p.start : p.stop] for p in parts])
        return self._split(rows, spec, channels, pixels)

    def open_sorted(
        self, *, channels: int = 3, pixels: str = pixel_range.AUTO
    ) -> Split:
        """Open all usable images in the order of their paths."""
        return self._split(np.sort(self.good), "all", channels, pixels)

    def _decided(self, pixels: str) -> str | None:
        """Return the range of all images; None where they are read with 8 bits."""
        if self.seen is not None:
            return self.decide_range(pixels)
        natural = pixel_range.limits(pixels, np.uint8) == (0, 255)
        return None if natural else pixels

    def _split(self, rows: np.ndarray, spec: str, channels: int, pixels: str) -> Split:
        self._require_channels(rows, channels)
        labels = self._all_labels[rows]
        wide = self._decided(pixels)
        shape = self._shape(rows, channels)
        single = labels.ndim == 1
        return Split(
            name=self.name,
            split=spec,
            num_examples=len(rows),
            num_classes=len(self.classes) or None,
            class_names=self.classes,
            has_labels=single and bool(len(self.classes)) and bool((labels >= 0).all()),
            image_shape=shape,
            source=FileSource(
                paths=tuple(self._path(row) for row in rows),
                labels=labels,
                orientations=self.index.orientation[rows],
                sizes=self.index.size[rows],
                shape=shape,
                pixels=wide,
                keys=self._hashes[rows],
            ),
            label_shape=labels.shape[1:],
            pixel_range=wide or pixels,
            pixel_bytes=1 if wide is None else 2,
        )

    def _require_channels(self, rows: np.ndarray, channels: int) -> None:
        """Refuse images that cannot be converted to this number of channels."""
        have = self.index.channels[rows]
        wrong = have != channels
        if channels in datasets.ENCODED_CHANNELS:
            plain_pair = (have == 2) & (self.index.format[rows] == "npy")
            wrong = (have > 4) | plain_pair
        if not wrong.any():
            return
        first = rows[wrong][0]
        found = int(self.index.channels[first])
        remedy = f"pass --image_channels={found}"
        if len(set(have.tolist())) > 1 or found == channels:
            remedy = "give images of one number of channels"
        raise ConfigError(
            f"{self.listing.paths[first]!r} of {self.name} has {found} channels, which "
            f"are not read as --image_channels={channels}; {remedy}"
        )

    def _path(self, row: int) -> bytes:
        return file_index.full_path(self.listing, self.listing.paths[row])

    @functools.cached_property
    def _all_labels(self) -> np.ndarray:
        if self.listing.multi_labels is not None:
            return self.listing.multi_labels.astype(np.int64)
        return self.listing.label_ids()

    def _shape(self, rows: np.ndarray, channels: int) -> Shape:
        sides = [set(side[rows].tolist()) for side in self.index.upright_shape()]
        if all(len(side) == 1 for side in sides):
            return sides[0].pop(), sides[1].pop(), channels
        return None, None, channels


def open_image_set(data: DataConfig) -> ImageSet:
    """List, check and remember the images that the settings name.

    Broken files are named in the log and left out. The result is kept for the process;
    what is known of each file is kept in ``data_dir`` for later starts.

    Raises:
        ConfigError: No image, a larger part broken than ``max_bad_fraction``, or a
            manifest that cannot be read.
    """
    plain = dataclasses.replace(
        data,
        train_split="",
        data_service=None,
        cache="auto",
        cache_dataset=False,
        pixel_range=pixel_range.AUTO,
        image_size=DataConfig.image_size,
        valid_size=None,
    )
    images = _open_image_set(plain)
    stored = np.isin(images.index.format, stored_images.FORMATS)
    if data.data_service and stored.any():
        kinds = sorted(set(images.index.format[stored].tolist()))
        named = ", ".join(_NAMES.get(kind, kind.upper()) for kind in kinds)
        raise ConfigError(
            f"{images.name} holds {named} files, which a --data_service cannot decode; "
            "convert them to PNG, or drop the service"
        )
    return images


@functools.lru_cache(maxsize=4)
def _open_image_set(data: DataConfig) -> ImageSet:
    images = look_at(data)
    for note in images.listing.notes:  # a scan prints them itself
        logger.warning("%s: %s", images.listing.root, note)
    if images.listing.left_out:
        logger.warning("%s: not read: %s", images.name, images.listing.left_out)
    _report_broken(images, data.max_bad_fraction)
    return images


def look_at(data: DataConfig, *, keep: bool = True) -> ImageSet:
    """List and check the images that the settings name, however many are broken.

    Args:
        data: The settings.
        keep: Whether what is known of each file is kept for later starts.
    """
    found = list_images(data)
    index = file_index.build_index(
        found,
        cache_path=index_path(data) if keep else None,
        max_pixels=data.max_image_pixels,
        check=data.check_files,
        progress=_Progress(data.source),
    )
    return ImageSet(data.source, found, index)


def open_files(paths: Sequence[str], data: DataConfig) -> ImageSet:
    """Look into a few image files by their paths; broken ones stay in the index.

    Args:
        paths: Of files, absolute or from the working directory.
        data: ``max_image_pixels`` is read.
    """
    listing = Listing(
        root=os.getcwd(),
        paths=tuple(paths),
        labels=None,
        splits=(None,) * len(paths),
        layout="flat",
    )
    index = file_index.build_index(
        listing, max_pixels=data.max_image_pixels, check="decode"
    )
    return ImageSet(", ".join(paths), listing, index)


class _Progress:
    """Log of the progress: says now and then how far the look through many files is."""

    def __init__(self, name: str) -> None:
        self._name, self._said = name, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._said > PROGRESS_SECONDS:
            logger.info("checking %s: %d of %d files", self._name, done, total)
            self._said = time.monotonic()


def list_images(data: DataConfig) -> Listing:
    """List the image files that the settings name, without opening them."""
    if data.manifest:
        if len(addresses.folders(data.image_dir or "")) > 1:
            raise ConfigError(
                f"--manifest with several folders in --image_dir={data.image_dir}; its "
                "paths are relative to one folder: pass the one above them"
            )
        return manifest.read_manifest(
            data.manifest, root=data.image_dir, label_columns=data.label_columns
        )
    assert data.image_dir is not None
    return folders.list_folders(
        addresses.folders(data.image_dir), layout=data.image_layout
    )


def index_path(data: DataConfig) -> str:
    """Return the path of these images' index."""
    parts = addresses.folders(data.source)
    name = ",".join(p if "://" in p else os.path.abspath(p) for p in parts)
    key = hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()
    return str(places.image_index(data.data_dir) / f"{key}.npz")


def require_usable(images: ImageSet) -> None:
    """Raise a ConfigError where not one image can be used."""
    index = images.index
    if not index.good.any():
        first = f"the first: {index.paths[0]!r}: {index.error[0]}"
        raise ConfigError(
            f"none of the {len(index)} image files of {images.name} can be used; "
            f"{images.listing.missing or first}"
        )


def _report_broken(images: ImageSet, max_bad_fraction: float) -> None:
    index, total = images.index, len(images.listing.paths)
    bad = np.flatnonzero(~index.good)
    for row in bad[:NAMED_BAD]:
        logger.warning("left out: %r: %s", images.listing.paths[row], index.error[row])
    if len(bad) > NAMED_BAD:
        logger.warning(
            "and %d more (--mode=scan --model_dir=DIR names all)", len(bad) - NAMED_BAD
        )
    require_usable(images)
    if len(bad) > max_bad_fraction * total:
        raise ConfigError(
            f"{len(bad)} of {total} image files of {images.name} are broken, more than "
            f"--max_bad_fraction={max_bad_fraction:g}; the first: "
            f"{images.listing.paths[bad[0]]!r}: {index.error[bad[0]]}. Fix or remove "
            "them (--mode=scan --model_dir=DIR names all), or raise --max_bad_fraction"
        )
    if len(bad):
        logger.warning(
            "%s: %d of %d image files left out", images.name, len(bad), total
        )
