"""A learning rate of its own for some variables, whatever the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import keras
import tensorflow as tf

Kind = TypeVar("Kind", bound=keras.optimizers.Optimizer)


def with_multipliers(optimizer: Kind, multipliers: Mapping[str, float]) -> Kind:
    """Return ``optimizer`` with the learning rate of each variable times a number.

    The step of a variable is the one it would take with that learning rate: its
    gradient is not scaled, which LARS, Adam and LAMB would divide away again, and
    decoupled weight decay, which is in proportion to the learning rate, is scaled
    along.

    Args:
        optimizer: Not built yet; left as it is.
        multipliers: ``variable.path`` -> factor, 0 or greater; 1 where not named.

    Returns:
        ``optimizer`` itself if every factor is 1, else one with the same settings.
    """
    assert not optimizer.built, "slots would not be shared"
    assert all(value >= 0 for value in multipliers.values()), multipliers
    if all(value == 1 for value in multipliers.values()):
        return optimizer
    kind = _scaled(type(optimizer), dict(multipliers))
    config = optimizer.get_config()
    schedule = optimizer._learning_rate  # config would make a copy of it
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        config["learning_rate"] = schedule
    scaled: Kind = kind(**config)
    return scaled


def _scaled(kind: type[Kind], multipliers: dict[str, float]) -> type[Kind]:
    """Return a subclass of ``kind`` whose rate depends on the variable."""

    class Scaled(kind):  # type: ignore[misc, valid-type]
        weight_decay: float | None

        def build(self, variables: list[keras.Variable]) -> None:
            if not self.built:
                self._rates = [multipliers.get(v.path, 1.0) for v in variables]
            super().build(variables)

        def _rate(self, variable: Any) -> float:
            rate: float = self._rates[self._get_variable_index(variable)]
            return rate

        def update_step(
            self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor
        ) -> None:
            learning_rate = tf.cast(self._rate(variable), variable.dtype) * tf.cast(
                learning_rate, variable.dtype
            )
            if self.weight_decay and self._use_weight_decay(variable):
                decay = tf.cast(self.weight_decay, variable.dtype)
                self.assign_sub(variable, learning_rate * decay * variable)
            super().update_step(gradient, variable, learning_rate)

        def _apply_weight_decay(self, variables: list[Any]) -> None:
            """Do nothing: Keras has one learning rate; ``update_step`` decays."""

    Scaled.__name__ = Scaled.__qualname__ = kind.__name__
    return Scaled
