"""The logs of a run: metrics.jsonl, TensorBoard and the progress display."""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import tensorflow as tf

from simclr_tf2 import files
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import remote

logger = logging.getLogger(__name__)


class EventLog:
    """Writes scalars for TensorBoard to a folder that is made with the first one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @functools.cached_property
    def _writer(self) -> tf.summary.SummaryWriter:
        return tf.summary.create_file_writer(str(self._folder))

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Write the scalars of a step to disk at once."""
        with files.writing(self._folder):
            with self._writer.as_default(step=step):
                for name, value in scalars.items():
                    tf.summary.scalar(name, value)
            self._writer.flush()

    def close(self) -> None:
        """Close the file if there is one."""
        if "_writer" in self.__dict__:
            self._writer.close()


class MetricsLog:
    """Appends scalars to ``metrics.jsonl`` and to TensorBoard events.

    Args:
        folder: The run folder.
        start_step: Step of the checkpoint. Lines of later steps are dropped, because
            these steps are trained and logged again.
        write: Whether this process writes the log; else only another worker does.
    """

    def __init__(
        self, folder: str | os.PathLike, *, start_step: int = 0, write: bool = True
    ) -> None:
        paths = RunFolder(Path(folder))
        self._path = paths.metrics
        if write:
            _truncate(self._path, start_step)
        self._events = EventLog(paths.events)

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Write one line of JSON, ``step`` first, and the scalars to TensorBoard."""
        path = self._path
        with files.writing(path), open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **scalars}) + "\n")
        self._events.write(step, scalars)
        remote.changed(path)

    def close(self) -> None:
        """Flush and close the TensorBoard writer."""
        self._events.close()


def read_metrics(folder: str | os.PathLike) -> list[dict[str, float]]:
    """Read every line of ``metrics.jsonl``; an incomplete last line is left out."""
    path = RunFolder(Path(folder)).metrics
    lines = []
    if path.exists():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                logger.warning("%s has a damaged line, left out", path)
    return lines


def _truncate(path: Path, start_step: int) -> None:
    if not path.exists():
        return
    kept = [line for line in read_metrics(path.parent) if line["step"] <= start_step]
    files.write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


class Progress:
    """The progress display of a training run.

    On a terminal it is a live bar (rich) with log lines and messages above it; in a
    file it is plain lines. ``none`` shows nothing.

    Args:
        style: auto, bar, plain or none.
        total_steps: Number of steps of the whole run.
        start_step: Number of steps done before this start.
        describe: ``(step, scalars, columns) -> text`` of one log line, which is wrapped
            at ``columns``; None: no limit.
    """

    def __init__(
        self,
        style: str,
        *,
        total_steps: int,
        start_step: int,
        describe: Callable[[int, dict[str, float], int | None], str],
    ) -> None:
        if style == "auto":
            style = "bar" if sys.stdout.isatty() else "plain"
        self._style, self._describe = style, describe
        self._bar = None
        self._moved: list[tuple[logging.StreamHandler, TextIO]] = []
        if style == "bar":
            from rich import progress as rich_progress

            self._bar = rich_progress.Progress(
                rich_progress.TextColumn("[bold]training"),
                rich_progress.BarColumn(bar_width=24),
                rich_progress.MofNCompleteColumn(),
                rich_progress.TimeElapsedColumn(),
                rich_progress.TimeRemainingColumn(),
                transient=True,
                # Output to a file is left alone; other output goes above the bar.
                redirect_stdout=sys.stdout.isatty(),
                redirect_stderr=sys.stderr.isatty(),
            )
            before = sys.stderr
            self._task = self._bar.add_task("", total=total_steps, completed=start_step)
            self._bar.start()
            self._move_messages(before)

    def move(self, step: int) -> None:
        """Move the bar, which a thread draws ten times a second."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def show(self, step: int, scalars: dict[str, float]) -> None:
        """Show a log line and move the bar."""
        if self._style == "none":
            return
        if self._bar is not None:
            text = self._describe(step, scalars, self._bar.console.width)
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
            self.move(step)
        else:
            columns = None
            if sys.stdout.isatty():
                columns = shutil.get_terminal_size().columns
            print(self._describe(step, scalars, columns), flush=True)

    def close(self) -> None:
        """Remove the bar; the lines above it stay."""
        if self._bar is not None:
            self._bar.stop()
        for handler, stream in self._moved:
            handler.setStream(stream)
        self._moved.clear()

    def _move_messages(self, before: TextIO) -> None:
        """Let the log handlers that write to the same stream write above the bar.

        A handler keeps the stream that it was made with, so rich, which replaces
        ``sys.stderr`` by another stream, would not see its messages.
        """
        if sys.stderr is before:  # a file, which has no bar
            return
        for handler in [
            *logging.getLogger("simclr_tf2").handlers,
            *logging.getLogger().handlers,
        ]:
            if isinstance(handler, logging.StreamHandler) and handler.stream is before:
                self._moved.append((handler, handler.stream))
                handler.setStream(sys.stderr)
