"""AdamW and LAMB that can leave variables out of weight decay by their path.

The stock optimizers search patterns in ``variable.name``, which is just "kernel" or
"gamma" in Keras 3, and want the variables themselves before they are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from simclr_tf2.optimizers.lars import matches


@keras.saving.register_keras_serializable(package="simclr_tf2")
class AdamW(keras.optimizers.AdamW):
    """``keras.optimizers.AdamW`` with ``exclude``: regexes on ``variable.path``."""

    def __init__(self, *args: Any, exclude: Sequence[str] = (), **kwargs: Any) -> None:
        """Take the arguments of ``keras.optimizers.AdamW``, and ``exclude``."""
        super().__init__(*args, **kwargs)
        self._exclude = tuple(exclude)

    def build(self, variables: list[keras.Variable]) -> None:
        """Resolve ``exclude``, then make the slots."""
        _exclude_by_path(self, variables, self._exclude)
        super().build(variables)

    def get_config(self) -> dict[str, Any]:
        """Return every argument of the constructor."""
        return {**super().get_config(), "exclude": list(self._exclude)}


@keras.saving.register_keras_serializable(package="simclr_tf2")
class Lamb(keras.optimizers.Lamb):
    """``keras.optimizers.Lamb`` with ``exclude``: regexes on ``variable.path``."""

    def __init__(self, *args: Any, exclude: Sequence[str] = (), **kwargs: Any) -> None:
        """Take the arguments of ``keras.optimizers.Lamb``, and ``exclude``."""
        super().__init__(*args, **kwargs)
        self._exclude = tuple(exclude)

    def build(self, variables: list[keras.Variable]) -> None:
        """Resolve ``exclude``, then make the slots."""
        _exclude_by_path(self, variables, self._exclude)
        super().build(variables)

    def get_config(self) -> dict[str, Any]:
        """Return every argument of the constructor."""
        return {**super().get_config(), "exclude": list(self._exclude)}


def _exclude_by_path(
    optimizer: keras.optimizers.Optimizer,
    variables: list[keras.Variable],
    patterns: Sequence[str],
) -> None:
    excluded = [v for v in variables if matches(patterns, v.path)]
    if excluded and not optimizer.built:
        optimizer.exclude_from_weight_decay(var_list=excluded)
