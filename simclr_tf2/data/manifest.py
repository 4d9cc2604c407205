"""A list of images with their labels: a CSV or Parquet file."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2.config import ConfigError
from simclr_tf2.data import layouts

_MULTI = {"0": 0, "1": 1, "-1": -1, "": -1, "0.0": 0, "1.0": 1, "-1.0": -1, "nan": -1}


def read_manifest(
    path: str, *, root: str | None = None, label_columns: Sequence[str] = ()
) -> layouts.Listing:
    """Read the columns path, label and split; the last two may be missing or empty.

    Whether the files exist is not looked at here: those that do not are bad images of
    the index.

    Args:
        path: ``.csv``, ``.tsv`` or ``.parquet``, with a header row; UTF-8.
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
        raise ConfigError(
            f"{path} cannot be read: give a CSV or Parquet file"
        ) from error
    columns = _parquet(path, contents) if kind == ".parquet" else _csv(path, contents)
    _check_columns(path, columns, ("path", *label_columns))
    rows = _sorted_rows(path, columns["path"])
    paths = tuple(name for name, _ in rows)
    order = [row for _, row in rows]

    def column(name: str) -> tuple[str | None, ...]:
        values = columns.get(name)
        return tuple(values[i] or None if values else None for i in order)

    labels = column("label")
    listing = layouts.Listing(
        root=root or posixpath.dirname(path) or ".",
        paths=paths,
        labels=labels if any(label is not None for label in labels) else None,
        splits=tuple(s and layouts.normalize_split(s) for s in column("split")),
        layout="manifest",
        multi_labels=_multi_labels(path, columns, label_columns, order),
        multi_label_names=tuple(label_columns),
    )
    return layouts.with_notes(listing)


def _csv(path: str, contents: bytes) -> dict[str, list[str]]:
    try:
        text = contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text; save it as UTF-8 CSV") from error
    delimiter = "\t" if path.lower().endswith(".tsv") else ","
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
                    f"first line names {len(names)}; quote fields that hold a comma"
                )
            for name, value in zip(names, row, strict=True):
                columns[name].append(value if name == "path" else value.strip())
    except csv.Error as error:
        raise ConfigError(f"{path} line {reader.line_num}: {error}") from error
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
    """A cell as CSV would hold it; whole floats (integers with gaps) without '.0'."""
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
        raise ConfigError(
            f"{path} lacks the column {', '.join(map(repr, missing))}; its first line "
            f"names: {', '.join(columns) or 'nothing'}"
        )
    if not columns["path"]:
        raise ConfigError(f"{path} lists no image, only a first line")


def _sorted_rows(path: str, names: Sequence[str]) -> list[tuple[str, int]]:
    """(normalised path, row) by path; rows count from 0 below the header."""
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if not name or "\0" in name:
            raise ConfigError(f"{path}: image {row + 1} has no usable path: {name!r}")
        name = name if "://" in name else posixpath.normpath(name)
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
