"""Convolution and batch normalisation as every network of this library uses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2.models.convolution import Conv2D

BATCH_NORM_EPSILON = 1e-5  # reference code


@keras.saving.register_keras_serializable(package="simclr_tf2")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalisation with its variables, on TensorFlow's fused kernel.

    Keras 3 composes batch normalisation of elementary operations; the fused kernel does
    the same in one pass over ``[n, h, w, c]``. Used where nothing is to be synchronised
    over replicas. Everything the kernel cannot do (other ranks or axes, masks, renorm,
    float64) falls back to the stock implementation, so results do not depend on which
    of the two ran, up to rounding. The moving variance takes the biased batch variance,
    as the stock layer and the reference code do; the kernel returns the unbiased one.
    Moving statistics that replicas take each from their own batch are averaged over
    them, as in the reference code; the stock layer would keep those of the first.
    """

    def add_weight(
        self, *args: Any, trainable: bool = True, **kwargs: Any
    ) -> keras.Variable:
        """Make a variable; replicas agree on the mean of one that is not trained."""
        if not trainable:
            kwargs["aggregation"] = "mean"
        return super().add_weight(*args, trainable=trainable, **kwargs)

    def call(
        self,
        inputs: tf.Tensor,
        training: bool | None = None,
        mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Normalise ``[n, h, w, c]``; same shape out, in the compute dtype."""
        inputs = tf.convert_to_tensor(inputs)
        if mask is not None or not self._kernel_can(inputs):
            return super().call(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        scale = tf.ones([channels]) if self.gamma is None else self.gamma
        offset = tf.zeros([channels]) if self.beta is None else self.beta
        use_batch = bool(training and self.trainable)
        empty = tf.zeros([0], tf.float32)
        outputs = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(scale),
            offset=tf.convert_to_tensor(offset),
            mean=empty if use_batch else tf.convert_to_tensor(self.moving_mean),
            variance=empty if use_batch else tf.convert_to_tensor(self.moving_variance),
            epsilon=self.epsilon,
            is_training=use_batch,
        )
        if use_batch:
            self._update_moving(inputs, outputs.batch_mean, outputs.batch_variance)
        return tf.cast(outputs.y, self.compute_dtype)

    def _kernel_can(self, inputs: tf.Tensor) -> bool:
        return (
            inputs.shape.rank == 4
            and self.axis in (-1, 3)
            and not getattr(self, "renorm", False)  # since Keras 3.14
            and not self.synchronized
            and inputs.dtype in _kernel_dtypes()
            and self.variable_dtype == "float32"
        )

    def _update_moving(
        self, inputs: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
    ) -> None:
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        biased = variance * ((count - 1.0) / count)
        for moving, batch in (
            (self.moving_mean, mean),
            (self.moving_variance, biased),
        ):
            kept = tf.convert_to_tensor(moving) * self.momentum
            moving.assign(kept + batch * (1.0 - self.momentum))


@keras.saving.register_keras_serializable(package="simclr_tf2")
class SyncBatchNormalization(keras.layers.BatchNormalization):
    """Keras's synchronised batch normalisation with one message a layer, not three.

    Replicas have equal shares of a batch, so the mean over them of their means, and of
    their mean squares, is that of the whole batch: one all-reduce of ``[2, channels]``
    forward, and one backward. Variables and mathematics are the stock layer's with
    ``synchronized=True``, which also does what this cannot (masks, other axes, renorm)
    and is what runs outside of replicas.
    """

    def call(
        self,
        inputs: tf.Tensor,
        training: bool | None = None,
        mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Normalise ``[.., c]``; same shape out, in the compute dtype."""
        context = tf.distribute.get_replica_context()
        alone = context is None or context.num_replicas_in_sync == 1
        inputs = tf.convert_to_tensor(inputs)
        last = self.axis in (-1, inputs.shape.rank - 1)
        renorm = getattr(self, "renorm", False)  # since Keras 3.14
        use_batch = training and self.trainable
        if alone or renorm or mask is not None or not (use_batch and last):
            return super().call(inputs, training=training, mask=mask)
        wide = tf.float64 if inputs.dtype == tf.float64 else tf.float32
        x = tf.cast(inputs, wide)
        axes = list(range(inputs.shape.rank - 1))
        local = [tf.reduce_mean(x, axes), tf.reduce_mean(tf.square(x), axes)]
        both = context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.stack(local))
        mean, square = tf.unstack(both)
        variance = tf.maximum(square - tf.square(mean), 0.0)
        for moving, batch in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            kept = tf.convert_to_tensor(moving) * self.momentum
            moving.assign(kept + tf.cast(batch, kept.dtype) * (1.0 - self.momentum))
        factor = tf.math.rsqrt(variance + self.epsilon)
        if self.gamma is not None:
            factor *= tf.cast(self.gamma, wide)
        outputs = (x - mean) * factor
        if self.beta is not None:
            outputs += tf.cast(self.beta, wide)
        return tf.cast(outputs, self.compute_dtype)


def _kernel_dtypes() -> set[tf.DType]:
    """Return the types that the kernel takes, also with a ReLU fused into it."""
    halves = {tf.float16} if tf.config.list_physical_devices("GPU") else set()
    return {tf.float32, tf.bfloat16} | halves


@dataclass(frozen=True, kw_only=True)
class LayerSettings:
    """Settings that all layers of one network share.

    Attributes:
        batch_norm_momentum: Share of the old moving statistics kept per step.
        synchronized_batch_norm: Batch statistics over all replicas.
        fused_batch_norm: Use the fused kernel; no effect when synchronised. Without
            either, all layers are stock layers of Keras.
        dtype: Keras dtype policy name such as ``"mixed_bfloat16"``; None: the global
            one.
        resnet_d: Pool before the 1x1 convolution of a shortcut (ResNet-D); None: where
            there are selective kernels (reference code).
        zero_init_residual: Start the last gamma of each residual block at 0.
    """

    batch_norm_momentum: float = 0.9
    synchronized_batch_norm: bool = False
    fused_batch_norm: bool = False
    dtype: str | None = None
    resnet_d: bool | None = None
    zero_init_residual: bool = True

    def uses_resnet_d(self, sk_ratio: float) -> bool:
        """Return whether a network with this ratio of selective kernels is ResNet-D."""
        return sk_ratio > 0 if self.resnet_d is None else self.resnet_d


def conv2d(
    inputs: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    *,
    strides: int = 1,
    use_bias: bool = False,
    name: str,
    settings: LayerSettings,
) -> keras.KerasTensor:
    """Convolve ``[n, h, w, c]`` to ``[n, h/strides, w/strides, filters]``.

    Padding of a strided kernel does not depend on the image size: ``(k - 1) // 2`` rows
    before and the rest after, then 'valid'; stride 1 is 'same'. Kernels start as
    VarianceScaling: truncated normal, fan-in (both from the reference code).
    """
    if strides > 1 and kernel_size > 1:
        before = (kernel_size - 1) // 2
        pad = (before, kernel_size - 1 - before)
        inputs = keras.layers.ZeroPadding2D(
            (pad, pad), name=f"{name}_pad", dtype=settings.dtype
        )(inputs)
    stock = not (settings.fused_batch_norm or settings.synchronized_batch_norm)
    layer = keras.layers.Conv2D if stock else Conv2D
    return layer(
        filters,
        kernel_size,
        strides=strides,
        padding="same" if strides == 1 else "valid",
        use_bias=use_bias,
        kernel_initializer=keras.initializers.VarianceScaling(),
        name=name,
        dtype=settings.dtype,
    )(inputs)


def batch_norm(
    inputs: keras.KerasTensor,
    *,
    relu: bool = True,
    zero_init: bool = False,
    center: bool = True,
    name: str,
    settings: LayerSettings,
) -> keras.KerasTensor:
    """Apply batch normalisation, then ReLU if asked; the shape is kept.

    ``zero_init`` starts gamma at 0: set on the last one of each residual block, so that
    every block starts as the identity (reference code). ``name`` should contain
    "batch_normalization": the optimizers' exclusion patterns look for it.
    """
    arguments = {
        "momentum": settings.batch_norm_momentum,
        "epsilon": BATCH_NORM_EPSILON,
        "center": center,
        "gamma_initializer": "zeros" if zero_init else "ones",
        "name": name,
        "dtype": settings.dtype,
    }
    if settings.synchronized_batch_norm:
        layer = SyncBatchNormalization(synchronized=True, **arguments)
    elif settings.fused_batch_norm:
        layer = FusedBatchNormalization(**arguments)
    else:
        layer = keras.layers.BatchNormalization(**arguments)
    outputs = layer(inputs)
    if relu:
        outputs = keras.layers.ReLU(name=f"{name}_relu", dtype=settings.dtype)(outputs)
    return outputs
