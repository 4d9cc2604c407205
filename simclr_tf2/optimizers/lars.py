"""LARS: layer-wise adaptive rate scaling (arXiv 1708.03888) for Keras 3."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="simclr_tf2")
class LARS(keras.optimizers.Optimizer):
    """Momentum optimizer with each variable's step in proportion to its norm.

    With gradient g, variable w, momentum m, learning rate lr and, unless the variable
    is excluded, g <- g + weight_decay * w:

    - ``classic_momentum=True``: r = eta |w| / |g|, v <- m v + lr r g, w <- w - v; with
      ``nesterov`` w <- w - (m v + lr r g).
    - ``classic_momentum=False`` ("popular"): v <- m v + g, u = v, with ``nesterov``
      u = m v + g; r = eta |w| / |u|, w <- w - lr r u.

    r is 1 where either norm is 0 and for variables excluded from layer adaptation.
    The formulas and the defaults are those of the reference code (google-research
    simclr, tf2/lars_optimizer.py), which SimCLR trains with (appendix B.6).

    Weight decay is part of the gradient here, not decoupled: it is inside the norm
    that scales the step.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 0.001,
        nesterov: bool = False,
        classic_momentum: bool = True,
        exclude_from_weight_decay: Sequence[str] = (),
        exclude_from_layer_adaptation: Sequence[str] = (),
        name: str = "lars",
        **kwargs: Any,
    ) -> None:
        """Make the optimizer; slots are made by ``build``.

        Args:
            learning_rate: A number or a schedule of the step.
            momentum: From 0 to below 1.
            weight_decay: Factor of L2 decay, 0 or greater.
            eta: Trust coefficient.
            nesterov: Look ahead by one momentum step.
            classic_momentum: Whether lr r is applied before the momentum or after.
            exclude_from_weight_decay: Regular expressions, searched in
                ``variable.path``; a variable that matches one is not decayed.
            exclude_from_layer_adaptation: Regular expressions, searched in
                ``variable.path``; r is 1 for a variable that matches one. Empty: those
                of ``exclude_from_weight_decay``, as in the reference code.
            name: Name of the optimizer and of its variables.
            **kwargs: Further arguments of ``keras.optimizers.Optimizer``.

        Raises:
            ValueError: ``momentum`` or ``weight_decay`` is out of range.
        """
        # Not given to the base class, which would decay a second time, decoupled.
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        check_ranges(momentum, weight_decay)
        self.momentum = momentum
        self.l2_factor = weight_decay
        self.eta = eta
        self.nesterov = nesterov
        self.classic_momentum = classic_momentum
        # ``exclude_from_weight_decay`` is the name of a method of the base class.
        self._no_decay = _as_tuple(exclude_from_weight_decay)
        self._no_adaptation = _as_tuple(exclude_from_layer_adaptation)

    def build(self, variables: list[keras.Variable]) -> None:
        """Make one momentum slot per variable and resolve the exclusions.

        ``update_step`` gets raw ``tf.Variable`` objects without a path, so what holds
        for a variable is decided here, by its index.
        """
        if self.built:
            return
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")
        no_adaptation = self._no_adaptation or self._no_decay
        self._decays = [not matches(self._no_decay, v.path) for v in variables]
        self._adapts = [not matches(no_adaptation, v.path) for v in variables]

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update one variable and its momentum slot."""
        index = self._get_variable_index(variable)
        slot = self._momentums[index].value
        w = tf.convert_to_tensor(variable)
        g = tf.cast(tf.convert_to_tensor(gradient), w.dtype)
        lr = tf.cast(learning_rate, w.dtype)
        if self.l2_factor and self._decays[index]:
            g += self.l2_factor * w
        if self.classic_momentum:
            self._descend(variable, slot, lr * self._trust_ratio(w, g, index) * g)
            return
        v = self.momentum * tf.convert_to_tensor(slot) + g
        u = self.momentum * v + g if self.nesterov else v
        self.assign(slot, v)
        self.assign_sub(variable, lr * self._trust_ratio(w, u, index) * u)

    def _descend(
        self, variable: tf.Variable, slot: tf.Variable, step: tf.Tensor
    ) -> None:
        """Apply momentum, v <- m v + step, w <- w - v (or look ahead), in one pass."""
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=slot.handle,
            lr=tf.ones([], step.dtype),
            grad=step,
            momentum=tf.constant(self.momentum, step.dtype),
            use_nesterov=self.nesterov,
        )

    def _trust_ratio(
        self, w: tf.Tensor, direction: tf.Tensor, index: int
    ) -> tf.Tensor | float:
        if not self._adapts[index]:
            return 1.0
        w_norm, norm = _norm(w), _norm(direction)
        ratio = tf.where(
            tf.logical_and(w_norm > 0, norm > 0),
            self.eta * tf.math.divide_no_nan(w_norm, norm),
            tf.ones_like(norm),
        )
        return tf.cast(ratio, w.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return every argument of the constructor."""
        config: dict[str, Any] = super().get_config()
        config.update(
            momentum=self.momentum,
            weight_decay=self.l2_factor,
            eta=self.eta,
            nesterov=self.nesterov,
            classic_momentum=self.classic_momentum,
            exclude_from_weight_decay=list(self._no_decay),
            exclude_from_layer_adaptation=list(self._no_adaptation),
        )
        return config


def check_ranges(momentum: float, weight_decay: float) -> None:
    """Raise ``ValueError`` for a momentum or weight decay that is out of range."""
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be from 0 to below 1. Received: {momentum}.")
    if not weight_decay >= 0:
        raise ValueError(
            f"weight_decay must be 0 or greater. Received: {weight_decay}."
        )


def matches(patterns: Sequence[str], path: str) -> bool:
    """Return whether one of the regular expressions is found in ``path``."""
    return any(re.search(pattern, path) for pattern in patterns)


def _as_tuple(patterns: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(patterns, str):
        raise ValueError(
            "exclusions must be a sequence of regular expressions, not one string. "
            f"Received: {patterns!r}."
        )
    return tuple(patterns or ())


def _norm(x: tf.Tensor) -> tf.Tensor:
    """Return the L2 norm, in float32 at least, by the kernel that keeps no squares."""
    if x.dtype in (tf.bfloat16, tf.float16):
        x = tf.cast(x, tf.float32)
    return tf.sqrt(2 * tf.nn.l2_loss(x))
