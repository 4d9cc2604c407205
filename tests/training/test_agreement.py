"""What several workers agree on at each chunk."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.distribution import Cluster, Workers
from simclr_tf2.errors import RunFailed
from simclr_tf2.training.agreement import PARTS, SIGNALS, Agreement


class Fixed:
    """A pace and a request to stop with fixed answers."""

    def __init__(self, steps=1, stop=False):
        self.length, self.stop = steps, stop

    def steps(self):
        return self.length

    def is_set(self):
        return self.stop


class Replicas:
    """The count of a strategy, whose graph is not needed here."""

    def __init__(self, count):
        self.num_replicas_in_sync = count


def agreement(count=2, index=0, *, steps=1, stop=False, variables=(), strategy=None):
    strategy = strategy or Replicas(count)
    addresses = tuple(f"localhost:{i + 1}" for i in range(count))
    team = Workers(strategy, Cluster(addresses, index) if count > 1 else None)
    fixed = Fixed(steps, stop)
    return Agreement(strategy, team, fixed, fixed, variables)


def sums(*signals, norms=1.0, own=1.0):
    """Return the sums of the signals of two workers with one replica each."""
    total = np.sum(signals, axis=0)
    rows = [total, np.full(PARTS, 2 * norms), np.full(PARTS, own)]
    return tf.constant(np.concatenate(rows), tf.float32)


def test_one_worker_follows_its_own_pace_and_signal():
    alone = agreement(count=1, steps=7, stop=True)
    assert alone.steps == 7 and alone.stops
    assert alone.summed(alone.signals()).shape == [0]


def test_a_stop_of_any_worker_is_heard_by_all_after_the_next_chunk():
    team = agreement(steps=3)
    assert not team.stops and team.steps == 3
    team.launched(sums([0, 0, 5], [1, 0, 0]))
    assert not team.stops  # the chunk may still run
    team.launched(sums([0, 0, 5], [0, 0, 0]))
    assert team.stops and team.steps == 5


def test_only_the_chief_chooses_the_length_of_a_chunk():
    chief, other = agreement(index=0, steps=9), agreement(index=1, steps=4, stop=True)
    assert chief.signals().numpy().tolist() == [0, 0, 9]
    assert other.signals().numpy().tolist() == [1, 0, 0]


def test_replicas_of_one_worker_count_once(two_replicas):
    with two_replicas.scope():
        weights = [tf.Variable([1.0, -2.0]), tf.Variable([3.0])]
    team = agreement(strategy=two_replicas, count=2, steps=6, variables=weights)
    found = tf.function(team.summed)(team.signals()).numpy()
    assert found.shape == (SIGNALS + 2 * PARTS,)
    np.testing.assert_array_equal(found[:SIGNALS], [0, 0, 12])  # two replicas
    np.testing.assert_array_equal(found[SIGNALS : SIGNALS + 2], [6, 6])
    np.testing.assert_array_equal(found[SIGNALS + PARTS :][:2], [3, 3])


def test_rounding_is_no_difference_and_other_weights_are():
    same, other = agreement(), agreement()
    for team, own in ((same, 1.00001), (other, 1.01)):
        team.launched(sums([0, 0, 1], [0, 0, 0], own=own))
        team.launched(sums([0, 0, 1], [0, 0, 0]))
    assert same.signals().numpy()[1] == 0
    assert other.signals().numpy()[1] == 1


def test_other_weights_on_any_worker_end_all_and_it_is_named(monkeypatch):
    each = [[1.0] * PARTS, [1.0] * PARTS, [1.01] * PARTS]
    monkeypatch.setattr(Workers, "exchange", lambda *_: each)
    team = agreement(count=3)
    team.launched(sums([0, 1, 1], [0, 0, 0], [0, 0, 0]))
    with pytest.raises(RunFailed, match=r"worker 2 \(localhost:3\) trains other"):
        team.launched(sums([0, 0, 1], [0, 0, 0], [0, 0, 0]))


def test_the_last_chunk_is_compared_too(monkeypatch):
    answers = [[[1.0] * PARTS, [1.0] * PARTS], [False, True]]
    monkeypatch.setattr(Workers, "exchange", lambda *_: answers.pop(0))
    team = agreement()
    team.launched(sums([0, 0, 1], [0, 0, 0]))
    assert team.ends_with_stop()  # worker 1 got a signal
    answers[:] = [[[1.0] * PARTS, [2.0] * PARTS]]
    with pytest.raises(RunFailed, match="trains other weights"):
        team.ends_with_stop()
