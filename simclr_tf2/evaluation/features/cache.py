"""Features kept on disk, so that each is computed once and none must fit in memory."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import socket
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from simclr_tf2.errors import ConfigError, RunFailed
from simclr_tf2.evaluation.features.extraction import Features

logger = logging.getLogger(__name__)

FORMAT = 1  # of an entry; an entry of another format is made again
CHECK_BYTES = 64 * 2**20  # read at once to check an entry

Key = Mapping[str, Any]
Batches = Iterable[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class FeatureCache:
    """A folder of features, one sub-folder per key.

    An entry is ``features.npy`` (float32 ``[n, d]``), ``labels.npy`` (int64 ``[n]`` or
    ``[n, l]``, as in ``Features``) and ``entry.json`` with the key, the shapes, a
    checksum of each array and the versions that wrote it. It appears whole, by one
    rename, or not at all.

    Attributes:
        folder: Made when the first entry is written.
    """

    folder: Path

    def get(
        self, key: Key, make: Callable[[], Features | Batches], *, name: str = ""
    ) -> Features:
        """Return the features of ``key``, computed by ``make`` if they are missing.

        They are memory-mapped, whether found or just made: the same bytes each time. A
        damaged or half-written entry is made again, with a line in the log.

        Args:
            key: What the features depend on, ready for JSON: the weights
                (``digest_of_weights``), the data and its split, the view, the compute
                dtype.
            make: Called if there is no entry. Gives the features, or an iterator of
                batches ``([b, d], [b] or [b, l])`` of features and labels, which are
                written as they come: only one has to fit in memory.
            name: Of the split, kept in the result.

        Returns:
            Features on a read-only memory map.

        Raises:
            ConfigError: A key that JSON cannot hold, no example, features that are not
                finite or not ``[b, d]`` of one d, labels not of one kind.
            RunFailed: The folder cannot be written (disk full, say).
        """
        text = _canonical(key)
        entry = Path(self.folder) / _digest(text)
        found = self._read(entry, text, name)
        if found is not None:
            logger.info("features of %s read from %s", name or "a split", entry)
            return found
        with self._partial(entry) as partial:
            _write(partial, text, make)
            _publish(partial, entry)
        found = self._read(entry, text, name)
        if found is None:
            raise RunFailed(
                f"features written to {entry} cannot be read back; check the disk, or "
                "name another folder for them"
            )
        return found

    def _read(self, entry: Path, text: str, name: str) -> Features | None:
        if not entry.exists():
            return None
        try:
            features, labels = _load(entry, text)
            return Features(features, labels, name)
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            logger.warning("%s is damaged (%s); it is made again", entry, error)
            return None

    @contextlib.contextmanager
    def _partial(self, entry: Path) -> Iterator[Path]:
        """Make a folder of this process, gone afterwards unless it was published."""
        host = socket.gethostname()
        partial = entry.with_name(f".{entry.name}.{host}.{os.getpid()}.partial")
        for left in entry.parent.glob(f".{entry.name}.{host}.*"):
            if left == partial or not _alive(left.name.split(".")[-2]):
                shutil.rmtree(left, ignore_errors=True)
        with _writing(entry.parent):
            partial.mkdir(parents=True)
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def digest_of_weights(model: Any) -> str:
    """Return one digest of all weights of a model, batch-norm statistics included.

    The order in which layers were made plays no part; paths, shapes and types do.

    Args:
        model: A Keras model, or a tf.Module such as a loaded SavedModel.

    Returns:
        32 hexadecimal digits (BLAKE2b).
    """
    weights = model.weights if hasattr(model, "weights") else model.variables
    named = [(getattr(weight, "path", weight.name), weight) for weight in weights]
    total = hashlib.blake2b(digest_size=16)
    for path, weight in sorted(named, key=lambda pair: pair[0]):
        value = np.ascontiguousarray(weight.numpy())
        header = json.dumps([path, list(value.shape), str(value.dtype)])
        total.update(header.encode())
        total.update(value.tobytes())
    return total.hexdigest()


def _canonical(key: Key) -> str:
    try:
        return json.dumps(dict(key), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            "the key of cached features must be ready for JSON. Received: "
            f"{dict(key)!r}."
        ) from error


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _load(entry: Path, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Load both arrays of an entry as memory maps, checked against the record."""
    facts = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
    if facts["format"] != FORMAT or facts["key"] != json.loads(text):
        raise ValueError("it is of another format or key")
    arrays = []
    for part, dtype in (("features", np.float32), ("labels", np.int64)):
        array = np.load(entry / f"{part}.npy", mmap_mode="r", allow_pickle=False)
        if list(array.shape) != facts[part]["shape"] or array.dtype != dtype:
            raise ValueError(f"{part}.npy is {array.dtype} {array.shape}")
        if _checksum(array) != facts[part]["crc32"]:
            raise ValueError(f"{part}.npy is not what was written")
        arrays.append(array)
    return arrays[0], arrays[1]


def _checksum(array: np.ndarray) -> int:
    found, step = 0, max(1, CHECK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        rows = np.ascontiguousarray(array[start : start + step])
        found = zlib.crc32(rows.data, found)
    return found


class _Column:
    """A ``.npy`` file that grows row by row, without knowing how many will come.

    Written, not memory-mapped: writing to a full disk is an error that can be reported,
    a page of a map that finds no room ends the process.
    """

    def __init__(self, path: Path, dtype: type) -> None:
        self.folder = path.parent.parent
        with _writing(self.folder):
            self.file: BinaryIO = open(path, "wb")  # noqa: SIM115 close() closes it
        self.dtype = np.dtype(dtype)
        self.shape: tuple[int, ...] = ()
        self.crc32 = 0

    def append(self, rows: np.ndarray) -> None:
        rows = np.ascontiguousarray(rows, self.dtype)
        with _writing(self.folder):
            if not self.shape:
                self.shape = (0, *rows.shape[1:])
                self._header()
            self.file.write(rows.data)
        self.crc32 = zlib.crc32(rows.data, self.crc32)
        self.shape = (self.shape[0] + len(rows), *self.shape[1:])

    def finish(self) -> dict[str, Any]:
        """Count the rows in the header, put all on the disk, and describe it."""
        with _writing(self.folder):
            self.file.seek(0)
            self._header()
            self.file.flush()
            os.fsync(self.file.fileno())
        return {"shape": list(self.shape), "crc32": self.crc32}

    def _header(self) -> None:
        """Return 128 bytes for any count: NumPy leaves room for 21 digits of it."""
        facts = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": self.shape,
        }
        np.lib.format.write_array_header_1_0(self.file, facts)


def _write(partial: Path, text: str, make: Callable[[], Features | Batches]) -> None:
    features = _Column(partial / "features.npy", np.float32)
    labels = _Column(partial / "labels.npy", np.int64)
    try:
        made = make()
        if isinstance(made, Features):
            made = [(made.features, made.labels)]
        for x, y in made:
            _require_batch(x, y, features.shape, labels.shape)
            features.append(x)
            labels.append(y)
        if not features.shape or not features.shape[0]:
            raise ConfigError("no image to compute features of")
        facts = {"features": features.finish(), "labels": labels.finish()}
    finally:
        for column in (features, labels):
            with contextlib.suppress(OSError):  # of a buffer that finds no room
                column.file.close()
    entry = {
        "format": FORMAT,
        "key": json.loads(text),
        **facts,
        "finite": True,  # each batch was checked
        "versions": _versions(),
    }
    with (
        _writing(partial.parent),
        open(partial / "entry.json", "w", encoding="utf-8") as out,
    ):
        json.dump(entry, out, indent=2)
        out.flush()
        os.fsync(out.fileno())


def _publish(partial: Path, entry: Path) -> None:
    """Give the finished folder its name; what another process finished first goes."""
    with _writing(entry.parent):
        old = partial.with_suffix(".old")
        with contextlib.suppress(FileNotFoundError):
            os.rename(entry, old)  # maps of it that are open stay valid
        try:
            os.rename(partial, entry)
        except OSError as error:  # another process finished in between
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        shutil.rmtree(old, ignore_errors=True)


def _require_batch(
    x: np.ndarray,
    y: np.ndarray,
    shape: tuple[int, ...],
    label_shape: tuple[int, ...],
) -> None:
    x, y = np.asarray(x), np.asarray(y)
    fits = x.ndim == 2 and y.ndim in (1, 2) and y.shape[:1] == x.shape[:1]
    alike = not shape or (x.shape[1:], y.shape[1:]) == (shape[1:], label_shape[1:])
    if not (fits and alike):
        raise ConfigError(
            "features must come as [b, d] of one d with labels [b], or [b, l] of one "
            f"l. Received: {x.shape} and {y.shape}."
        )
    if not np.isfinite(x.sum(dtype=np.float64)):
        first = int((~np.isfinite(x).all(axis=1)).argmax()) + (shape[0] if shape else 0)
        raise ConfigError(
            f"row {first} of the features is not finite; the encoder has diverged, use "
            "an earlier checkpoint"
        )


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn an error of the disk into one line that says where and what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "the disk is full" if full else error.strerror or str(error)
        raise RunFailed(
            f"features cannot be kept in {folder}: {what}; free some space or "
            "name another folder for them"
        ) from error


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _versions() -> dict[str, str]:
    import keras
    import tensorflow as tf

    from simclr_tf2 import __version__

    return {
        "simclr_tf2": __version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }
