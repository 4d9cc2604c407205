"""Muon for Keras 3: momentum whose matrices are made orthogonal before the step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2.optimizers.lars import check_ranges, matches

# Coefficients of the quintic iteration and number of its steps: K. Jordan et al.,
# "Muon: an optimizer for hidden layers in neural networks" (2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
# Makes an update as large as a typical one of AdamW (arXiv 2502.16982, section 2.2).
UPDATE_RMS = 0.2


@keras.saving.register_keras_serializable(package="simclr_tf2")
class Muon(keras.optimizers.Optimizer):
    """Muon for kernels, Adam for all other variables.

    With gradient g, kernel W, momentum M and learning rate lr: M <- m M + g,
    U = g + m M, W <- W - lr 0.2 sqrt(max(rows, columns)) orthogonal(U), where
    ``orthogonal`` sets all singular values near 1. A kernel of a convolution,
    ``[h, w, in, out]``, counts as a matrix of h w in rows and out columns.

    Variables of other than 2 or 4 dimensions, and those that match ``adam``, are
    updated by Adam with the same learning rate. Weight decay is decoupled, as in AdamW.

    ``keras.optimizers.Muon`` uses Adam for convolutions, which are almost all weights
    of a ResNet.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.01,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        exclude: Sequence[str] = (),
        adam: Sequence[str] = (),
        name: str = "muon",
        **kwargs: Any,
    ) -> None:
        """Make the optimizer; slots are made by ``build``.

        Args:
            learning_rate: A number or a schedule of the step.
            momentum: Of Muon, from 0 to below 1.
            weight_decay: Factor of decoupled decay, 0 or greater.
            beta_1: Of Adam.
            beta_2: Of Adam.
            epsilon: Of Adam.
            exclude: Regular expressions, searched in ``variable.path``; a variable that
                matches one is not decayed.
            adam: Regular expressions, searched in ``variable.path``; a variable that
                matches one is updated by Adam.
            name: Name of the optimizer and of its variables.
            **kwargs: Further arguments of ``keras.optimizers.Optimizer``.

        Raises:
            ValueError: ``momentum`` or ``weight_decay`` is out of range.
        """
        check_ranges(momentum, weight_decay)
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay or None,
            name=name,
            **kwargs,
        )
        self.momentum, self.epsilon = momentum, epsilon
        self.beta_1, self.beta_2 = beta_1, beta_2
        self._exclude, self._adam = tuple(exclude), tuple(adam)

    def build(self, variables: list[keras.Variable]) -> None:
        """Make the slots: one per kernel, two per other variable.

        ``update_step`` gets raw ``tf.Variable`` objects without a path, so what holds
        for a variable is decided here, by its index.
        """
        if self.built:
            return
        undecayed = [v for v in variables if matches(self._exclude, v.path)]
        if undecayed:
            self.exclude_from_weight_decay(var_list=undecayed)
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")
        self._velocities: list[keras.Variable | None] = [
            None
            if len(v.shape) in (2, 4) and not matches(self._adam, v.path)
            else self.add_variable_from_reference(reference_variable=v, name="velocity")
            for v in variables
        ]

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update one variable and its slots."""
        index = self._get_variable_index(variable)
        gradient = tf.cast(tf.convert_to_tensor(gradient), variable.dtype)
        rate = tf.cast(learning_rate, variable.dtype)
        momentum, velocity = self._momentums[index], self._velocities[index]
        if velocity is None:
            step = self._kernel_step(gradient, momentum.value)
        else:
            step = self._adam_step(gradient, momentum.value, velocity.value)
        self.assign_sub(variable, rate * step)

    def _kernel_step(self, gradient: tf.Tensor, momentum: tf.Variable) -> tf.Tensor:
        m = self.momentum * tf.convert_to_tensor(momentum) + gradient
        self.assign(momentum, m)
        direction = gradient + self.momentum * m
        matrix = tf.reshape(direction, [-1, direction.shape[-1]])
        scale = UPDATE_RMS * max(matrix.shape) ** 0.5
        return scale * tf.reshape(orthogonal(matrix), direction.shape)

    def _adam_step(
        self, gradient: tf.Tensor, momentum: tf.Variable, velocity: tf.Variable
    ) -> tf.Tensor:
        count = tf.cast(self.iterations.value + 1, gradient.dtype)
        m = tf.convert_to_tensor(momentum)
        v = tf.convert_to_tensor(velocity)
        m += (1 - self.beta_1) * (gradient - m)
        v += (1 - self.beta_2) * (tf.square(gradient) - v)
        self.assign(momentum, m)
        self.assign(velocity, v)
        m /= 1 - tf.pow(tf.constant(self.beta_1, m.dtype), count)
        v /= 1 - tf.pow(tf.constant(self.beta_2, v.dtype), count)
        return m / (tf.sqrt(v) + self.epsilon)

    def get_config(self) -> dict[str, Any]:
        """Return every argument of the constructor."""
        config: dict[str, Any] = super().get_config()
        config.update(
            momentum=self.momentum,
            weight_decay=self.weight_decay or 0.0,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            exclude=list(self._exclude),
            adam=list(self._adam),
        )
        return config


def orthogonal(matrix: tf.Tensor) -> tf.Tensor:
    """Set all singular values of a matrix near 1, without a decomposition.

    The iteration X <- a X + b (X X') X + c (X X')^2 X of Jordan et al. keeps the
    singular vectors. It is computed on the Gram matrix of the shorter side, G = X X':
    each iteration multiplies X from the left by p(G) = a + b G + c G^2, and G from both
    sides. The product of all p(G) is applied to the matrix once, at the end. For a
    kernel of 9 n rows and n columns this needs less than half of the arithmetic.

    Args:
        matrix: ``[rows, columns]`` in float32 or float64; the shape is static.

    Returns:
        ``[rows, columns]``: singular values between about 0.7 and 1.2, except for those
        that were below a thousandth of the matrix's norm, which stay smaller.
    """
    a, b, c = (tf.constant(value, matrix.dtype) for value in COEFFICIENTS)
    rows, columns = matrix.shape
    x = matrix / (tf.norm(matrix) + tf.constant(1e-7, matrix.dtype))
    tall = rows > columns
    gram = tf.matmul(x, x, transpose_a=tall, transpose_b=not tall)
    identity = tf.eye(min(rows, columns), dtype=matrix.dtype)
    product = identity
    for _ in range(ITERATIONS):
        factor = a * identity + b * gram + c * tf.matmul(gram, gram)
        product = tf.matmul(factor, product)
        gram = tf.matmul(tf.matmul(factor, gram), factor)
    return tf.matmul(x, product) if tall else tf.matmul(product, x)
