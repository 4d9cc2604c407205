"""Look into each file of a listing: size, format, content hash, and what is wrong.

Every file is read once; later starts only ask the file system whether size and time of
change are the same. Nothing is decoded before its header said how large it is.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2 import machine
from simclr_tf2.config import FILE_CHECKS
from simclr_tf2.data import (
    image_files,
    image_headers,
    index_cache,
    pixel_range,
    stored_images,
)
from simclr_tf2.data.index_columns import DIGEST_BYTES, FileIndex
from simclr_tf2.data.layouts import Listing
from simclr_tf2.data.unreadable import MissingReader

# Larger than the largest common camera makes (102 million); 400 MB as pixels.
MAX_PIXELS = 1 << 27
_WHOLE = 64 << 20  # bytes up to which a file is held whole to look at it
_BEGINNING = 4 << 20  # bytes that hold the header of a larger one


def full_path(listing: Listing, path: str) -> bytes:
    """Return the path of a listed file as TensorFlow takes it (any bytes in names)."""
    root, path = listing.place_of(path)
    if "://" in path:
        return path.encode()
    if "://" in root:
        return f"{root.rstrip('/')}/{path}".encode()
    return os.fsencode(os.path.join(root, path))


def _absolute_root(listing: Listing) -> str:
    """Return the folder, or the folders, of a listing by absolute paths."""
    roots = listing.folders.values() or [listing.root]
    return ",".join(r if "://" in r else os.path.abspath(r) for r in roots)


def build_index(
    listing: Listing,
    *,
    cache_path: str | None = None,
    max_pixels: int = MAX_PIXELS,
    workers: int | None = None,
    check: str = "header",
    progress: Callable[[int, int], None] | None = None,
) -> FileIndex:
    """Look into the files of a listing, or only into those that changed.

    Args:
        listing: The files.
        cache_path: File that keeps the index for the next start; None keeps nothing.
        max_pixels: Images of more are bad and never decoded.
        workers: Threads; default: two a core (they wait for the disk).
        check: "header" reads headers and hashes, and decodes only files that lack a
            proper end, and those of more than 8 bits for the range of their values;
            "decode" decodes every image as training will.
        progress: Called with (files looked at, files in all), from this thread.
    """
    assert check in FILE_CHECKS, check
    root = _absolute_root(listing)
    known = index_cache.load(cache_path, root, listing.paths) if cache_path else None
    index = known or FileIndex.unread(listing.paths)
    look = _Look(listing, index, check == "decode", max_pixels)
    changed = known is None
    try:
        for done, read in _in_threads(look, len(listing), workers):
            changed |= read > 0
            if progress:
                progress(done, len(listing))
    finally:  # what was read until an interruption is kept, too
        if cache_path and changed:
            index_cache.save(cache_path, root, index)
    return _with_pixel_cap(index, max_pixels)


def _in_threads(
    look: _Look, total: int, workers: int | None
) -> Iterator[tuple[int, Any]]:
    """Yield (files done, files read in this part) as parts get done."""
    workers = workers or 2 * machine.usable_cores()
    part = min(1000, max(8, total // (8 * workers)))
    done = 0
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        parts = [range(i, min(i + part, total)) for i in range(0, total, part)]
        tasks = {pool.submit(look.rows, rows): len(rows) for rows in parts}
        for task in concurrent.futures.as_completed(tasks):
            done += tasks[task]
            yield done, task.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _with_pixel_cap(index: FileIndex, max_pixels: int) -> FileIndex:
    """Mark images above the cap on pixels as bad.

    The cap is no property of the file, so it is not kept in the cache.
    """
    error = index.error.copy()
    for row in np.flatnonzero(index.good & (index.pixels > max_pixels)):
        height, width = int(index.height[row]), int(index.width[row])
        frames = "" if height * width > max_pixels else "all frames of "
        error[row] = (
            f"{frames}{height}x{width} pixels exceed the cap of {max_pixels} pixels"
        )
    return dataclasses.replace(index, error=error)


class _Unreadable(Exception):
    """Error with the file system's reason; the file is tried again at the next run."""


@dataclass(frozen=True)
class _Look:
    """Reader that fills rows of an index; safe in threads with rows of their own."""

    listing: Listing
    index: FileIndex
    decode: bool
    max_pixels: int

    def rows(self, rows: range) -> int:
        """Look at these files and return how many had to be read."""
        return sum(self._row(row) for row in rows)

    def _row(self, row: int) -> bool:
        index, path = self.index, full_path(self.listing, self.index.paths[row])
        try:
            size, mtime_ns = _status(path)
            if size == index.size[row] and mtime_ns == index.mtime_ns[row]:
                if not self._needs_decoding(row):
                    return False
                beginning = _read(path)
            else:
                index.reset(row, "")
                beginning, digest = _read_and_hash(path, size)
                index.digest[row] = np.frombuffer(digest, np.uint8)
                self._fill_header(row, beginning, size)
                index.mtime_ns[row] = mtime_ns
                index.size[row] = size
            if self._needs_decoding(row):
                whole = beginning if len(beginning) == size else _read(path)
                self._fill_decoded(row, whole)
        except _Unreadable as error:
            index.reset(row, str(error))
        return True

    def _needs_decoding(self, row: int) -> bool:
        index = self.index
        return bool(
            (self.decode or not index.complete[row] or index.kind[row] != "uint8")
            and not index.decoded[row]
            and not index.error[row]
            and index.pixels[row] <= self.max_pixels
        )

    def _fill_header(self, row: int, contents: bytes, size: int) -> None:
        index = self.index
        try:
            header = image_headers.parse(contents, size=size)
        except MissingReader as error:  # may be installed at the next start
            raise _Unreadable(str(error)) from error
        except image_headers.BadImage as error:
            index.error[row] = str(error)
            return
        for name, value in dataclasses.asdict(header).items():
            getattr(index, name)[row] = value

    def _fill_decoded(self, row: int, contents: bytes) -> None:
        index = self.index
        index.decoded[row] = True
        kind = index.format[row]
        decode: Callable[[bytes], Any] = image_files.decode
        if kind in stored_images.FORMATS:
            decode = stored_images.read
        elif kind == "png" and index.bits[row] == 16:
            decode = image_files.decode_sixteen
        elif kind in ("jpeg", "png", "gif"):
            decode = image_files.decode_usual
        try:
            with tf.device("/cpu:0"):
                pixels = decode(contents)
                shape = pixels.shape
        except (tf.errors.OpError, MemoryError, image_headers.BadImage) as error:
            kind = "damaged" if index.complete[row] else "cut off, its end is missing"
            index.error[row] = f"{kind}: {_reason(error)}"
            return
        index.height[row], index.width[row] = shape[:2]
        if index.kind[row] != "uint8":
            self._fill_values(row, np.asarray(pixels))

    def _fill_values(self, row: int, pixels: np.ndarray) -> None:
        finite = pixels
        if pixels.dtype.kind == "f":
            finite = pixels[np.isfinite(pixels)]
            self.index.whole[row] = bool((finite == np.rint(finite)).all())
        if finite.size:
            self.index.values[row] = pixel_range.spread(finite)
        else:
            self.index.error[row] = "holds no finite value"


def _status(path: bytes) -> tuple[int, int]:
    """Return the size in bytes and the time of change in ns of a regular file."""
    if b"://" in path:
        try:
            remote = tf.io.gfile.stat(path)
        except tf.errors.OpError as error:
            raise _Unreadable(_reason(error)) from error
        if remote.is_directory:
            raise _Unreadable("a folder, not a file")
        return remote.length, remote.mtime_nsec
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise _Unreadable(_why(path, error)) from error
    if stat.S_ISDIR(status.st_mode):
        raise _Unreadable("a folder, not a file")
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait forever
        raise _Unreadable("a device, pipe or socket, not a file")
    return status.st_size, status.st_mtime_ns


def _why(path: bytes, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT and os.path.islink(path):
        return f"a link that leads nowhere ({os.fsdecode(os.readlink(path))})"
    if number == errno.ELOOP:
        return "a link that leads back to itself"
    if number == errno.ENOENT:
        return "no such file"
    if number == errno.EACCES:
        return "permission denied"
    return getattr(error, "strerror", None) or str(error)


def _open(path: bytes) -> Any:
    if b"://" in path:
        return tf.io.gfile.GFile(path, "rb")
    return open(path, "rb", buffering=0)


def _read(path: bytes, count: int = -1) -> bytes:
    try:
        with _open(path) as file:
            data: bytes = file.read(count)
    except OSError as error:
        raise _Unreadable(_why(path, error)) from error
    except tf.errors.OpError as error:
        raise _Unreadable(_reason(error)) from error
    return data


def _read_and_hash(path: bytes, size: int) -> tuple[bytes, bytes]:
    """Read the contents, or the beginning of a very large file, and hash the whole."""
    if size <= _WHOLE:
        contents = _read(path)
        return contents, hashlib.blake2b(contents, digest_size=DIGEST_BYTES).digest()
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    try:
        with _open(path) as file:
            while chunk := file.read(_BEGINNING):
                digest.update(chunk)
    except (OSError, tf.errors.OpError) as error:
        raise _Unreadable(_reason(error)) from error
    beginning = _read(path, _BEGINNING)
    # The frames of a GIF must be counted to its end; a TIFF's header may stand there.
    whole = beginning[:3] == b"GIF" or stored_images.format_of(beginning)
    return (_read(path) if whole else beginning), digest.digest()


def _reason(error: Exception) -> str:
    """Return the first line of TensorFlow's message without the names of its nodes."""
    text = (str(error).splitlines() or [""])[0]
    text = re.sub(r"\{\{.*?\}\}\s*|\s*\[Op:.*", "", text)
    return text[:160].strip() or type(error).__name__
