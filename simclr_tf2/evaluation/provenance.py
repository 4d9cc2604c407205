"""The provenance of every number of an evaluation: view, precision, machine."""

from __future__ import annotations

from typing import Any

from simclr_tf2 import distribution
from simclr_tf2.config import Config
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.evaluation.representations import eval_geometry
from simclr_tf2.startup import describe_environment


def provenance(config: Config) -> dict[str, Any]:
    """Describe what the numbers of an evaluation rest on, ready for results.json."""
    return {
        "dataset": config.data.source,
        "view": f"eval view, {view_size(config)} px, float32",
        "preprocessing": eval_geometry(config),
        "compute": {
            "dtype": "float32",
            "tensor_float_32": distribution.uses_tensor_float_32(),
            "replicas": extractor.replica_count(config),
        },
        "seed": config.seed,
        "environment": describe_environment(),
    }


def view_size(config: Config) -> str:
    """Return the size of a view in words: "224", "64x96"."""
    return "x".join(map(str, dict.fromkeys(config.data.height_width)))
