"""Predicted labels written to a file that other tools read."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simclr_tf2 import files
from simclr_tf2.errors import ConfigError

DIGITS = 6  # of a probability in text files


@dataclass(frozen=True)
class Predictions:
    """The most probable classes of some images.

    Attributes:
        names: File names or ids, ``[n]``.
        labels: ``[n][k]`` class names, the most probable first.
        probabilities: float ``[n, k]``.
        true_labels: Class name of each image, ``[n]``; None if they are not known.
    """

    names: Sequence[str]
    labels: Sequence[Sequence[str]]
    probabilities: np.ndarray
    true_labels: Sequence[str] | None = None


def write_labels(path: str | Path, found: Predictions) -> None:
    """Write one row per image, whole or not at all.

    ``.csv``: columns name, label, probability; with k above 1 also label_2,
    probability_2, ... ``.jsonl``: an object a line, with name and ``predictions``, a
    list of label and probability. ``.parquet``: name, label, probability, and with k
    above 1 the lists ``labels`` and ``probabilities``. ``true_label`` follows the name
    where it is known.

    Args:
        path: Where; the suffix chooses the format. Folders are made.
        found: What to write.

    Raises:
        ConfigError: No Parquet engine.
    """
    path = Path(path)
    with files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary:
        WRITERS[path.suffix.lower()](temporary, found)


def _write_csv(path: Path, found: Predictions) -> None:
    k = found.probabilities.shape[1]
    numbers = ["", *(f"_{i}" for i in range(2, k + 1))]
    true = found.true_labels
    head = ["name", *(["true_label"] if true is not None else [])]
    head += [f"{word}{i}" for i in numbers for word in ("label", "probability")]
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(head)
        for i, name in enumerate(found.names):
            row = [name] if true is None else [name, true[i]]
            for label, p in zip(found.labels[i], found.probabilities[i], strict=True):
                row += [label, f"{p:.{DIGITS}f}"]
            out.writerow(row)


def _write_jsonl(path: Path, found: Predictions) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for i, name in enumerate(found.names):
            row: dict = {"name": name}
            if found.true_labels is not None:
                row["true_label"] = found.true_labels[i]
            pairs = zip(found.labels[i], found.probabilities[i], strict=True)
            row["predictions"] = [
                {"label": label, "probability": round(float(p), DIGITS)}
                for label, p in pairs
            ]
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_parquet(path: Path, found: Predictions) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError(
            "writing .parquet needs pyarrow: pip install pyarrow (or write .csv)"
        ) from error
    probabilities = np.asarray(found.probabilities, np.float32)
    columns = {"name": pa.array(found.names, pa.string())}
    if found.true_labels is not None:
        columns["true_label"] = pa.array(found.true_labels, pa.string())
    columns["label"] = pa.array([row[0] for row in found.labels], pa.string())
    columns["probability"] = pa.array(probabilities[:, 0], pa.float32())
    if probabilities.shape[1] > 1:
        labels = [list(row) for row in found.labels]
        columns["labels"] = pa.array(labels, pa.list_(pa.string()))
        lists = pa.list_(pa.float32())
        columns["probabilities"] = pa.array(probabilities.tolist(), lists)
    pq.write_table(pa.table(columns), path)


WRITERS: dict[str, Callable[[Path, Predictions], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
