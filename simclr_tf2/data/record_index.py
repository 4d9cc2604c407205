"""Where the records of TFRecord files lie, so that reading can begin at any of them.

A TFRecord file has no table of contents: a record is found by the lengths of all
records before it. These are read once (8 bytes a record; the whole file where the file
system reads ahead) and kept in a folder until a file changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from simclr_tf2 import files as atomic
from simclr_tf2.errors import ConfigError

HEADER = 8  # bytes of the length, a little-endian integer
FRAME = 16  # bytes of a record beside its contents: the length and two checksums
READERS = 16  # files that are read at once
_VERSION = 1  # of what is kept
_DAMAGE = (tf.errors.OpError, OSError, ValueError, KeyError, EOFError)
_DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error)

logger = logging.getLogger(__name__)


def boundaries(paths: Sequence[str], *, folder: str | None) -> list[np.ndarray]:
    """Find the byte at which each record begins, and that at which the last one ends.

    Args:
        paths: TFRecord files without compression, local or remote.
        folder: Where the lengths are kept for later starts; None: nowhere.

    Returns:
        int64 [records + 1] of each file.

    Raises:
        ConfigError: A file ends within a record.
    """
    once = list(dict.fromkeys(paths))
    stats = [tf.io.gfile.stat(path) for path in once]
    lengths = [int(stat.length) for stat in stats]
    state = [[p, s.length, s.mtime_nsec] for p, s in zip(once, stats, strict=True)]
    name = hashlib.blake2b(json.dumps([_VERSION, state]).encode(), digest_size=8)
    kept = folder and os.path.join(folder, f"records-{name.hexdigest()}.npz")
    sizes = _load(kept, lengths) if kept else None
    if sizes is None:
        logger.info("finding the records of %d files (once)", len(once))
        with ThreadPoolExecutor(READERS) as pool:
            sizes = list(pool.map(_sizes, once, lengths))
        if kept:
            _save(kept, sizes)
    found = {
        path: np.concatenate([[0], np.cumsum(size, dtype=np.int64)])
        for path, size in zip(once, sizes, strict=True)
    }
    return [found[path] for path in paths]


def _sizes(path: str, length: int) -> np.ndarray:
    """Read the bytes that each record of a file takes, uint32 [records]."""
    found: list[int] = []
    place = 0
    with _reader(path) as read_at:
        while place < length:
            header = read_at(place)
            size = int.from_bytes(header, "little") + FRAME
            if len(header) < HEADER or place + size > length:
                raise ConfigError(
                    f"{path} is damaged: record {len(found)}, at byte {place}, goes "
                    f"beyond the end of the file at byte {length}; make the file again"
                )
            found.append(size)
            place += size
    return np.array(found, np.uint32)


@contextlib.contextmanager
def _reader(path: str) -> Iterator[Callable[[int], bytes]]:
    """Open a file; yield a function that reads HEADER bytes at a place."""
    if "://" not in path:
        with open(path, "rb", buffering=0) as local:
            yield lambda place: os.pread(local.fileno(), HEADER, place)
        return
    with tf.io.gfile.GFile(path, "rb") as remote:

        def read_at(place: int) -> bytes:
            remote.seek(place)
            return bytes(remote.read(HEADER))

        yield read_at


def _load(kept: str, lengths: list[int]) -> list[np.ndarray] | None:
    """Load what was kept; None without it, or if it does not fit the files."""
    if not tf.io.gfile.exists(kept):
        return None
    try:
        with tf.io.gfile.GFile(kept, "rb") as file:
            stored = np.load(io.BytesIO(file.read()), allow_pickle=False)
            sizes = np.split(stored["sizes"], np.cumsum(stored["counts"])[:-1])
    except (*_DAMAGE, *_DAMAGED_ZIP) as error:
        logger.warning("%s cannot be used (%s); made anew", kept, error)
        return None
    if [int(size.sum(dtype=np.int64)) for size in sizes] != lengths:
        logger.warning("%s cannot be used (it is of other files); made anew", kept)
        return None
    return sizes


def _save(kept: str, sizes: list[np.ndarray]) -> None:
    """Write the lengths, whole or not at all; a failure is logged, not raised."""
    packed = io.BytesIO()
    np.savez(packed, sizes=np.concatenate(sizes), counts=[len(size) for size in sizes])
    try:
        tf.io.gfile.makedirs(os.path.dirname(kept))
        if "://" in kept:  # an object of a store appears whole
            with tf.io.gfile.GFile(kept, "wb") as file:
                file.write(packed.getvalue())
            return
        with atomic.replacing(kept) as temporary:
            temporary.write_bytes(packed.getvalue())
    except (OSError, tf.errors.OpError) as error:
        logger.warning(
            "the places of the records could not be kept in %s: %s", kept, error
        )
