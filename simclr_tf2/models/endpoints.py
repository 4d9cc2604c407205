"""Encoders that return several named tensors of a network."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from simclr_tf2.config import EXPORT_ENDPOINTS
from simclr_tf2.models.simclr import SimCLR


def build_endpoints(model: SimCLR, names: Sequence[str]) -> keras.Model:
    """Join backbone and projection head to one graph with named outputs.

    Args:
        model: A model in export form.
        names: Names of ``EXPORT_ENDPOINTS``. ``proj_head_input`` is h, as
            ``final_avg_pool``; ``proj_head_output`` is z.

    Returns:
        Images ``[n, s, s, c]`` in [0, 1] -> dict of the named tensors, float32.
    """
    assert set(names) <= set(EXPORT_ENDPOINTS), names
    found = dict(model.backbone.output)
    h = found["final_avg_pool"]
    if "proj_head_input" in names:
        same = keras.layers.Identity(name="proj_head_input", dtype="float32")
        found["proj_head_input"] = same(h)
    if "proj_head_output" in names:
        head = model.projection_head
        last = keras.Model(head.inputs[0], head.outputs[-1], name="projection_head")
        found["proj_head_output"] = last(h)
    outputs = {name: found[name] for name in names}
    return keras.Model(model.backbone.input, outputs, name="simclr_encoder")
