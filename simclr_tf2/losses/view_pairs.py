"""More than two views of an image: the loss of every pair of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import tensorflow as tf

Metrics = dict[str, tf.Tensor]
PairLoss = Callable[[tf.Tensor], tuple[tf.Tensor, Metrics]]


def over_view_pairs(loss: PairLoss, *, num_views: int) -> PairLoss:
    """Average a two-view loss over all pairs of ``num_views`` views [ours].

    Every ordered pair of views of an image is a positive pair once. The negatives of a
    pair are the other images in its two views, so that no positive ever stands in a
    denominator, and with two views it is the loss itself.

    Args:
        loss: ``[2n, d]``, the rows of one view then those of another -> (loss,
            metrics).
        num_views: v, 2 or more.

    Returns:
        A function of ``[v n, d]``, the rows of view 1, then those of view 2, ...
    """
    assert num_views >= 2, num_views
    if num_views == 2:
        return loss

    def mean_loss(projections: tf.Tensor) -> tuple[tf.Tensor, Metrics]:
        views = tf.split(projections, num_views)
        found = [
            loss(tf.concat(pair, axis=0)) for pair in itertools.combinations(views, 2)
        ]
        metrics = {
            name: tf.reduce_mean([metrics[name] for _, metrics in found])
            for name in found[0][1]
        }
        return tf.reduce_mean([value for value, _ in found]), metrics

    return mean_loss
