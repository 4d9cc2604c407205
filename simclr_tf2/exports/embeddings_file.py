"""Features written to a file that other tools read."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simclr_tf2 import files
from simclr_tf2.errors import ConfigError


def write_embeddings(
    path: str | os.PathLike[str],
    *,
    names: Sequence[str],
    features: np.ndarray,
    labels: np.ndarray | None = None,
    metadata: Mapping[bytes, bytes] | None = None,
) -> None:
    """Write one row per image, whole or not at all.

    ``.npz``: arrays ``names``, ``features``, ``labels``. ``.csv``: columns name, label,
    f0, f1, ... with digits that give float32 back exactly. ``.parquet``: columns name,
    label and ``embedding``, a list of fixed length.

    Args:
        path: Where; the suffix chooses the format. Folders are made.
        names: File names or ids, ``[n]``.
        features: float ``[n, d]``, written as float32.
        labels: int ``[n]``, or None for no label column.
        metadata: Written into the schema of a ``.parquet``.

    Raises:
        ConfigError: Another suffix, unequal lengths, or no Parquet engine.
    """
    path = Path(path)
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise ConfigError(
            f"--output must end in {', '.join(WRITERS)}. Received: {str(path)!r}."
        )
    features = np.asarray(features, np.float32)
    labels = None if labels is None else np.asarray(labels, np.int64)
    lengths = [len(names), len(features)] + ([] if labels is None else [len(labels)])
    if features.ndim != 2 or len(set(lengths)) != 1:
        raise ConfigError(
            "names, features [n, d] and labels must have one length. "
            f"Received: {lengths}, features {features.shape}."
        )
    with files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary:
        options = {"metadata": metadata} if metadata else {}
        writer(temporary, [str(name) for name in names], features, labels, **options)
        _sync(temporary)


def _sync(path: Path) -> None:
    """Write a file's bytes to the disk, before the name points at them."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _write_npz(
    path: Path, names: list, features: np.ndarray, labels: np.ndarray | None
) -> None:
    extra: dict[str, Any] = {} if labels is None else {"labels": labels}
    with open(path, "wb") as file:  # a file, or numpy appends another .npz
        np.savez(file, names=np.array(names, np.str_), features=features, **extra)


def _write_csv(
    path: Path, names: list, features: np.ndarray, labels: np.ndarray | None
) -> None:
    columns = [f"f{i}" for i in range(features.shape[1])]
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["name"] + ([] if labels is None else ["label"]) + columns)
        for i, (name, row) in enumerate(zip(names, features, strict=True)):
            label = [] if labels is None else [int(labels[i])]
            # 9 significant digits identify a float32.
            out.writerow([name, *label, *(f"{value:.9g}" for value in row.tolist())])


def _write_parquet(
    path: Path,
    names: list,
    features: np.ndarray,
    labels: np.ndarray | None,
    metadata: Mapping[bytes, bytes] | None = None,
) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError(
            "writing .parquet needs pyarrow: pip install pyarrow (or write .npz)"
        ) from error
    flat = pa.array(np.ascontiguousarray(features).reshape(-1), pa.float32())
    columns = {"name": pa.array(names, pa.string())}
    if labels is not None:
        columns["label"] = pa.array(labels, pa.int64())
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, features.shape[1])
    pq.write_table(pa.table(columns, metadata=metadata), path)


WRITERS: dict[str, Callable[..., None]] = {
    ".npz": _write_npz,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
