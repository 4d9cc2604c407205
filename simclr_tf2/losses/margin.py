"""Margin triplet loss (SimCLR, arXiv 2002.05709, table 2; FaceNet, 1503.03832)."""

from __future__ import annotations

import tensorflow as tf

from simclr_tf2.losses.candidates import (
    Candidates,
    accuracy,
    mean_of_negatives,
    other_view,
    semi_hard_negative,
)


def margin_triplet(
    projections: tf.Tensor,
    *,
    margin: float = 0.8,
    normalize: bool = True,
    semi_hard: bool = False,
) -> tf.Tensor:
    """Return the margin loss of a batch of pairs.

    For each of the 2n rows u with positive v+, minimise

        mean over v- of max(u.v- - u.v+ + margin, 0)

    and average over rows. The paper's table 2 writes one negative; the mean over
    negatives (of the other view, of all replicas) is ours. Collapse costs ``margin``.

    In a replica context the mean over replicas is the loss of the joined batch, and
    gradients flow as those of ``nt_xent``.

    Args:
        projections: ``[2n, d]`` floating point, view 1 rows then view 2 rows. Computed
            in float32 (float64 input: in float64) under any precision policy.
        margin: 0 or greater, in units of similarity; the paper tried 0, 0.4, 0.8 and
            1.6, and names no best.
        normalize: L2-normalise the rows, as the paper does for all losses it compares.
        semi_hard: Instead of all negatives only the most similar one of those with
            u.v+ - margin < u.v- < u.v+ (FaceNet, section 3.2). A row without one costs
            nothing and still counts in the mean over rows [ours], so ``margin`` 0
            leaves nothing to learn.

    Returns:
        Scalar float32 (float64 for float64 input).

    Raises:
        ValueError: ``projections`` is not ``[2n, d]``, or ``margin`` is negative.
    """
    _check(margin)
    return _loss(other_view(projections, normalize=normalize), margin, semi_hard)


def margin_triplet_and_metrics(
    projections: tf.Tensor,
    *,
    margin: float = 0.8,
    normalize: bool = True,
    semi_hard: bool = False,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Return ``margin_triplet`` and ``contrastive_accuracy``; same arguments."""
    _check(margin)
    candidates = other_view(projections, normalize=normalize)
    loss = _loss(candidates, margin, semi_hard)
    return loss, {"contrastive_accuracy": accuracy(candidates)}


def _check(margin: float) -> None:
    if not margin >= 0:
        raise ValueError(f"margin must be 0 or greater. Received: {margin}.")


def _loss(candidates: Candidates, margin: float, semi_hard: bool) -> tf.Tensor:
    positive = candidates.positive
    if semi_hard:
        # If the most similar one is outside of the margin, its excess is negative: 0.
        negative, found = semi_hard_negative(candidates)
        excess = tf.nn.relu(negative - positive + margin)
        return tf.reduce_mean(tf.where(found, excess, tf.zeros_like(excess)))
    excess = tf.nn.relu(candidates.similarity - positive[:, None] + margin)
    return tf.reduce_mean(mean_of_negatives(excess, candidates))
