"""When a run logs, saves and evaluates online: by steps, and by cost in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

FIRST_LOGS = (1, 2, 5, 10, 20)  # [ours] steps that are logged unless asked otherwise
LOG_SECONDS = 15.0  # [ours] between two lines at most, unless asked otherwise


@dataclass(frozen=True, kw_only=True)
class Spacing:
    """The spacing of events of one kind that may happen often.

    Attributes:
        share: Largest part of the run's time that they take.
        seconds: Least time between two of them.
    """

    share: float
    seconds: float


CHECKPOINTS = Spacing(share=0.02, seconds=60.0)  # [ours] of the user's own images
LOOKS = Spacing(share=0.1, seconds=20.0)  # [ours] of the user's own images


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """Steps in all, and when events are due.

    Attributes:
        total_steps: Steps of the run; every event is due after the last one.
        log_every: Steps between log lines; 0 for never.
        checkpoint_every: Steps between checkpoints; 0 for never.
        monitor_every: Steps between online evaluations; 0 for never.
        first_logs: Steps after which a line is logged besides.
        log_seconds: Seconds after which a line is logged besides; 0: steps alone.
        checkpoint_spacing: Leaves out checkpoints that come too soon; None: none.
        monitor_spacing: Leaves out online evaluations that come too soon; None: none.
    """

    total_steps: int
    log_every: int
    checkpoint_every: int
    monitor_every: int = 0
    first_logs: tuple[int, ...] = ()
    log_seconds: float = 0.0
    checkpoint_spacing: Spacing | None = None
    monitor_spacing: Spacing | None = None

    def due(self, every: int, step: int) -> bool:
        """Return whether an event is due after ``step`` steps; the last step counts."""
        return every > 0 and (step % every == 0 or step == self.total_steps)

    def next_event(self, step: int) -> int:
        """Return the first step after ``step`` at which anything may be due."""
        events = (self.log_every, self.checkpoint_every, self.monitor_every)
        ends = [(step // every + 1) * every for every in events if every > 0]
        ends += [first for first in self.first_logs if first > step]
        return min([*ends, self.total_steps])


class Schedule:
    """The events of a cadence that are due at a step, now.

    Args:
        cadence: When events are due.
        clock: Seconds, from any start.
    """

    def __init__(
        self, cadence: Cadence, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._cadence, self._clock = cadence, clock
        self._logged = clock()
        self._checkpoints = _Spaced(cadence.checkpoint_spacing, clock)
        self._looks = _Spaced(cadence.monitor_spacing, clock)

    def log(self, step: int) -> bool:
        """Return whether a line is logged after ``step`` steps, and count it."""
        cadence, now = self._cadence, self._clock()
        waited = cadence.log_seconds > 0 and now - self._logged >= cadence.log_seconds
        due = cadence.due(cadence.log_every, step) or step in cadence.first_logs
        if due or waited:
            self._logged = now
        return due or waited

    def save(self, step: int) -> bool:
        """Return whether a checkpoint is saved after ``step`` steps."""
        due = self._cadence.due(self._cadence.checkpoint_every, step)
        last = step == self._cadence.total_steps
        return due and (last or self._checkpoints.worth_it())

    def monitor(self, step: int) -> bool:
        """Return whether there is an online evaluation after ``step`` steps."""
        due = self._cadence.due(self._cadence.monitor_every, step)
        return due and (step == self._cadence.total_steps or self._looks.worth_it())

    def saving(self) -> AbstractContextManager[None]:
        """Measure what a checkpoint costs."""
        return self._checkpoints.timed()

    def looking(self) -> AbstractContextManager[None]:
        """Measure what an online evaluation costs."""
        return self._looks.timed()


class _Spaced:
    """Events of one kind, no more often than they are worth."""

    def __init__(self, spacing: Spacing | None, clock: Callable[[], float]) -> None:
        self._spacing, self._clock = spacing, clock
        self._ended, self._cost = clock(), 0.0

    def worth_it(self) -> bool:
        if self._spacing is None:
            return True
        wait = max(self._spacing.seconds, self._cost / self._spacing.share)
        return self._clock() - self._ended >= wait

    @contextmanager
    def timed(self) -> Iterator[None]:
        started = self._clock()
        yield
        self._ended = self._clock()
        self._cost = self._ended - started
