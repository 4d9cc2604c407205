import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.data import order
from simclr_tf2.errors import ConfigError


def epoch_order(seed, epoch, size):
    key = order.order_key(seed, tf.constant(epoch, tf.int64))
    return order.permute(tf.range(size, dtype=tf.int64), key=key, size=size).numpy()


def splitmix(key, *values):
    """The same mixing in Python integers."""
    word = (1 << 64) - 1

    def mix(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & word
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & word
        return x ^ (x >> 31)

    for value in values:
        key = mix(key ^ mix(value + 0x9E3779B97F4A7C15 & word))
    return key


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100, 1023, 1025])
def test_every_index_occurs_once_in_an_epoch(size):
    for epoch in (0, 1, 77):
        assert sorted(epoch_order(3, epoch, size)) == list(range(size))


def test_orders_of_seeds_and_epochs_are_uncorrelated():
    size = 4001
    orders = [epoch_order(s, e, size) for s in (0, 1, -1, 2**40) for e in range(6)]
    centred = np.array(orders) - (size - 1) / 2
    correlation = centred @ centred.T / (centred[0] @ centred[0])
    others = correlation[~np.eye(len(orders), dtype=bool)]
    # The standard deviation between random permutations is 1 / sqrt(size - 1).
    assert np.abs(others).max() < 4.5 / np.sqrt(size)
    assert 0.8 < others.std() * np.sqrt(size) < 1.2
    neighbours = [np.corrcoef(o[1:], o[:-1])[0, 1] for o in orders]
    assert np.abs(neighbours).max() < 4.5 / np.sqrt(size)


def test_example_seeds_follow_the_published_mixing():
    index = tf.constant([0, 1, 10**12], tf.int64)
    for seed in (0, -5, 2**70 + 3):
        found = order.example_seeds(seed, tf.constant(9, tf.int64), index).numpy()
        root = seed & (2**64 - 1)
        expected = [splitmix(root, order._AUGMENT, 9, int(i)) for i in index]
        np.testing.assert_array_equal(
            found, np.array(expected, np.uint64).view(np.int32).reshape(3, 2)
        )


def test_example_seeds_do_not_collide_over_epochs_and_seeds():
    index = tf.range(5000, dtype=tf.int64)
    seeds = np.concatenate(
        [
            order.example_seeds(seed, tf.constant(epoch, tf.int64), index).numpy()
            for seed in (0, 1)
            for epoch in (0, 1, 2)
        ]
    )
    assert len(np.unique(seeds, axis=0)) == len(seeds)
    # Either word alone is as good as random: 30,000 draws from 2**32 hardly collide.
    assert all(len(np.unique(seeds[:, i])) > len(seeds) - 5 for i in (0, 1))


def test_shares_of_workers_and_steps_tile_the_epoch():
    size, batch = 23, 4
    for epoch in (0, 1):
        rows = []
        for step in range(epoch * 5, epoch * 5 + 5):
            for worker in (0, 1):
                plan = order.BatchPlan(
                    num_examples=size,
                    global_batch_size=batch,
                    num_workers=2,
                    worker_index=worker,
                )
                share = order.batch_order(
                    tf.constant(step, tf.int64), plan=plan, seed=1
                )
                rows.extend(share["index"].numpy())
        np.testing.assert_array_equal(rows, epoch_order(1, epoch, size)[:20])


def test_a_plan_knows_its_numbers():
    plan = order.BatchPlan(
        num_examples=50,
        global_batch_size=12,
        num_workers=2,
        worker_index=1,
        replicas_per_worker=3,
    )
    assert (plan.steps_per_epoch, plan.per_worker, plan.per_replica) == (4, 6, 2)
    assert plan.first_row == 6


def test_a_batch_larger_than_the_set_is_refused_with_what_would_do():
    with pytest.raises(ConfigError, match="23 images of the split; use 22 or fewer"):
        order.BatchPlan(num_examples=23, global_batch_size=64, replicas_per_worker=2)


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="multiple of the 4 replicas"):
        order.BatchPlan(
            num_examples=23,
            global_batch_size=10,
            num_workers=2,
            replicas_per_worker=2,
        )
