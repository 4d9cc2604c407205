"""Classification metrics from counts, so that no batch is weighted by its size."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def top_k_count(
    scores: tf.Tensor, labels: tf.Tensor, *, k: int = 1, mask: tf.Tensor | None = None
) -> tf.Tensor:
    """Count the examples whose label is among the k highest scores.

    Among equal scores the lower class comes first, so constant scores do not count as
    right for every class. k is cut to the number of classes.

    Args:
        scores: ``[n, c]`` logits or any score that grows with belief.
        labels: ``[n]`` integers; a label outside 0 .. c - 1 is never found.
        k: 1 or greater.
        mask: ``[n]`` bool, False on padding; all True if not given.

    Returns:
        Scalar int32.
    """
    classes = scores.shape[-1]
    if k < 1:
        raise ValueError(f"k must be 1 or greater. Received: k={k}.")
    _, best = tf.math.top_k(tf.cast(scores, tf.float32), k=min(k, classes))
    hit = tf.reduce_any(best == tf.cast(labels, tf.int32)[:, None], axis=1)
    if mask is not None:
        hit = tf.logical_and(hit, tf.cast(mask, tf.bool))
    return tf.reduce_sum(tf.cast(hit, tf.int32))


def accuracy(correct: int, total: int) -> float:
    """Return the share of right answers, 0 to 1.

    Raises:
        ValueError: ``total`` is 0: nothing was evaluated.
    """
    if total <= 0:
        raise ValueError(f"accuracy needs at least one example. Received: {total}.")
    return float(correct) / float(total)


def no_information_rate(labels: np.ndarray) -> float:
    """Return the share, 0 to 1, of the most frequent of ``labels`` [n], n > 0."""
    counts = np.unique(labels, return_counts=True)[1]
    return float(counts.max() / counts.sum())


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """Count ``[num_classes, num_classes]`` int64, rows true and columns predicted.

    Args:
        labels: ``[n]`` integers from 0 to ``num_classes`` - 1.
        predictions: ``[n]`` integers from 0 to ``num_classes`` - 1.
        num_classes: Of the training data: a test split may lack some.

    Raises:
        ValueError: Lengths differ or a class is out of range.
    """
    labels = np.asarray(labels, np.int64).ravel()
    predictions = np.asarray(predictions, np.int64).ravel()
    if labels.shape != predictions.shape:
        raise ValueError(
            "labels and predictions must be equally long. "
            f"Received: {labels.size} and {predictions.size}."
        )
    for name, values in (("labels", labels), ("predictions", predictions)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise ValueError(
                f"{name} must be from 0 to {num_classes - 1}. "
                f"Received: {values.min()} to {values.max()}."
            )
    flat = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def per_class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Return the recall of each class ``[c]`` float64; NaN for one without examples."""
    confusion = np.asarray(confusion)
    counts = confusion.sum(axis=1)
    right = np.diag(confusion).astype(np.float64)
    recalls = np.full(len(counts), np.nan)
    np.divide(right, counts, out=recalls, where=counts > 0)
    return recalls


def mean_per_class_accuracy(confusion: np.ndarray) -> float:
    """Return the mean recall of the classes that occur (SimCLR, appendix B.8.1).

    Raises:
        ValueError: No example was counted.
    """
    if not np.asarray(confusion).sum():
        raise ValueError("mean per-class accuracy needs at least one example.")
    return float(np.nanmean(per_class_accuracy(confusion)))
