"""Checks that no weight and no statistic changes during an evaluation."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np


def digests(model: Any) -> dict[str, str]:
    """Return digests of all weights and moving averages of a Keras model or tf.Module.

    Returns:
        Path of the weight, with its position (paths need not be unique) -> digest.
    """
    weights = model.weights if hasattr(model, "weights") else model.variables
    found = {}
    for i, weight in enumerate(weights):
        value = np.ascontiguousarray(weight.numpy())
        digest = hashlib.blake2b(value.tobytes(), digest_size=16)
        found[f"{i}:{getattr(weight, 'path', weight.name)}"] = digest.hexdigest()
    return found


@contextlib.contextmanager
def assert_unchanged(model: Any) -> Iterator[None]:
    """Raise if the weights or batch statistics of ``model`` move inside the block.

    An error raised inside the block passes through as it is.

    Raises:
        RuntimeError: A frozen protocol changed the model; names the weights that moved.
    """
    before = digests(model)
    yield
    after = digests(model)
    moved = [
        name for name in {**before, **after} if before.get(name) != after.get(name)
    ]
    if moved:
        names = ", ".join(name.split(":", 1)[1] for name in moved[:3])
        raise RuntimeError(
            f"a frozen evaluation changed {len(moved)} of {len(before)} weights of the "
            f"model (first: {names}); was it called with training=True?"
        )
