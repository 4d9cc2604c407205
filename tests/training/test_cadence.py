"""Events by steps, and by what they are worth, with a clock of our own."""

from simclr_tf2.training import cadence
from simclr_tf2.training.cadence import Cadence, Schedule, Spacing


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def simulate(plan, *, seconds_per_step, save_seconds=0.0, look_seconds=0.0):
    """Steps of each event over a whole run."""
    clock = Clock()
    schedule = Schedule(plan, clock)
    found = {"log": [], "save": [], "look": []}
    for step in range(1, plan.total_steps + 1):
        clock.now += seconds_per_step
        if schedule.log(step):
            found["log"].append(step)
        if schedule.save(step):
            with schedule.saving():
                clock.now += save_seconds
            found["save"].append(step)
        if schedule.monitor(step):
            with schedule.looking():
                clock.now += look_seconds
            found["look"].append(step)
    return found


def plan(total, **changes):
    return Cadence(
        **{
            "total_steps": total,
            "log_every": 50,
            "checkpoint_every": 1,
            "monitor_every": 1,
            **changes,
        }
    )


def test_what_is_asked_for_is_kept_exactly():
    found = simulate(plan(100, log_every=40, monitor_every=30), seconds_per_step=99)
    assert found["log"] == [40, 80, 100] and found["look"] == [30, 60, 90, 100]
    assert found["save"] == list(range(1, 101))


def test_the_first_steps_are_logged_and_then_a_line_comes_every_few_seconds():
    timed = {"first_logs": (1, 2, 5), "log_seconds": 15.0}
    slow = simulate(plan(40, **timed), seconds_per_step=5.0)
    assert slow["log"] == [1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35, 38, 40]
    fast = simulate(plan(120, **timed), seconds_per_step=0.01)
    assert fast["log"] == [1, 2, 5, 50, 100, 120]


def test_short_epochs_save_once_a_minute_and_at_the_end():
    spaced = plan(157, checkpoint_spacing=Spacing(share=0.02, seconds=60.0))
    found = simulate(spaced, seconds_per_step=2.0, save_seconds=0.5)
    gaps = [b - a for a, b in zip([0, *found["save"]], found["save"], strict=False)]
    assert found["save"][-1] == 157 and set(gaps[:-1]) == {30}


def test_looks_take_their_share_of_the_time_at_most():
    spaced = plan(2000, monitor_spacing=Spacing(share=0.05, seconds=20.0))
    found = simulate(spaced, seconds_per_step=1.0, look_seconds=10.0)
    # a look of 10 s is worth it after 200 s of training
    assert found["look"] == [20, *range(220, 2000, 200), 2000]


def test_a_long_epoch_is_looked_at_and_saved_each_time():
    spaced = plan(
        40,
        checkpoint_every=10,
        monitor_every=10,
        checkpoint_spacing=cadence.CHECKPOINTS,
        monitor_spacing=cadence.LOOKS,
    )
    found = simulate(spaced, seconds_per_step=30.0, save_seconds=1, look_seconds=5)
    assert found["save"] == found["look"] == [10, 20, 30, 40]


def test_a_chunk_of_steps_ends_where_something_may_be_due():
    found = plan(
        9, log_every=50, checkpoint_every=4, monitor_every=0, first_logs=(1, 2)
    )
    assert [found.next_event(step) for step in (0, 1, 2, 4, 8)] == [1, 2, 4, 8, 9]
