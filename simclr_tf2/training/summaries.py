"""Where numbers go during a run: metrics.jsonl, TensorBoard, the progress line."""

from __future__ import annotations

import functools
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from simclr_tf2 import files

logger = logging.getLogger(__name__)


class EventLog:
    """Scalars for TensorBoard, in a folder of their own, made with the first one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @functools.cached_property
    def _writer(self) -> tf.summary.SummaryWriter:
        return tf.summary.create_file_writer(str(self._folder))

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Write what is known at ``step``, at once."""
        with self._writer.as_default(step=step):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def close(self) -> None:
        """Close the file, if there is one."""
        if "_writer" in self.__dict__:
            self._writer.close()


class MetricsLog:
    """Append scalars to ``metrics.jsonl`` and to TensorBoard events.

    Args:
        folder: The run folder.
        start_step: Lines after this step are dropped: they belong to work that was
            lost between the checkpoint and the stop, and will be written again.
    """

    def __init__(self, folder: Path, *, start_step: int = 0) -> None:
        self._path = folder / "metrics.jsonl"
        _truncate(self._path, start_step)
        self._events = EventLog(folder / "tensorboard")

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """One line of JSON with ``step`` first, and the same to TensorBoard."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **scalars}) + "\n")
        self._events.write(step, scalars)

    def close(self) -> None:
        """Flush and close the TensorBoard writer."""
        self._events.close()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Every whole line of ``metrics.jsonl``; a torn last line is left out."""
    path = folder / "metrics.jsonl"
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
    """The line a person reads while it trains.

    On a terminal a live bar (rich); in a file plain lines. ``none`` is silent.

    Args:
        style: auto, bar, plain or none.
        total_steps: Steps of the whole run.
        start_step: Steps done before this start.
        describe: (step, scalars) -> the text of one line.
    """

    def __init__(
        self,
        style: str,
        *,
        total_steps: int,
        start_step: int,
        describe: Callable[[int, dict[str, float]], str],
    ) -> None:
        if style == "auto":
            style = "bar" if sys.stdout.isatty() else "plain"
        self._style, self._describe = style, describe
        self._bar = None
        if style == "bar":
            from rich import progress as rich_progress

            self._bar = rich_progress.Progress(
                rich_progress.TextColumn("[bold]pretraining"),
                rich_progress.BarColumn(bar_width=24),
                rich_progress.MofNCompleteColumn(),
                rich_progress.TimeElapsedColumn(),
                rich_progress.TimeRemainingColumn(),
                transient=True,
            )
            self._task = self._bar.add_task("", total=total_steps, completed=start_step)
            self._bar.start()

    def show(self, step: int, scalars: dict[str, float]) -> None:
        """Show a log line; moves the bar."""
        if self._style == "none":
            return
        text = self._describe(step, scalars)
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, soft_wrap=True)
            self._bar.update(self._task, completed=step)
        else:
            print(text, flush=True)

    def close(self) -> None:
        """Take the bar away; its lines stay."""
        if self._bar is not None:
            self._bar.stop()
