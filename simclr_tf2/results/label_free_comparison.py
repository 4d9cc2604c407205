"""Compare runs on the same images without labels: rank, spread, shared neighbours."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simclr_tf2 import files
from simclr_tf2.errors import ConfigError
from simclr_tf2.metrics.neighbours import overlap
from simclr_tf2.results import document
from simclr_tf2.run_paths import RunFolder

# Key of a label_free record -> (heading, which direction is better).
COLUMNS = {
    "h_rankme": ("RankMe of h", "higher"),
    "z_rankme": ("RankMe of z", "higher"),
    "z_alignment": ("alignment", "lower"),
    "z_uniformity": ("uniformity", "lower"),
}


@dataclass(frozen=True)
class LabelFreeRun:
    """The label-free record of the representation in a run folder.

    Attributes:
        name: Its folder, as given.
        record: The ``label_free`` record of its results.json.
        neighbours: int32 ``[n, k]``, the nearest other images of each image.
        images: Which images these are, as ``data.identity.images_of`` says.
    """

    name: str
    record: dict[str, Any]
    neighbours: np.ndarray
    images: dict[str, Any]


def save(path: Path, neighbours: np.ndarray, images: Mapping[str, Any]) -> None:
    """Write the neighbours and which images they are of, whole or not at all."""
    described = np.array(json.dumps(dict(images)))
    with files.replacing(path) as temporary:
        np.savez_compressed(temporary, neighbours=neighbours, images=described)


def load(run: str, *, name: str | None) -> LabelFreeRun:
    """Read what another run keeps for a comparison without labels.

    Args:
        run: Its folder.
        name: ``--eval_name`` of both.

    Raises:
        ConfigError: The folder keeps nothing of the kind, or it cannot be read.
    """
    folder = RunFolder.at(run, name)
    if not folder.path.is_dir():
        raise ConfigError(f"--compare_with={run} is not a folder: name a run folder")
    try:
        path = folder.results
        record = document.read_strictly(path)["label_free"]
        path = folder.neighbours
        with np.load(path) as file:
            images = json.loads(str(file["images"]))
            return LabelFreeRun(run, record, file["neighbours"], images)
    except (FileNotFoundError, KeyError):
        raise ConfigError(
            f"--compare_with={run} has no label_free results to compare with; measure "
            f"it first: --mode=eval --model_dir={run} --protocols=label_free"
        ) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def check(run: LabelFreeRun, images: Mapping[str, Any]) -> None:
    """Check that another run was measured on the same images.

    Raises:
        ConfigError: It was measured on others.
    """
    if any(run.images.get(key) != images[key] for key in ("count", "digest")):
        there, here = (
            f"{found['count']} images of {found['dataset']}:{found['split']}"
            for found in (run.images, images)
        )
        raise ConfigError(
            f"--compare_with={run.name}: measured on other images: there {there}, here "
            f"{here}; measure both runs with the same --image_dir or --dataset and the "
            "same --eval_split"
        )


def compare(
    record: Mapping[str, Any],
    neighbours: np.ndarray,
    others: Sequence[LabelFreeRun],
    *,
    name: str,
) -> list[dict[str, Any]]:
    """Put the label-free numbers of several runs side by side.

    Args:
        record: The ``label_free`` record of this run.
        neighbours: int32 ``[n, k]`` of this run.
        others: The other runs, measured on the same images.
        name: Of this run.

    Returns:
        One record a run, this one first: ``run``, the numbers of ``COLUMNS`` and, for
        the others, ``same_neighbours``, the share of neighbours in common with this
        run, beside its ``expected_by_chance``. The last record is the random encoder,
        where it was measured.
    """
    k = neighbours.shape[1]
    chance = k / max(len(neighbours) - 1, 1)
    rows = [{"run": name, **_numbers(record)}]
    for other in others:
        rows.append(
            {
                "run": other.name,
                **_numbers(other.record),
                "same_neighbours": overlap(neighbours, other.neighbours),
                "neighbours": k,
                "expected_by_chance": chance,
            }
        )
    if "random_encoder" in record:
        rows.append({"run": "Random encoder", **_numbers(record["random_encoder"])})
    return rows


def _numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: record.get(key) for key in COLUMNS}


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format the comparison as aligned plain text."""
    title = "runs compared"
    width = max(len(title), *(len(row["run"]) for row in rows))
    heads = [head for head, _ in COLUMNS.values()]
    lines = [f"{title:<{width}}  {'  '.join(heads)}  same neighbours"]
    for row in rows:
        cells = [
            _cell(row[key], len(head)) for key, head in zip(COLUMNS, heads, strict=True)
        ]
        shared = row.get("same_neighbours")
        share = "-" if shared is None else f"{100 * shared:.1f} %"
        lines.append(f"{row['run']:<{width}}  {'  '.join(cells)}  {share:>15}")
    better = [direction.rjust(len(head)) for head, direction in COLUMNS.values()]
    lines.append(f"{'better':<{width}}  {'  '.join(better)}")
    compared = next((row for row in rows if "neighbours" in row), None)
    if compared is not None:
        lines.append(
            f"same neighbours: share of the {compared['neighbours']} nearest images "
            f"in common with {rows[0]['run']}; by chance "
            f"{100 * compared['expected_by_chance']:.1f} %. alignment and uniformity: "
            "of z."
        )
    return "\n".join(lines)


def _cell(value: float | None, width: int) -> str:
    return ("-" if value is None else f"{value:.4g}").rjust(width)
