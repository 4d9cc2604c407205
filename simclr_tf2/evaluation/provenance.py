"""The conditions of all numbers of an evaluation: view, precision, machine."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from simclr_tf2 import distribution
from simclr_tf2.config import DataConfig
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.evaluation.representations import eval_geometry
from simclr_tf2.startup import describe_environment


def provenance(
    data: DataConfig, *, seed: int, strategy: tf.distribute.Strategy
) -> dict[str, Any]:
    """Describe the conditions of an evaluation's numbers, ready for results.json."""
    return {
        "dataset": data.source,
        "view": f"eval view, {view_size(data)} px, float32",
        "preprocessing": eval_geometry(data),
        "compute": {
            "dtype": "float32",
            "tensor_float_32": distribution.uses_tensor_float_32(),
            "replicas": extractor.replica_count(strategy),
        },
        "seed": seed,
        "environment": describe_environment(),
    }


def view_size(data: DataConfig) -> str:
    """Return the size of a view as text: "224", "64x96"."""
    return "x".join(map(str, dict.fromkeys(data.height_width)))
