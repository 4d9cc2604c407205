"""How the command ends where the reason is no defect of the program: line and code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from simclr_tf2 import files, stopping
from simclr_tf2.errors import ConfigError

BROKEN_PIPE = 141  # as a program that SIGPIPE ends
_FULL = ("No space left on device", "Disk quota exceeded", "File too large")


def line_and_code(error: BaseException) -> tuple[str, int] | None:
    """Say in one line why the command ends.

    Returns:
        The line (without the end of line) and the exit code; None for a defect, which
        wants a traceback.

    Raises:
        Interrupted: A signal ended the program, and ``error`` is what came of it.
    """
    stopping.raise_if_stopped()
    if isinstance(error, ConfigError):
        return _error(error), 2
    code = getattr(error, "exit_code", None)  # the run's own, expected endings
    if code is not None:
        text = " ".join(str(error).split())
        return (text if code == 42 else f"error: {text}"), code
    reason = files.system_reason(error)
    if reason is None:
        return None
    path = files.failed_path(error)
    full = reason in _FULL
    what = f"could not {'write' if full else 'read or write'} {path or 'a file'}"
    remedy = "make room for it" if full else "fix that"
    return f"error: {what}: {reason}; {remedy} and start the same command again", 1


@contextlib.contextmanager
def of_process() -> Iterator[None]:
    """Exit with a code, and no traceback, where a signal or a closed pipe ends it."""
    with stopping.Handled():
        try:
            try:
                yield
            except Exception:
                stopping.raise_if_stopped()
                raise
            finally:
                sys.stdout.flush()
        except stopping.Interrupted as interrupted:
            sys.exit(interrupted.exit_code)
        except KeyboardInterrupt:
            print("stopped at once, by the second Ctrl-C", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:  # of `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(BROKEN_PIPE)


def _error(error: BaseException) -> str:
    return f"error: {' '.join(str(error).split())}"
