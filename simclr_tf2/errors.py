"""Errors that are no bugs of the program; ``exit_code`` is what the command returns."""

from __future__ import annotations


class ConfigError(ValueError):
    """A setting that cannot be; the message is one line a user can act on."""


class RunFailed(RuntimeError):
    """The run cannot go on, for a reason outside the program (disk full, say)."""

    exit_code = 1


class NotFinite(RuntimeError):
    """A loss became NaN or infinite; the last good checkpoint is intact."""

    exit_code = 3


class Stopped(RuntimeError):
    """SIGTERM or Ctrl-C arrived; the state was saved."""

    exit_code = 42
