"""The index of files kept on disk, so that a later start need not read them again."""

from __future__ import annotations

import logging
import os
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np

from simclr_tf2 import files
from simclr_tf2.data.index_columns import COLUMNS, FileIndex

_VERSION = 3  # of what the columns mean; another one is read anew
_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)

_log = logging.getLogger(__name__)


def load(cache_path: str, root: str, paths: tuple[str, ...]) -> FileIndex | None:
    """Load the rows of ``paths`` as they were; those not in the cache as unread.

    Returns:
        None without a cache, or with one that is damaged or of another folder: logged.
    """
    try:
        with np.load(cache_path, allow_pickle=False) as file:
            if int(file["version"]) != _VERSION or _text(file["root"]) != [root]:
                _log.info("%s is of another folder or version; made anew", cache_path)
                return None
            stored = _text(file["paths"])
            columns = {
                name: _read(file[name], dtype)
                for name, (dtype, _, _) in COLUMNS.items()
            }
    except FileNotFoundError:
        return None
    except _DAMAGE as error:
        _log.warning("%s cannot be used (%s); made anew", cache_path, error)
        return None
    if any(len(column) != len(stored) for column in columns.values()):
        _log.warning("%s cannot be used (its columns differ); made anew", cache_path)
        return None
    if tuple(stored) == paths:
        return FileIndex(paths=paths, **columns)
    return _reordered(stored, columns, paths)


def save(cache_path: str, root: str, index: FileIndex) -> None:
    """Write the index, whole or not at all; a failure is logged, not raised."""
    arrays = {
        name: _join(getattr(index, name)) if dtype is object else getattr(index, name)
        for name, (dtype, _, _) in COLUMNS.items()
    }
    try:
        os.makedirs(os.path.dirname(os.path.abspath(cache_path)), exist_ok=True)
        with files.replacing(cache_path) as temporary, open(temporary, "wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                version=_VERSION,
                root=_join([root]),
                paths=_join(index.paths),
                **arrays,
            )
    except OSError as error:
        _log.warning("%s cannot be written (%s); going on without", cache_path, error)


def _reordered(
    stored: Sequence[str], columns: dict[str, np.ndarray], paths: tuple[str, ...]
) -> FileIndex:
    index, place = FileIndex.unread(paths), {p: i for i, p in enumerate(stored)}
    source = np.fromiter((place.get(p, -1) for p in paths), np.int64, len(paths))
    known = source >= 0
    for name, column in columns.items():
        getattr(index, name)[known] = column[source[known]]
    return index


def _join(texts: Sequence[str] | np.ndarray) -> np.ndarray:
    """Join texts to one array of bytes; a file name may be any bytes but NUL."""
    joined = "\0".join(texts).encode("utf-8", "surrogateescape")
    return np.frombuffer(joined, np.uint8)


def _text(array: np.ndarray) -> list[str]:
    return array.tobytes().decode("utf-8", "surrogateescape").split("\0")


def _read(array: np.ndarray, dtype: type | str) -> np.ndarray:
    if dtype is not object:
        return np.asarray(array, dtype)
    texts = _text(array)
    column = np.empty(len(texts), object)
    column[:] = texts
    return column
