"""A list of images with their labels: a CSV or Parquet file."""

from __future__ import annotations

import codecs
import csv
import io
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2.data import layouts, manifest_paths, side_files, split_names
from simclr_tf2.errors import ConfigError

_NO_LABEL = frozenset((None, "-1", "-1.0"))
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_LIKE_PATH = "file_name filename file filepath file_path image image_path name".split()
_MULTI = {"0": 0, "1": 1, "-1": -1, "": -1, "0.0": 0, "1.0": 1, "-1.0": -1, "nan": -1}


def read_manifest(
    path: str, *, root: str | None = None, label_columns: Sequence[str] = ()
) -> layouts.Listing:
    """Read the columns path, label and split; the last two may be missing or empty.

    Paths that lead to no file as they are may do so with / for backslashes and the like
    (``manifest_paths``); those that do not are bad images of the index.

    Args:
        path: ``.csv``, ``.tsv`` or ``.parquet``, with a header row; UTF-8 text with
            commas, semicolons or tabs between the columns.
        root: Folder of relative paths; default: the manifest's own.
        label_columns: Columns of 0, 1 and -1 or nothing (not known), one a label, for
            images that have several labels at once.

    Raises:
        ConfigError: The file cannot be read, lacks a column, or a row makes no sense.
        ImportError: Parquet without pyarrow.
    """
    kind = posixpath.splitext(path)[1].lower()
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            contents = file.read()
    except (tf.errors.OpError, OSError) as error:
        folder = side_files.reading_flag(path) if tf.io.gfile.isdir(path) else ""
        remedy = folder or "give a CSV or Parquet file"
        raise ConfigError(f"--manifest={path} cannot be read: {remedy}") from error
    columns = _parquet(path, contents) if kind == ".parquet" else _csv(path, contents)
    columns = _usual_names(columns)
    _check_columns(path, columns, ("path", *label_columns))
    root = root or posixpath.dirname(path) or "."
    _check_paths(path, columns["path"])
    found = manifest_paths.find(root, columns["path"])
    rows = _sorted_rows(path, found.paths)
    paths = tuple(name for name, _ in rows)
    order = [row for _, row in rows]

    def column(name: str) -> tuple[str | None, ...]:
        values = columns.get(name)
        return tuple(values[i] or None if values else None for i in order)

    labels = tuple(None if x in _NO_LABEL else x for x in column("label"))
    listing = layouts.Listing(
        root=root,
        paths=paths,
        labels=labels if any(label is not None for label in labels) else None,
        splits=tuple(s and split_names.normalize_split(s) for s in column("split")),
        layout="manifest",
        multi_labels=_multi_labels(path, columns, label_columns, order),
        multi_label_names=tuple(label_columns),
        notes=tuple(found.notes),
        missing=found.missing,
    )
    return layouts.with_notes(listing)


def _csv(path: str, contents: bytes) -> dict[str, list[str]]:
    utf_16 = contents[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        text = contents.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text; save it as UTF-8 CSV") from error
    delimiter = _delimiter(path, text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        columns: dict[str, list[str]] = {name: [] for name in names}
        if len(columns) != len(names):
            raise ConfigError(f"{path} names a column twice in its first line")
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                raise ConfigError(
                    f"{path} line {reader.line_num} has {len(row)} fields, but the "
                    f"first line names {len(names)}; quote fields that hold a "
                    f"{_DELIMITERS[delimiter]}"
                )
            for name, value in zip(names, row, strict=True):
                columns[name].append(value if name == "path" else value.strip())
    except csv.Error as error:
        raise ConfigError(f"{path} line {reader.line_num}: {error}") from error
    return columns


def _delimiter(path: str, text: str) -> str:
    """Return the delimiter with which the first line names a column ``path``."""
    usual = "\t" if path.lower().endswith(".tsv") else ","
    first = text.lstrip("\r\n").split("\n", 1)[0]
    for delimiter in (usual, *_DELIMITERS):
        names = first.split(delimiter)
        if "path" in [name.strip(" \r\"'").lower() for name in names]:
            return delimiter
    return usual


def _usual_names(columns: dict[str, list[str]]) -> dict[str, list[str]]:
    """Read ``Path`` as ``path``, and ``label`` and ``split`` in any case too."""
    for name in ("path", "label", "split"):
        same = [key for key in columns if key.lower() == name]
        if name not in columns and len(same) == 1:
            columns[name] = columns.pop(same[0])
    return columns


def _parquet(path: str, contents: bytes) -> dict[str, list[str]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(
            f"{path} needs pyarrow: pip install pyarrow (or save it as CSV)"
        ) from error
    try:
        table = pq.read_table(pa.BufferReader(contents))
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path} is not a readable Parquet file") from error
    return {
        name: [_text(value) for value in table[name].to_pylist()]
        for name in table.column_names
    }


def _text(value: Any) -> str:
    """Write a cell as CSV would; whole floats (integers with gaps) without '.0'."""
    if value is None or value != value:  # NaN
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _check_columns(
    path: str, columns: dict[str, list[str]], wanted: Sequence[str]
) -> None:
    missing = [name for name in wanted if name not in columns]
    if missing:
        like = [n for n in columns if n.strip().lower() in _LIKE_PATH]
        rename = f"; rename {like[0]} to path" if missing == ["path"] and like else ""
        raise ConfigError(
            f"{path} lacks the column {', '.join(map(repr, missing))}; its first line "
            f"names: {', '.join(columns) or 'nothing'}{rename}"
        )
    if not columns["path"]:
        raise ConfigError(f"{path} lists no image, only a first line")


def _check_paths(path: str, names: Sequence[str]) -> None:
    for row, name in enumerate(names):
        if not name.strip() or "\0" in name:
            raise ConfigError(f"{path}: image {row + 1} has no usable path: {name!r}")


def _sorted_rows(path: str, names: Sequence[str]) -> list[tuple[str, int]]:
    """Return (path, row) sorted by path; rows count from 0 below the header."""
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if name in first:
            raise ConfigError(
                f"{path} lists {name!r} twice, as images {first[name] + 1} and "
                f"{row + 1}; keep one"
            )
        first[name] = row
    return sorted(first.items())


def _multi_labels(
    path: str,
    columns: dict[str, list[str]],
    names: Sequence[str],
    order: Sequence[int],
) -> np.ndarray | None:
    if not names:
        return None

    def values(name: str) -> Iterator[int]:
        for row in order:
            value = _MULTI.get(columns[name][row].lower())
            if value is None:
                raise ConfigError(
                    f"{path}: {name!r} of image {row + 1} must be 0, 1, -1 or empty. "
                    f"Received: {columns[name][row]!r}"
                )
            yield value

    return np.stack([np.fromiter(values(n), np.int8, len(order)) for n in names], 1)
