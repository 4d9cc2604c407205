"""The SimCLR update of a batch that does not fit, one micro-batch at a time.

The loss needs the projections of the whole batch, but the network does not: once the
derivative of the loss by every projection is known, each micro-batch can send its share
back alone. So the step runs the network over all micro-batches without keeping
activations, takes the loss and its gradient by the projections, and runs it over them
again with that gradient at its output (the gradient cache of Gao et al., arXiv
2101.06983). It costs a forward pass more and is exact: no negatives are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2 import distribution, optimizers
from simclr_tf2.config import MICRO_BATCH_NORMS
from simclr_tf2.errors import ConfigError
from simclr_tf2.training.micro_batches import MicroBatches
from simclr_tf2.training.steps import (
    CONTRASTIVE_WEIGHT,
    ContrastiveLoss,
    Step,
    classification,
)


def cached_gradient_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    contrastive_loss: ContrastiveLoss,
    *,
    micro_batch_size: int,
    decayed_variables: Sequence[keras.Variable] = (),
    weight_decay: float = 0.0,
    supervised: bool = False,
    batch_norm: str = "micro",
) -> Step:
    """Build ``pretrain_step`` in the memory of a micro-batch, for one replica.

    The update is that of ``pretrain_step`` up to what batch norm sees:

    - ``micro``: in training mode, with the statistics of one micro-batch, both views of
      its images together (and the same micro-batch of all replicas where batch norm is
      synchronised). Both passes normalise alike. Moving statistics take one step per
      micro-batch, all in the second pass: the model's state is put back after the
      first, dropout seeds too, so that the second sees the same masks. With one
      micro-batch this is ``pretrain_step`` itself.
    - ``frozen``: the model runs in inference mode, with moving statistics that stay;
      the update does not depend on ``micro_batch_size``.

    One device, or any number of replicas in ``frozen`` mode, loops in the graph;
    otherwise the loop is unrolled, since replicas cannot meet inside of one: the same
    memory, but a graph that grows with the number of micro-batches.

    Args:
        model: As in ``pretrain_step``.
        optimizer: As in ``pretrain_step``.
        contrastive_loss: ``[2n, d]`` projections -> (mean loss, metrics).
        micro_batch_size: Images of this replica at a time, both views each; has to
            divide the replica's batch.
        decayed_variables: Variables whose L2 norm is added to the loss.
        weight_decay: Factor of that term.
        supervised: Train the supervised head on ``batch["label"]``.
        batch_norm: One of ``MICRO_BATCH_NORMS``.

    Returns:
        A function of a batch as in ``pretrain_step``, with the same scalars; it raises
        ``ConfigError`` when traced with a batch that is no multiple.

    Raises:
        ConfigError: ``micro_batch_size`` or ``batch_norm`` is out of range.
    """
    if micro_batch_size < 1:
        raise ConfigError(
            f"--micro_batch_size must be at least 1. Received: {micro_batch_size}."
        )
    if batch_norm not in MICRO_BATCH_NORMS:
        raise ConfigError(
            f"batch_norm must be one of {', '.join(MICRO_BATCH_NORMS)}. "
            f"Received: {batch_norm!r}."
        )
    passes = _Passes(model, training=batch_norm == "micro", supervised=supervised)

    def step(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        micro = MicroBatches(batch, micro_batch_size)
        projections = passes.forward(micro)
        factor = optimizer.scale_loss(1 / distribution.replica_count())
        loss, scalars, cached = _loss_and_gradient(
            contrastive_loss, projections, factor
        )
        scalars = {"loss": loss, **scalars}
        gradients, penalty = _penalty(model, decayed_variables, weight_decay, factor)
        total = CONTRASTIVE_WEIGHT * loss + tf.cast(penalty, loss.dtype)
        gradients, head_scalars = passes.backward(micro, cached, gradients, factor)
        scalars.update(head_scalars)
        if supervised:
            total += tf.cast(head_scalars["supervised_loss"], total.dtype)
        pairs = zip(gradients, model.trainable_variables, strict=True)
        optimizer.apply_gradients([(g, v) for g, v in pairs if g is not None])
        scalars["total_loss"] = total
        return scalars

    return step


class _Passes:
    """The two runs of the network over the micro-batches."""

    def __init__(self, model: keras.Model, *, training: bool, supervised: bool) -> None:
        self._model, self._training, self._supervised = model, training, supervised

    def forward(self, micro: MicroBatches) -> tf.Tensor:
        """Return projections ``[views * n, d]`` of the batch; keep no activations."""
        state = self._model.non_trainable_variables if self._training else []
        before = [tf.identity(variable.value) for variable in state]
        spec = self._model.projection_head.outputs[-1]
        found = tf.TensorArray(
            spec.dtype, size=micro.count, element_shape=[micro.rows, spec.shape[-1]]
        )

        def body(index: Any, found: tf.TensorArray) -> tf.TensorArray:
            outputs = self._model(micro.images(index), training=self._training)
            return found.write(index, outputs["projection"])

        projections = micro.join(self._each(micro.count, body, found).stack())
        for variable, value in zip(state, before, strict=True):
            variable.assign(value)
        return projections

    def backward(
        self,
        micro: MicroBatches,
        cached: tf.Tensor,
        gradients: list[Any],
        factor: Any,
    ) -> tuple[list[Any], dict[str, tf.Tensor]]:
        """Add the gradients of all micro-batches.

        Args:
            micro: The batch.
            cached: Gradient by the projections, ``[views * n, d]``.
            gradients: By trainable variable, of whatever else; None: none.
            factor: Of all losses: one over the replicas, times the loss scale.

        Returns:
            The sums, None for variables that nothing depends on, and the supervised
            head's scalars, means over the batch.
        """
        variables = self._model.trainable_variables
        cached = micro.split(cached)
        connected = [gradient is not None for gradient in gradients]
        sums = [
            tf.zeros(v.shape, v.dtype) if g is None else tf.convert_to_tensor(g)
            for g, v in zip(gradients, variables, strict=True)
        ]
        names = ("supervised_loss", "supervised_accuracy") if self._supervised else ()

        def body(index: Any, state: Any) -> Any:
            sums, scalars = state
            found, values = self._gradients(micro, index, cached[index], factor)
            for i, gradient in enumerate(found):  # known when traced, once
                connected[i] = connected[i] or gradient is not None
            sums = [
                total if gradient is None else total + gradient
                for total, gradient in zip(sums, found, strict=True)
            ]
            return sums, {n: scalars[n] + values[n] / micro.count for n in names}

        zeros = {name: tf.zeros([], self._scalar_dtype(name)) for name in names}
        sums, scalars = self._each(micro.count, body, (sums, zeros))
        kept = zip(sums, connected, strict=True)
        return [total if yes else None for total, yes in kept], scalars

    def _gradients(
        self, micro: MicroBatches, index: Any, cached: tf.Tensor, factor: Any
    ) -> tuple[list[Any], dict[str, tf.Tensor]]:
        """Return a micro-batch's gradients by trainable variable, and head scalars."""
        with tf.GradientTape() as tape:
            outputs = self._model(micro.images(index), training=self._training)
            targets, weights = [outputs["projection"]], [cached]
            scalars: dict[str, tf.Tensor] = {}
            if self._supervised:
                loss, scalars = classification(outputs["logits"], micro.labels(index))
                targets.append(loss)
                weights.append(_as(factor / micro.count, loss.dtype))
        variables = self._model.trainable_variables
        return tape.gradient(targets, variables, output_gradients=weights), scalars

    def _scalar_dtype(self, name: str) -> tf.DType:
        double = self._model.supervised_head.outputs[0].dtype == "float64"
        return tf.float64 if double and name == "supervised_loss" else tf.float32

    def _each(self, count: int, body: Callable[[Any, Any], Any], state: Any) -> Any:
        """Fold ``body`` over 0 .. count - 1, one after the other."""
        if count == 1 or (self._training and _assigns_together()):
            for index in range(count):
                # One at a time, or activations of several would be held together.
                with tf.control_dependencies(_tensors(state)):
                    state = body(index, state)
            return state
        _, state = tf.while_loop(
            lambda index, _: index < count,
            lambda index, state: (index + 1, body(index, state)),
            (tf.constant(0), state),
            parallel_iterations=1,
            maximum_iterations=count,
        )
        return state


def _assigns_together() -> bool:
    """Return whether replicas meet when a moving statistic is assigned.

    Those of a mirrored strategy do, also if there is only one.
    """
    strategy = tf.distribute.get_strategy()
    kinds = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)
    return distribution.replica_count() > 1 or isinstance(strategy, kinds)


def _loss_and_gradient(
    contrastive_loss: ContrastiveLoss, projections: tf.Tensor, factor: Any
) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor]:
    """Return the loss, its scalars and its gradient by ``projections``.

    All replicas' losses count in the gradient: it flows through the gathered columns.
    """
    with tf.GradientTape() as tape:
        tape.watch(projections)
        loss, scalars = contrastive_loss(projections)
        scaled = CONTRASTIVE_WEIGHT * loss * _as(factor, loss.dtype)
    return loss, scalars, tape.gradient(scaled, projections)


def _penalty(
    model: keras.Model,
    decayed: Sequence[keras.Variable],
    weight_decay: float,
    factor: Any,
) -> tuple[list[Any], tf.Tensor]:
    """Return gradients of the L2 term by trainable variable, and the term itself."""
    with tf.GradientTape() as tape:
        penalty = weight_decay * optimizers.l2_loss(decayed)
        scaled = penalty * _as(factor, penalty.dtype)
    return tape.gradient(scaled, model.trainable_variables), penalty


def _as(factor: Any, dtype: tf.DType) -> tf.Tensor:
    """Convert to ``dtype``; ``tf.cast`` would first make a number float32."""
    number = isinstance(factor, float)
    return tf.constant(factor, dtype) if number else tf.cast(factor, dtype)


def _tensors(state: Any) -> list[tf.Tensor]:
    """List the tensors that the next of several unrolled turns waits for."""
    leaves = tf.nest.flatten(state, expand_composites=True)
    return [leaf.flow if isinstance(leaf, tf.TensorArray) else leaf for leaf in leaves]
