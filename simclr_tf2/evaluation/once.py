"""Log a message on the images once, also if several rows or protocols cause it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

# Their messages are about the images and do not depend on the encoder.
LOGGERS = tuple(
    f"simclr_tf2.evaluation.{name}"
    for name in (
        "classifiable",
        "protocols.knn",
        "protocols.svm",
        "solvers.low_shot_svm",
        "solvers.nearest",
        "solvers.sgd_heads",
    )
)


class _Once(logging.Filter):
    """Drop a message that was logged before."""

    def __init__(self, before: set[str]) -> None:
        super().__init__()
        self._before = before

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the message is new."""
        text = record.getMessage()
        new = text not in self._before
        self._before.add(text)
        return new


@contextlib.contextmanager
def logged_once(*names: str, before: set[str] | None = None) -> Iterator[None]:
    """Drop repeated messages of the loggers ``names`` inside the block.

    Args:
        names: Names of loggers.
        before: Messages of earlier blocks, which are dropped too. The messages of this
            block are added to it.
    """
    once = _Once(set() if before is None else before)
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(once)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(once)
