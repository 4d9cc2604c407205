"""What workers tell one another, with threads in the place of processes."""

import threading

import pytest
import tensorflow as tf

from simclr_tf2.distribution import Cluster, Workers, multi_worker, workers
from simclr_tf2.errors import ConfigError, NotFinite, RunFailed

ADDRESSES = ("a:1", "b:2", "c:3")


class Meeting:
    """A place where the workers of several threads exchange values."""

    def __init__(self, count):
        self.texts = [None] * count
        self.barrier = threading.Barrier(count, timeout=20)

    def gather(self, index, text):
        self.texts[index] = text
        self.barrier.wait()
        found = list(self.texts)
        self.barrier.wait()
        return found


def on_each(act, count=3):
    """Call ``act`` for each worker in a thread; return results or errors."""
    meeting, found = Meeting(count), [None] * count

    def run(index):
        team = Workers(None, Cluster(ADDRESSES[:count], index))
        team._gathered = lambda text: meeting.gather(index, text)
        try:
            found[index] = act(team)
        except Exception as error:
            found[index] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_one_worker_sends_nothing():
    team = workers(tf.distribute.OneDeviceStrategy("/cpu:0"))
    assert (team.count, team.index, team.is_chief) == (1, 0, True)
    assert team.exchange({"a": 1}) == [{"a": 1}]
    assert team.together(lambda: 3) == team.by_chief(lambda: 3) == 3
    team.require_equal({"a": object()})


def test_every_worker_gets_the_values_of_all():
    found = on_each(lambda team: team.exchange({"index": team.index}))
    assert found == [[{"index": 0}, {"index": 1}, {"index": 2}]] * 3
    assert on_each(lambda team: team.of_chief(team.index)) == [0, 0, 0]


def test_an_error_of_one_worker_is_raised_on_all_and_names_it():
    def act(team):
        def make():
            if team.index == 1:
                raise ConfigError("no such folder")
            return team.index

        return team.together(make)

    first, second, third = on_each(act)
    assert str(second) == "no such folder"
    for error in (first, third):
        assert type(error) is ConfigError
        assert str(error) == "worker 1 (b:2): no such folder"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (NotFinite("x"), NotFinite),
        (KeyError("x"), RunFailed),
        (ValueError(), RunFailed),
    ],
)
def test_other_workers_raise_the_same_kind_of_error(raised, kind):
    def act(team):
        def make():
            raise raised

        return team.by_chief(make)

    first, second = on_each(act, 2)
    assert first is raised and type(second) is kind
    assert str(second).startswith("worker 0 (a:1): ")


def test_only_the_chief_acts_while_the_others_wait():
    acted = []
    found = on_each(lambda team: team.by_chief(lambda: acted.append(team.index) or 7))
    assert found == [7, None, None] and acted == [0]


def test_workers_with_equal_facts_go_on():
    assert on_each(lambda team: team.require_equal({"a": 1, "b": (2,)})) == [None] * 3


def test_what_differs_is_named_with_its_values_on_every_worker():
    def act(team):
        team.require_equal(
            {
                "--train_batch_size": 64 if team.index < 2 else 32,
                "same": 1,
                "--seed": team.index,
            }
        )

    errors = on_each(act)
    for error in errors:
        assert isinstance(error, ConfigError)
        assert "--train_batch_size is 64 on workers 0, 1, 32 on worker 2" in str(error)
        assert "--seed is 0 on worker 0, 1 on worker 1, 2 on worker 2" in str(error)
        assert "same" not in str(error).split(". ")[0]


def test_many_differences_are_counted():
    def act(team):
        team.require_equal({f"--s{i}": team.index for i in range(9)})

    assert all("and 6 more" in str(error) for error in on_each(act))


def test_an_error_of_another_kind_is_not_taken_for_a_lost_worker():
    team = Workers(None, Cluster(ADDRESSES, 0))
    error = tf.errors.ResourceExhaustedError(None, None, "out of memory")
    with pytest.raises(tf.errors.ResourceExhaustedError), team.explaining():
        raise error


def test_an_error_of_this_worker_stays_when_all_others_are_there(monkeypatch):
    monkeypatch.setattr(Cluster, "unreachable", lambda _: [])
    monkeypatch.setattr(multi_worker, "PROBE_SECONDS", 0.0)
    team = Workers(None, Cluster(ADDRESSES, 0))
    with pytest.raises(tf.errors.InternalError), team.explaining():
        raise tf.errors.InternalError(None, None, "cuDNN failed")
    with pytest.raises(RunFailed, match="lost their connection .reset by peer"):
        with team.explaining():
            text = "Graph execution error:\n\nDetected at node x\nreset by peer"
            raise tf.errors.UnavailableError(
                None, None, f"{text}\n\t [[{{{{node x}}}}]]"
            )


def test_unreachable_workers_are_named_whatever_the_error_says(monkeypatch):
    monkeypatch.setattr(Cluster, "unreachable", lambda _: [1])
    team = Workers(None, Cluster(ADDRESSES, 0))
    with pytest.raises(RunFailed, match=r"worker 1 \(b:2\) is lost.*from step 0"):
        with team.explaining():
            raise tf.errors.InternalError(None, None, "RecvBuf")


def test_a_lost_worker_is_named_by_the_health_check():
    team = Workers(None, Cluster(ADDRESSES, 0))
    team.saved = 30
    text = "cluster check alive failed, /job:worker/replica:0/task:2 is down"
    with pytest.raises(RunFailed) as error, team.explaining():
        raise tf.errors.UnavailableError(None, None, text)
    assert str(error.value).startswith("worker 2 (c:3) is lost or does not answer")
    assert "Step 30 is saved: start the same command" in str(error.value)
