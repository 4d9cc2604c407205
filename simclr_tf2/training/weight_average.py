"""Exponential moving averages of a model's weights, which evaluations and exports use.

Averages of the iterates of SGD generalise better than the last iterate (Polyak and
Juditsky 1992; with exponential weights: Szegedy et al., arXiv 1512.00567, section 8).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2.training.loop import Step


class WeightAverage:
    """One average for each variable of a model, moving statistics of batch norm too.

    Update t = 1, 2, .. moves every average towards its variable by 1 - d times their
    difference, with d = min(decay, (1 + t) / (10 + t)). This is the rule of
    ``tf.train.ExponentialMovingAverage`` with ``num_updates``: the first weights would
    otherwise dominate the averages of short runs.

    Make it in the scope of the strategy in which the model was made.

    Attributes:
        variables: Path of a variable -> its average, of the same type.
        updates: Number of updates so far.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        """Start from the present weights.

        Args:
            model: All its variables are floating-point numbers.
            decay: Weight of the old average in an update, above 0 and below 1.
        """
        self._decay, self._model = decay, model
        # Equal on all replicas without any aggregation, because the weights are.
        self.variables = {
            v.path: keras.Variable(
                v.numpy(), dtype=v.dtype, trainable=False, name="average"
            )
            for v in model.variables
        }
        self.updates = keras.Variable(0, dtype="int", trainable=False, name="updates")

    def restart(self) -> None:
        """Start again from the present weights."""
        for variable, average in self._pairs():
            average.assign(variable.numpy())
        self.updates.assign(0)

    def update(self) -> None:
        """Take up the weights after a step, on a replica: without communication."""
        self.updates.assign_add(1)
        dtypes = sorted({average.dtype for average in self.variables.values()})
        rates = {dtype: self._rate(dtype) for dtype in dtypes}
        for variable, average in self._pairs():
            old = tf.convert_to_tensor(average)
            moved = tf.convert_to_tensor(variable) - old
            average.assign(old + rates[average.dtype] * moved)

    def assign_to_model(self) -> None:
        """Replace the weights of the model by their averages."""
        for variable, average in self._pairs():
            variable.assign(average.numpy())

    @contextlib.contextmanager
    def in_model(self) -> Iterator[None]:
        """Replace the weights by their averages in a context, then put them back."""
        trained = [variable.numpy() for variable in self._model.variables]
        try:
            self.assign_to_model()
            yield
        finally:
            for variable, value in zip(self._model.variables, trained, strict=True):
                variable.assign(value)

    def _rate(self, dtype: str) -> tf.Tensor:
        """Return 1 - d of the present update."""
        return tf.maximum(
            9 / (10 + tf.cast(self.updates.value, dtype)), 1 - self._decay
        )

    def _pairs(self) -> Iterator[tuple[keras.Variable, keras.Variable]]:
        return ((v, self.variables[v.path]) for v in self._model.variables)


def averaging(step: Step, average: WeightAverage | None) -> Step:
    """Build the step that updates ``average`` after ``step``; None: ``step`` itself."""
    if average is None:
        return step

    def step_and_average(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        scalars = step(batch)
        average.update()
        return scalars

    return step_and_average
