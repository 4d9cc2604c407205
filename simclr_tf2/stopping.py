"""SIGINT, SIGTERM and SIGHUP: a line and an exit code, whenever they arrive.

Outside training a signal ends the program at once; what is written is written whole or
not at all. While the training loop runs it asks for a stop, and the loop saves first.
SIGHUP comes when a terminal is closed: what is written there afterwards is dropped.

Imports little, since it is the first thing that the command imports.
"""

from __future__ import annotations

import atexit
import os
import signal
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
SIGNALS = (signal.SIGINT, signal.SIGTERM) + ((HANGUP,) if HANGUP else ())
SAVED = 42  # exit code: stopped, and the same command goes on
GRACE_SECONDS = 5.0  # for what is open to be closed


class Interrupted(BaseException):
    """Error of a signal outside training; no Exception, so that nobody handles it.

    Attributes:
        exit_code: Of the command.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


class _Process:
    """State of this process that has to be known when a signal arrives."""

    installed = False
    careful = False  # whether something may be open that wants to be closed
    saved = ""  # what is safe and what comes next; empty: nothing was trained yet
    waiting = 0  # loops that save before they end
    terminal = 2  # file descriptor of the line; stderr may be held back for a while
    said: int | None = None  # exit code, once the line was written
    before: dict[int, Any] = {}
    writer = -1
    installation = 0  # number of the last call of ``install``


def install() -> None:
    """End the program with one line at a signal of ``SIGNALS`` from now on.

    Signals that are ignored (``nohup``, a shell's background jobs) stay ignored.
    """
    if _Process.installed:
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            _Process.before[number] = signal.signal(number, _interrupt)
    _Process.installed, _Process.saved, _Process.said = True, "", None
    _Process.installation += 1
    _Process.terminal = os.dup(2)
    if os.name == "posix":
        import threading

        reader, _Process.writer = os.pipe()
        os.set_blocking(_Process.writer, False)
        signal.set_wakeup_fd(_Process.writer, warn_on_full_buffer=False)
        threading.Thread(
            target=_watch, args=(reader, _Process.installation), daemon=True
        ).start()
        os.register_at_fork(after_in_child=_uninstall)  # a pool ends its workers


class Handled:
    """Block in which signals raise ``Interrupted``, so that files are closed.

    Before the block (while the command's modules are imported) they end the process,
    since code written in C takes an exception there for a broken installation.
    """

    def __enter__(self) -> None:
        self._installs = not _Process.installed
        install()
        _Process.careful = True

    def __exit__(self, *_: object) -> None:
        _Process.careful = False
        if self._installs:
            _uninstall()


def _uninstall() -> None:
    if not _Process.installed:
        return
    for number, handler in _Process.before.items():
        signal.signal(number, handler)
    if _Process.writer >= 0:
        signal.set_wakeup_fd(-1)
        os.close(_Process.writer)  # ends the watching thread
    os.close(_Process.terminal)
    _Process.before, _Process.terminal, _Process.writer = {}, 2, -1
    _Process.installed, _Process.said, _Process.saved = False, None, ""


def run_to_exit(main: Callable[[], None]) -> None:
    """Run the program; a signal while the interpreter ends changes no exit code.

    While functions of ``atexit`` run it ends the process at once. After them Python
    takes back its own handlers, and signals are ignored.
    """
    atexit.register(_ignore)  # the first to be registered is the last to run
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: os._exit(code))
        raise


def _ignore() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def saved(text: str) -> None:
    """Tell which work is safe at a stop from now on.

    Args:
        text: What is saved and how to go on: the end of a sentence.
    """
    _Process.saved = text


def raise_if_stopped() -> None:
    """Raise ``Interrupted`` again if something turned it into another error."""
    if _Process.said is not None:
        raise Interrupted(_Process.said)


class StopRequest:
    """Request to stop, which signals make within the block once its loop listens."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        _Process.waiting -= bool(self._before)
        self._before = {}

    def listen(self) -> None:
        """Let signals wait for the loop from now on; before, they end the program."""
        import threading

        if self._before or threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._ask)
        _Process.waiting += bool(self._before)

    def is_set(self) -> bool:
        """Return whether to save and stop."""
        return self._asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C
        import logging

        name = signal.Signals(number).name
        self._asked = True
        if number == HANGUP:
            _leave_terminal()
        logging.getLogger(__name__).warning("%s: finishing this step and saving", name)


def _interrupt(number: int, frame: FrameType | None) -> None:
    again = _Process.said is not None
    if again and number == HANGUP:  # both the shell and the system send it
        return
    _say(number)
    if number == HANGUP:
        _leave_terminal()
    if again or not _Process.careful:
        os._exit(_exit_code(number))
    raise Interrupted(_exit_code(number))


def _exit_code(number: int) -> int:
    return SAVED if _Process.saved else 128 + number


def _say(number: int) -> None:
    """Write the line that tells of the stop, unless it stands there already."""
    if _Process.said is not None:
        return
    _Process.said = _exit_code(number)
    name = signal.Signals(number).name
    line = f"stopped by {name}: {_Process.saved or 'nothing had to be saved'}\n"
    try:
        os.write(_Process.terminal, line.encode())
    except OSError:  # the terminal is gone
        pass


def _leave_terminal() -> None:
    """Drop what is written to a terminal, which would be an error once it is gone."""
    for descriptor in (1, 2):
        try:
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
        except OSError:  # closed already
            pass


def _watch(reader: int, installation: int) -> None:
    """End the process where the main thread does not come to it.

    Python's handlers wait for the end of a call into C code, which may take minutes;
    this thread does not.
    """
    import time

    while numbers := os.read(reader, 64):
        number = numbers[0]
        if number not in SIGNALS or _Process.waiting:
            continue
        time.sleep(GRACE_SECONDS)
        current = _Process.installed and _Process.installation == installation
        if current and not _Process.waiting:
            _say(number)
            os._exit(_exit_code(number))
    os.close(reader)
