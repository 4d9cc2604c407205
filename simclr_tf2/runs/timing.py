"""The seconds of each phase of a run."""

from __future__ import annotations

import time


class timed:
    """Add the duration of a block in seconds to ``timings[name]``."""

    def __init__(self, timings: dict[str, float], name: str) -> None:
        self._timings, self._name = timings, name

    def __enter__(self) -> None:
        self._since = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._timings[self._name] = time.perf_counter() - self._since
