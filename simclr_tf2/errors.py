"""Errors that are no bugs of the program; ``exit_code`` is what the command returns."""

from __future__ import annotations


class ConfigError(ValueError):
    """Error of a setting that cannot be; the message is one line a user can act on."""


class RunFailed(RuntimeError):
    """Error of a run that cannot go on, for an outside reason (disk full, say)."""

    exit_code = 1


class NotFinite(RuntimeError):
    """Error of a loss that is NaN or infinite; the last good checkpoint is intact."""

    exit_code = 3


class Stopped(RuntimeError):
    """Error after SIGTERM or Ctrl-C; the state was saved."""

    exit_code = 42
