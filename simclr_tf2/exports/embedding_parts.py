"""Embeddings in several Parquet files of a fixed number of rows, written one by one.

Only the rows of one file are in memory. A command that was interrupted continues after
the last whole file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simclr_tf2.errors import ConfigError
from simclr_tf2.exports.embeddings_file import write_embeddings

Batches = Iterable[tuple[np.ndarray, np.ndarray]]
_KEY = b"simclr_tf2"  # of the metadata that say what the rows were made of


@dataclass(frozen=True)
class Parts:
    """The files ``h-00000.parquet``, ``h-00001.parquet``, ... of ``h.parquet``.

    Attributes:
        output: The path that the user gave, ``h.parquet``.
        rows: Rows of each file but the last.
        total: Rows of all files.
        key: What the rows depend on, ready for JSON: weights, images, endpoint.
    """

    output: Path
    rows: int
    total: int
    key: dict[str, Any]

    @property
    def count(self) -> int:
        """Number of files."""
        return -(-self.total // self.rows)

    def path(self, number: int) -> Path:
        """Return the path of a file."""
        name = f"{self.output.stem}-{number:05d}{self.output.suffix}"
        return self.output.with_name(name)

    def written(self) -> int:
        """Return how many files of these rows are there, from the first one on.

        Raises:
            ConfigError: A file holds something else.
        """
        pattern = re.compile(
            rf"{re.escape(self.output.stem)}-(\d{{5,}}){re.escape(self.output.suffix)}"
        )
        folder = self.output.parent
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        numbers = sorted(int(m[1]) for name in names if (m := pattern.fullmatch(name)))
        for number in numbers:
            if self._key_of(self.path(number)) != self._text(number):
                raise ConfigError(
                    f"{self.path(number)} is there and holds other embeddings (of "
                    "other images, another encoder or other flags); remove it, or "
                    "give another --output"
                )
        whole = 0
        while whole in numbers:
            whole += 1
        return whole

    def write(
        self, batches: Batches, names: Sequence[str], *, first: int, labelled: bool
    ) -> Iterator[Path]:
        """Write the files from number ``first`` on; yield the path of each.

        Args:
            batches: Features ``[b, d]`` and labels ``[b]`` of the rows from
                ``first * rows`` on, in order.
            names: Of all rows, ``[total]``.
            first: Number of files that are there.
            labelled: Whether there is a column of labels.
        """
        number = first
        for features, labels in _regrouped(batches, self.rows):
            start = number * self.rows
            write_embeddings(
                self.path(number),
                names=names[start : start + len(features)],
                features=features,
                labels=labels if labelled else None,
                metadata={_KEY: self._text(number)},
            )
            yield self.path(number)
            number += 1

    def _text(self, number: int) -> bytes:
        facts = {**self.key, "rows": self.rows, "total": self.total, "part": number}
        return json.dumps(facts, sort_keys=True).encode()

    def _key_of(self, path: Path) -> bytes:
        import pyarrow
        import pyarrow.parquet as pq

        try:
            metadata: dict[bytes, bytes] = pq.read_schema(path).metadata or {}
        except (OSError, pyarrow.ArrowException):
            return b""
        return metadata.get(_KEY, b"")


def _regrouped(batches: Batches, rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield groups of ``rows`` rows, and what is left at the end."""
    held: list[tuple[np.ndarray, np.ndarray]] = []
    count = 0
    for features, labels in batches:
        while count + len(features) >= rows:
            take = rows - count
            held.append((features[:take], labels[:take]))
            yield _joined(held)
            features, labels = features[take:], labels[take:]
            held, count = [], 0
        if len(features):
            held.append((features, labels))
            count += len(features)
    if held:
        yield _joined(held)


def _joined(
    held: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    features, labels = zip(*held, strict=True)
    return np.concatenate(features), np.concatenate(labels)
