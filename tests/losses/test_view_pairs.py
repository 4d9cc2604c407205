import itertools

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import losses
from simclr_tf2.losses.view_pairs import over_view_pairs


def cross_entropy(z, i, j, temperature):
    """Algorithm 1 of the paper for views i and j, by loops. z: [views, n, d]."""
    n = z.shape[1]
    rows = np.concatenate([z[i], z[j]])
    total = 0.0
    for a in range(2 * n):
        others = [rows[a] @ rows[b] / temperature for b in range(2 * n) if b != a]
        positive = rows[a] @ rows[(a + n) % (2 * n)] / temperature
        total += np.log(np.sum(np.exp(others))) - positive
    return total / (2 * n)


@pytest.mark.parametrize("views", [2, 3, 5])
def test_the_loss_is_the_mean_over_every_pair_of_views(views):
    z = np.random.default_rng(views).normal(size=(views, 3, 7))
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    pairs = itertools.combinations(range(views), 2)
    expected = np.mean([cross_entropy(z, i, j, 0.3) for i, j in pairs])

    def loss(rows):
        return losses.nt_xent_and_metrics(rows, temperature=0.3)

    value, metrics = over_view_pairs(loss, num_views=views)(
        tf.constant(z.reshape(-1, 7))
    )
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert 0 <= metrics["contrastive_accuracy"] <= 1


def test_two_views_are_left_to_the_loss_itself():
    assert over_view_pairs(len, num_views=2) is len
