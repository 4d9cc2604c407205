"""Log what several rows and protocols find of the same images only once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


class _Once(logging.Filter):
    """Drop a message that was logged before."""

    def __init__(self) -> None:
        super().__init__()
        self._before: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the message is new."""
        text = record.getMessage()
        new = text not in self._before
        self._before.add(text)
        return new


@contextlib.contextmanager
def logged_once(*names: str) -> Iterator[None]:
    """Drop repetitions of a message by the loggers ``names`` inside the block."""
    once, loggers = _Once(), [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(once)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(once)
