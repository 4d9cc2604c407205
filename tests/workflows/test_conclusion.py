"""What workers do while worker 0 evaluates."""

import pytest

from simclr_tf2.errors import ConfigError, RunFailed
from simclr_tf2.workflows import conclusion


class Team:
    """Stands for the workers; ``lost`` is raised when all have done their part."""

    def __init__(self, index=0, lost=None):
        self.is_chief, self.lost = index == 0, lost

    def by_chief(self, make):
        made = make() if self.is_chief else None
        if self.lost:
            raise self.lost
        return made

    def together(self, make):
        return make()

    def of_chief(self, value):
        return value


def test_worker_0_returns_the_results_and_the_others_nothing():
    assert conclusion.by_chief(Team(), 3, lambda: {"step": 3}) == {"step": 3}
    assert conclusion.by_chief(Team(index=1), 3, lambda: {"step": 3}) == {}


def test_results_that_are_written_count_although_a_worker_was_lost(caplog):
    team = Team(lost=RunFailed("worker 1 is lost"))
    assert conclusion.by_chief(team, 3, lambda: {"step": 3}) == {"step": 3}
    assert "the results are complete, but worker 1 is lost" in caplog.text


@pytest.mark.parametrize("index", [0, 1])
def test_an_evaluation_that_failed_fails_on_every_worker(index):
    def evaluate():
        raise RunFailed("the disk is full")

    team = Team(index, lost=RunFailed("worker 0: the disk is full"))
    with pytest.raises(RunFailed, match="the disk is full"):
        conclusion.by_chief(team, 3, evaluate)


def test_a_refused_run_folder_is_refused_before_results_are_read():
    def check(_):
        raise ConfigError("another run")

    with pytest.raises(ConfigError, match="another run"):
        conclusion.finished_together(Team(), None, check)
