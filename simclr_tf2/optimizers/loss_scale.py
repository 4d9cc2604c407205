"""Dynamic loss scaling, which float16 needs so that small gradients do not vanish.

Its exponent ends at 2**-24. The loss is multiplied by a scale before the gradient is
taken, which is divided by it before the update; a step whose gradient is not finite is
skipped and halves the scale, 2,000 good ones in a row double it (Micikevicius et al.,
arXiv 1710.03740, section 3.2; numbers of ``keras.optimizers.LossScaleOptimizer``).
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from simclr_tf2 import distribution


@keras.saving.register_keras_serializable(package="simclr_tf2")
class DynamicLossScale(keras.optimizers.LossScaleOptimizer):
    """Keras's loss scaling, with one decision for all replicas on which step to skip.

    Keras's own looks at the gradients of the first replica, before they are summed;
    an overflow in another would reach the weights. The wrapped optimizer's iterations
    count the steps that were taken, so that its schedule waits for those skipped, and
    stands with the scale in its ``variables``, hence in every checkpoint.
    """

    def check_finite(self, grads: list[tf.Tensor | None]) -> tf.Tensor:
        """Return whether no gradient of any replica is infinite or NaN."""
        finite = super().check_finite(grads)
        share = distribution.all_reduce_mean(tf.cast(finite, tf.float32))
        return tf.equal(share, 1.0)


def with_loss_scale(
    optimizer: keras.optimizers.Optimizer, mixed_precision: str
) -> keras.optimizers.Optimizer:
    """Wrap ``optimizer`` where the precision needs it (float16), else return it."""
    if mixed_precision != "float16":
        return optimizer
    return DynamicLossScale(optimizer, name="loss_scale")


def scalars(optimizer: keras.optimizers.Optimizer, step: int) -> dict[str, Any]:
    """Return ``loss_scale`` and ``skipped_steps`` of ``step`` to log; else nothing."""
    if not isinstance(optimizer, DynamicLossScale):
        return {}
    return {
        "loss_scale": float(optimizer.dynamic_scale.numpy()),
        "skipped_steps": float(step - int(optimizer.iterations.numpy())),
    }
