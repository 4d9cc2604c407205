"""model_card.md and model_card.json: what an exported network is and how to load it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import simclr_tf2
from simclr_tf2 import config as config_lib
from simclr_tf2 import files
from simclr_tf2.exports.keras_archive import OLDEST_FOR_OPERATIONS, oldest_keras
from simclr_tf2.models import SimCLR
from simclr_tf2.run_paths import RunFolder

SCHEMA = 1
LICENSE = (
    "The weights belong to whoever trained them. The licence of simclr_tf2 does not "
    "cover them; the terms of the training images may."
)
_RESULT = ("value", "measure", "ci95", "train_split", "test_split", "test_examples")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network was trained.

    Attributes:
        dataset: The images, as the user named them; "" if that is not known.
        images: Number of training images; None if it is not known.
        settings: Flags of the run that differ from the defaults.
        results: "row/protocol" -> record of results.json; empty: not measured.
    """

    dataset: str = ""
    images: int | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    results: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


def training_of(
    dataset: str,
    settings: Mapping[str, Any],
    starts: Sequence[Mapping[str, Any]],
    results: Mapping[str, Mapping[str, Any]],
) -> Training:
    """Describe a run.

    Args:
        dataset: The images, as the user named them.
        settings: Flag -> value, all settings of the run.
        starts: Its starts, as history.json has them.
        results: ``results`` of its results.json.
    """
    defaults = config_lib.field_defaults()
    learned = config_lib.learned_settings() | {"mode", "seed"}
    images = starts[-1].get("images", {}) if starts else {}
    return Training(
        dataset=dataset,
        images=images.get("count"),
        settings={
            name: value
            for name, value in settings.items()
            if name in learned and value != defaults[name]
        },
        results=results,
    )


def write_card(
    folder: RunFolder,
    model: SimCLR,
    exported: Sequence[tuple[Path, str]],
    training: Training,
    *,
    image_size: int | tuple[int, int],
    step: int,
) -> Path:
    """Write both files of the card, each whole or not at all.

    Args:
        folder: The run folder.
        model: The network in export form.
        exported: (path, how to load it) of each exported file.
        training: How it was trained.
        image_size: Side of the images that it was trained on, or (height, width).
        step: Training step of the weights.

    Returns:
        The path of model_card.md.
    """
    facts = describe(model, exported, training, image_size=image_size, step=step)
    files.write_json(folder.model_facts, facts)
    files.write_text(folder.model_card, text(facts))
    return folder.model_card


def describe(
    model: SimCLR,
    exported: Sequence[tuple[Path, str]],
    training: Training,
    *,
    image_size: int | tuple[int, int],
    step: int,
) -> dict[str, Any]:
    """Return what model_card.json holds; see ``write_card`` for the arguments."""
    size = [image_size] * 2 if isinstance(image_size, int) else list(image_size)
    endpoints = {name: list(t.shape) for name, t in model.backbone.output.items()}
    endpoints["proj_head_output"] = list(model.projection_head.outputs[-1].shape)
    lowest = oldest_keras(model.backbone)
    return {
        "schema": SCHEMA,
        "simclr_tf2": simclr_tf2.__version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "lowest_keras_tested": {
            path.name: lowest if path.name == "encoder.keras" else OLDEST_FOR_OPERATIONS
            for path, _ in exported
            if path.suffix == ".keras"
        },
        "files": {_name(path): usage for path, usage in exported},
        "input": {
            "shape": [None, *size, model.backbone.input_shape[-1]],
            "range": [0, 1],
            "dtype": "float32",
        },
        "representation_dim": endpoints["final_avg_pool"][-1],
        "projection_dim": endpoints["proj_head_output"][-1],
        "endpoints": endpoints,
        "step": step,
        "dataset": training.dataset,
        "training_images": training.images,
        "settings": dict(training.settings),
        "results": {
            name: {key: record[key] for key in _RESULT if key in record}
            for name, record in training.results.items()
        },
        "license": LICENSE,
    }


def _name(path: Path) -> str:
    """Return a path within the run folder: a file, or saved_model/STEP."""
    return path.name if path.suffix else f"{path.parent.name}/{path.name}"


def text(facts: Mapping[str, Any]) -> str:
    """Return the text of model_card.md for what model_card.json holds."""
    shape = " x ".join(map(str, facts["input"]["shape"][1:]))
    count = facts["training_images"]
    images = f", {count:,} images" if count is not None else ""
    lowest = facts["lowest_keras_tested"]
    loading = [
        f"- `{name}`: `{usage}`"
        + (f" (Keras {lowest[name]} or later)" if name in lowest else "")
        for name, usage in facts["files"].items()
    ]
    settings = [f"- `--{k}`: {_typed(v)}" for k, v in facts["settings"].items()]
    lines = [
        "# Model card",
        "",
        f"An image encoder, exported at step {facts['step']} by simclr_tf2 "
        f"{facts['simclr_tf2']} (Keras {facts['keras']}, TensorFlow "
        f"{facts['tensorflow']}).",
        "",
        f"- Input: images of {shape}, float32 in [0, 1]; other sizes work too.",
        f"- Output: representation h, {facts['representation_dim']} numbers; "
        f"projection z, {facts['projection_dim']} numbers.",
        f"- Training images: {facts['dataset'] or 'not known'}{images}.",
        "",
        *["## How to load it", "", *loading, ""],
        *["## Results", "", *_results(facts["results"]), ""],
        *[
            "## Settings that differ from the defaults",
            "",
            *(settings or ["None."]),
            "",
        ],
        *["## Licence", "", facts["license"]],
    ]
    return "\n".join(lines) + "\n"


def _typed(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _results(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lines on results; one says so if there are none."""
    lines = []
    for name, record in records.items():
        if record.get("value") is None:
            continue
        interval = ""
        if record.get("ci95"):
            low, high = record["ci95"]
            interval = f" [{100 * low:.1f}, {100 * high:.1f}]"
        split = f" on {record['test_split']}" if "test_split" in record else ""
        lines.append(
            f"- {name}: {100 * record['value']:.1f} %{interval} "
            f"({record.get('measure', 'top1')}{split})"
        )
    return lines or ["Nothing was measured at this step."]
