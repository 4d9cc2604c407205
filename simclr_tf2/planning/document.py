"""A plan as data, for ``--output=plan.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from simclr_tf2.planning import advice, scaling
from simclr_tf2.planning.estimate import Estimate, view_flops


def of(found: Sequence[Estimate], largest: int = 0) -> dict[str, Any]:
    """Return a plan as plain values.

    Args:
        found: The same run on each hardware.
        largest: Devices up to which the run is scaled; 0: it is not.
    """
    work = found[0].work
    counts = work.counts[0]
    return {
        "estimate": True,
        "mode": work.mode,
        "images": dataclasses.asdict(work.images),
        "steps": work.steps,
        "early_steps": [
            {"image_size": part.views[0][1][0], "steps": part.steps}
            for part in work.early
        ],
        "train_batch_size": work.batch,
        "trained_numbers": counts.trained,
        "numbers": counts.numbers,
        "multiply_adds_per_view": counts.multiply_adds,
        "flops_per_image_and_step": view_flops(work),
        "hardware": {one.hardware.name: _one(one, largest) for one in found},
    }


def _one(found: Estimate, largest: int) -> dict[str, Any]:
    hardware = found.hardware
    result = {
        **_times(found),
        "title": hardware.title,
        "precision": hardware.precision(found.work.dtype),
        "images_per_replica": found.work.per_replica,
        "memory_bytes": {
            **dataclasses.asdict(found.memory),
            "total": found.memory.total,
            "limit": found.memory_limit,
        },
        "fits": found.fits,
        "would_fit_with": advice.how_to_fit(found),
        "tightest_limit": advice.tightest_limit(found),
        "figures": {k: dataclasses.asdict(f) for k, f in hardware.figures.items()},
    }
    if largest:
        counts = scaling.device_counts(found.work.replicas, largest)
        result["scaling"] = {
            "fixed_batch": [_times(scaling.with_fixed_batch(found, n)) for n in counts],
            "growing_batch": [
                _times(scaling.with_growing_batch(found, n)) for n in counts
            ],
            "limits": [dataclasses.asdict(x) for x in scaling.limits(found, largest)],
        }
    return result


def _times(found: Estimate) -> dict[str, Any]:
    return {
        "devices": found.hardware.devices,
        "train_batch_size": found.work.batch,
        "seconds_per_step": {
            "computing": found.compute,
            "memory_bandwidth": found.moving,
            "communication": found.communication,
            "input": found.input,
            "step": found.step,
        },
        "exchanges": [dataclasses.asdict(x) for x in found.exchanges],
        "hours": found.seconds / 3600,
        "input_images_per_second": found.wanted_images_per_second,
    }
