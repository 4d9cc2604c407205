"""One training step; the only place that divides by the number of replicas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2 import augmentations, distribution, optimizers
from simclr_tf2.training.loop import Step

# The paper's Algorithm 1 averages over 2N rows, and so does the loss that is reported;
# the reference code minimises the sum of the two directions. Its weight beside weight
# decay and the supervised loss, and the step of what LARS does not adapt, are kept.
CONTRASTIVE_WEIGHT = 2.0

ContrastiveLoss = Callable[[tf.Tensor], tuple[tf.Tensor, dict[str, tf.Tensor]]]


def pretrain_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    contrastive_loss: ContrastiveLoss,
    *,
    decayed_variables: Sequence[keras.Variable] = (),
    weight_decay: float = 0.0,
    supervised: bool = False,
) -> Step:
    """Build the SimCLR update (paper, Algorithm 1) for one replica.

    Both views go through the backbone in one call, so that batch norm sees them
    together. With ``supervised`` a linear head behind a stop-gradient learns beside.

    Args:
        model: A ``SimCLR`` model: images -> representation, projection, logits.
        optimizer: Built for ``model.trainable_variables``.
        contrastive_loss: ``[2n, d]`` projections -> (mean loss, metrics).
        decayed_variables: Variables whose L2 norm is added to the loss.
        weight_decay: Factor of that term.
        supervised: Train the supervised head on ``batch["label"]``.

    Returns:
        A function of a batch ``{"views": ([n, s, s, c], [n, s, s, c]), "label": [n]}``
        that updates the model and returns scalars of this replica. Views of another
        size may stand in "local_views"; the supervised head does not see them.
    """
    variables = model.trainable_variables

    def step(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        images = tf.concat(batch["views"], axis=0)
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            projections = [outputs["projection"]]
            if "local_views" in batch:  # multi-crop: another size, another pass
                local = tf.concat(batch["local_views"], axis=0)
                projections.append(model(local, training=True)["projection"])
            loss, scalars = contrastive_loss(tf.concat(projections, axis=0))
            scalars = {"loss": loss, **scalars}
            penalty = weight_decay * optimizers.l2_loss(decayed_variables)
            total = CONTRASTIVE_WEIGHT * loss + tf.cast(penalty, loss.dtype)
            if supervised:
                labels = tf.concat([batch["label"]] * len(batch["views"]), axis=0)
                head_loss, head_scalars = classification(outputs["logits"], labels)
                scalars.update(head_scalars)
                total = total + tf.cast(head_loss, total.dtype)
            # Optimizers sum gradients over replicas, hence the mean here.
            scaled = optimizer.scale_loss(total / distribution.replica_count())
        gradients = tape.gradient(scaled, variables)
        optimizer.apply_gradients(
            [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        )
        scalars["total_loss"] = total
        return scalars

    return step


def with_views_finished(step: Step, *, use_blur: bool) -> Step:
    """Build the step for batches whose views the host has cropped only.

    Args:
        step: Takes the batch with finished views.
        use_blur: Whether views are blurred with probability 0.5.

    Returns:
        A function of the batches of ``ViewSpec(on_device=True)``.
    """

    def finish_and_step(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        return step(augmentations.finish_batch(batch, use_blur=use_blur))

    return finish_and_step


def finetune_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    variables: Sequence[keras.Variable],
    *,
    decayed_variables: Sequence[keras.Variable] = (),
    weight_decay: float = 0.0,
) -> Step:
    """Build the supervised update of one replica.

    Args:
        model: A ``SimCLR`` model with a supervised head; frozen layers run in inference
            mode whatever this asks for.
        optimizer: Built for ``variables``.
        variables: What is trained.
        decayed_variables: Variables whose L2 norm is added to the loss.
        weight_decay: Factor of that term.

    Returns:
        A function of a batch ``{"image": [n, s, s, c], "label": [n]}`` that updates the
        model and returns scalars of this replica.
    """

    def step(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = model.finetune_logits(batch["image"], training=True)
            loss, scalars = classification(logits, batch["label"])
            penalty = weight_decay * optimizers.l2_loss(decayed_variables)
            total = loss + tf.cast(penalty, loss.dtype)
            scaled = optimizer.scale_loss(total / distribution.replica_count())
        gradients = tape.gradient(scaled, variables)
        optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))
        return {
            "loss": loss,
            "supervised_accuracy": scalars["supervised_accuracy"],
            "total_loss": total,
        }

    return step


def classification(
    logits: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Return mean cross-entropy and top-1 of logits ``[n, classes]``, in float32 up."""
    if logits.dtype != tf.float64:
        logits = tf.cast(logits, tf.float32)
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
    hit = tf.equal(tf.argmax(logits, axis=-1), tf.cast(labels, tf.int64))
    return loss, {
        "supervised_loss": loss,
        "supervised_accuracy": tf.reduce_mean(tf.cast(hit, tf.float32)),
    }
