"""Lines about a data set that are said once, however often it is opened."""

from __future__ import annotations

import functools
import logging

logger = logging.getLogger(__name__)


@functools.cache
def warn(text: str) -> None:
    """Log a text as a warning, once in a process."""
    logger.warning("%s", text)


@functools.cache
def tell(text: str) -> None:
    """Log a text as information, once in a process."""
    logger.info("%s", text)
