"""Recomputing activations in the backward pass instead of keeping them.

Backpropagation keeps what every layer read; most of it is within residual blocks. With
the network cut into segments only what passes from one to the next is kept, and the
inside of a segment is computed again when its gradient is due (Chen et al., arXiv
1604.06174): about a forward pass more time, much less memory.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2.config import REMAT
from simclr_tf2.errors import ConfigError

Forward = Callable[..., tf.Tensor]
_ENDS = {"blocks": r"group\d_block\d+_relu", "groups": r"(group\d)_block\d+_relu"}


def recomputed(backbone: keras.Model, kind: str) -> Forward:
    """Return ``backbone`` up to h, keeping only what passes between segments.

    Values, gradients and moving statistics are those of the backbone itself; the
    variables are shared. Batch norm takes its step from the first run of a segment; the
    second leaves no trace.

    Args:
        backbone: A network of ``build_resnet``.
        kind: ``blocks``: a segment is a residual block; ``groups``: one of the four
            block groups. The stem is one in both.

    Returns:
        A function ``(images [n, s, s, c], training) -> h [n, d]``.

    Raises:
        ConfigError: ``kind`` is neither.
    """
    if kind not in _ENDS:
        choices = ", ".join(REMAT[1:])
        raise ConfigError(f"--remat must be one of {choices}. Received: {kind!r}.")
    cuts = [backbone.input, *_cuts(backbone, kind)]
    segments = [
        keras.Model(before, after, name=f"segment_{number}")
        for number, (before, after) in enumerate(itertools.pairwise(cuts))
    ]
    rest = keras.Model(cuts[-1], backbone.output["final_avg_pool"], name="rest")

    def forward(images: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = images
        for segment in segments:
            x = _run(segment, x) if training else segment(x, training=False)
        return rest(x, training=training)

    return forward


def _cuts(backbone: keras.Model, kind: str) -> list[keras.KerasTensor]:
    """Return the outputs of the stem and of every segment after it."""
    ends = {}
    for layer in backbone.layers:
        match = re.fullmatch(_ENDS[kind], layer.name)
        if match:  # of a group's blocks the last one stays
            ends[match[1] if kind == "groups" else layer.name] = layer.output
    return [backbone.output["initial_max_pool"], *ends.values()]


def _run(segment: keras.Model, x: tf.Tensor) -> tf.Tensor:
    """Run ``segment(x, training=True)``, and again in the backward pass.

    The segment is run as a function of all its variables, without side effects, which
    is what ``tf.recompute_grad`` can repeat; then new moving statistics are assigned.
    """
    variables = segment.variables
    changed: list[keras.Variable] = []

    def pure(x: tf.Tensor, *values: tf.Tensor) -> list[tf.Tensor]:
        with keras.StatelessScope(zip(variables, values, strict=True)) as scope:
            y = segment(x, training=True)
        new = [scope.get_current_value(variable) for variable in variables]
        moved = [
            (variable, tf.stop_gradient(after))
            for variable, before, after in zip(variables, values, new, strict=True)
            if after is not before
        ]
        changed[:] = [variable for variable, _ in moved]
        return [y, *(after for _, after in moved)]

    values = [tf.convert_to_tensor(variable) for variable in variables]
    y, *moved = tf.recompute_grad(pure)(x, *values)
    for variable, value in zip(changed, moved, strict=True):
        variable.assign(value)
    return y


def recompute(model: Any, kind: str) -> None:
    """Let a ``SimCLR`` model recompute its backbone's activations when it trains.

    Args:
        model: Made by ``build_simclr``; frozen layers may still be chosen after.
        kind: One of ``REMAT``; ``off`` changes nothing.
    """
    if kind != "off":
        model.forward = recomputed(model.backbone, kind)
