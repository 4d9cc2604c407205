"""NT-Logistic: binary classification of pairs (SimCLR, arXiv 2002.05709, table 2)."""

from __future__ import annotations

import tensorflow as tf

from simclr_tf2.losses.candidates import (
    Candidates,
    accuracy,
    mean_of_negatives,
    other_view,
    semi_hard_negative,
)


def nt_logistic(
    projections: tf.Tensor,
    *,
    temperature: float = 0.1,
    normalize: bool = True,
    semi_hard: bool = False,
) -> tf.Tensor:
    """Return the normalised temperature-scaled logistic loss of a batch of pairs.

    For each of the 2n rows u with positive v+, minimise

        -log sigmoid(u.v+ / t) - mean over v- of log sigmoid(-u.v- / t)

    and average over rows. The paper's table 2 writes one negative; the mean over
    negatives (of the other view, of all replicas) keeps the two terms in balance at any
    batch size [ours]. Chance level, all similarities 0: 2 ln 2.

    In a replica context the mean over replicas is the loss of the joined batch, and
    gradients flow as those of ``nt_xent``.

    Args:
        projections: ``[2n, d]`` floating point, view 1 rows then view 2 rows. Computed
            in float32 (float64 input: in float64) under any precision policy.
        temperature: Greater than 0; the paper tried 0.1, 0.2, 0.5 and 1.
        normalize: L2-normalise the rows, as the paper does for all losses it compares.
        semi_hard: Instead of all negatives only the most similar one of those that are
            less similar than the positive. A row without one keeps its first term and
            still counts in the mean over rows [ours].

    Returns:
        Scalar float32 (float64 for float64 input).

    Raises:
        ValueError: ``projections`` is not ``[2n, d]``, or ``temperature`` is not
            positive.
    """
    _check(temperature)
    return _loss(other_view(projections, normalize=normalize), temperature, semi_hard)


def nt_logistic_and_metrics(
    projections: tf.Tensor,
    *,
    temperature: float = 0.1,
    normalize: bool = True,
    semi_hard: bool = False,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Return ``nt_logistic`` and ``contrastive_accuracy``; same arguments."""
    _check(temperature)
    candidates = other_view(projections, normalize=normalize)
    loss = _loss(candidates, temperature, semi_hard)
    return loss, {"contrastive_accuracy": accuracy(candidates)}


def _check(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(
            f"temperature must be greater than 0. Received: {temperature}."
        )


def _loss(candidates: Candidates, temperature: float, semi_hard: bool) -> tf.Tensor:
    # -log sigmoid(x) = softplus(-x)
    attraction = tf.math.softplus(-candidates.positive / temperature)
    if semi_hard:
        negative, found = semi_hard_negative(candidates)
        repulsion = tf.math.softplus(negative / temperature)
        repulsion = tf.where(found, repulsion, tf.zeros_like(repulsion))
    else:
        terms = tf.math.softplus(candidates.similarity / temperature)
        repulsion = mean_of_negatives(terms, candidates)
    return tf.reduce_mean(attraction + repulsion)
