"""What a representation looks like without labels: collapse, spread, rank."""

from __future__ import annotations

import tensorflow as tf


def embedding_std(embeddings: tf.Tensor) -> tf.Tensor:
    """Return the mean standard deviation of L2-normalised embeddings over dimensions.

    Near 1 / sqrt(d) for embeddings spread evenly over the sphere, 0 for collapsed ones
    (arXiv 2011.10566, section 4.1).

    Args:
        embeddings: ``[n, d]``.

    Returns:
        Scalar, float32 (float64 for float64 input), as of all functions here.
    """
    x = tf.math.l2_normalize(_float(embeddings), axis=-1)
    return tf.reduce_mean(tf.math.reduce_std(x, axis=0))


def alignment(view1: tf.Tensor, view2: tf.Tensor) -> tf.Tensor:
    """Average the squared distance of L2-normalised pairs: 0 (equal) to 4 (opposite).

    ``align_loss`` with alpha 2 of arXiv 2005.10242, section 4.

    Args:
        view1: ``[n, d]``.
        view2: ``[n, d]``, row i the other view of row i.
    """
    x = tf.math.l2_normalize(_float(view1), axis=-1)
    y = tf.math.l2_normalize(_float(view2), axis=-1)
    return tf.reduce_mean(tf.reduce_sum(tf.square(x - y), axis=-1))


def uniformity(embeddings: tf.Tensor) -> tf.Tensor:
    """Return the log of the mean Gaussian potential over pairs, about -4 (even) to 0.

    log mean over i < j of exp(-2 |x_i - x_j|^2), x L2-normalised: ``uniform_loss`` with
    t 2 of arXiv 2005.10242, section 4. Takes n x n memory: give it a few thousand rows.

    Args:
        embeddings: ``[n, d]`` with n at least 2.
    """
    x = tf.math.l2_normalize(_float(embeddings), axis=-1)
    gram = tf.matmul(x, x, transpose_b=True)
    squares = tf.linalg.diag_part(gram)  # 1, but 0 for a zero row
    distances = squares[:, None] + squares[None, :] - 2.0 * gram
    potentials = tf.exp(-2.0 * tf.maximum(distances, 0.0))
    potentials = tf.linalg.set_diag(potentials, tf.zeros_like(squares))
    n = tf.cast(tf.shape(x)[0], x.dtype)
    return tf.math.log(tf.reduce_sum(potentials) / (n * (n - 1.0)))


def rankme(embeddings: tf.Tensor, *, epsilon: float = 1e-7) -> tf.Tensor:
    """Return the effective rank: exp of the entropy of the singular values.

    From 1 (a line) to min(n, d); the entropy is that of their distribution, the sum of
    -p_k log p_k with p_k = sigma_k / sum sigma + epsilon, with the embeddings as they
    are, neither centred nor normalised: arXiv 2210.02885, equations 1 and 2, epsilon
    for float32.

    Args:
        embeddings: ``[n, d]``.
        epsilon: Keeps the logarithm finite.
    """
    sigma = tf.linalg.svd(_float(embeddings), compute_uv=False)
    p = tf.math.divide_no_nan(sigma, tf.reduce_sum(sigma)) + epsilon
    return tf.exp(-tf.reduce_sum(p * tf.math.log(p)))


def _float(x: tf.Tensor) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
