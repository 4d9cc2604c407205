"""Keep the checkpoint with the best value of a metric, also if the run deletes it."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simclr_tf2 import files
from simclr_tf2.protocols import VALID_LOSS
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import checkpoints

logger = logging.getLogger(__name__)


class BestCheckpoint:
    """The folder ``best``: a run folder with one checkpoint.

    The files are hard links if the file system has them. They take no space while the
    run keeps the checkpoint, and stay when the run deletes it.

    Args:
        folder: The folder of the run, in which ``best`` is made.
        metric: A protocol's name, ``supervised`` or ``rankme`` (higher is better), or
            ``valid_loss`` (lower is better).
        split: The split on which the metric is measured; it is recorded.
    """

    def __init__(self, folder: RunFolder, *, metric: str, split: str = "") -> None:
        self.folder = folder
        self.place = RunFolder(folder.best)
        held = f".{folder.best.name}.{_host()}.{os.getpid()}"
        self._held = RunFolder(folder.path / held)
        self.metric = metric
        self._facts = {"metric": metric, "chosen_on": split}
        self._best = self._read()

    @contextlib.contextmanager
    def holding(self, step: int) -> Iterator[None]:
        """Keep the files of a checkpoint while it is measured, also after an error."""
        shutil.rmtree(self._held.path, ignore_errors=True)
        try:
            self._held.path.mkdir()
            for path in self.folder.path.glob(f"{self.folder.checkpoint(step).name}.*"):
                with contextlib.suppress(FileNotFoundError):
                    _link(path, self._held.path / path.name)
            yield
        finally:
            shutil.rmtree(self._held.path, ignore_errors=True)

    def offer(
        self,
        step: int,
        value: float,
    ) -> dict[str, Any]:
        """Keep the held checkpoint if it is better than the best so far.

        Args:
            step: Step of the checkpoint.
            value: Metric of this checkpoint.

        Returns:
            The contents of best.json; empty while no value was finite.
        """
        if not math.isfinite(value):
            metric = self._facts["metric"]
            logger.warning("%s of ckpt-%d is %s: not kept", metric, step, value)
        elif self.improves(value):
            if not self._held.checkpoint_index(step).exists():
                logger.warning("ckpt-%d was gone before it could be kept", step)
            else:
                self._best = {**self._facts, "step": step, "value": value}
                self._publish(step)
        return dict(self._best or {})

    def improves(self, value: float) -> bool:
        """Return whether a finite value is better than the best so far."""
        if self._best is None or not math.isfinite(value):
            return math.isfinite(value)
        if self._facts["metric"] == VALID_LOSS:
            return value < float(self._best["value"])
        return value > float(self._best["value"])

    def _publish(self, step: int) -> None:
        self.place.path.mkdir(exist_ok=True)
        for source in (self.folder.config, self.folder.flags):
            if source.exists():
                shutil.copyfile(source, self.place.path / source.name)
        moved = sorted(self._held.path.iterdir(), key=lambda p: p.suffix == ".index")
        for path in moved:  # the index last: it makes the checkpoint visible
            os.replace(path, self.place.path / path.name)
        files.write_json(self.place.best_record, self._best)
        for other, prefix in checkpoints.list_checkpoints(self.place):
            if other != step:
                for path in self.place.path.glob(f"{Path(prefix).name}.*"):
                    path.unlink(missing_ok=True)
        assert self._best is not None
        logger.info(
            "ckpt-%d is the best so far by %s (%.4g): kept in %s",
            step,
            self._best["metric"],
            self._best["value"],
            self.place,
        )

    def _read(self) -> dict[str, Any] | None:
        """Read the best of an earlier evaluation, if it was chosen by these facts."""
        try:
            found = json.loads(self.place.best_record.read_text())
            same = all(found[key] == value for key, value in self._facts.items())
            kept = self.place.checkpoint_index(found["step"]).exists()
            finite = math.isfinite(found["value"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not same:
            logger.info("%s was selected by another metric; starting over", self.place)
        return found if same and kept and finite else None


def remove_stale(folder: Path) -> None:
    """Remove files that interrupted processes of this machine left behind."""
    for path in folder.glob(".best*.*"):
        holder, _, pid = path.name.rpartition(".")
        if holder.endswith(f".{_host()}") and pid.isdecimal() and not _runs(int(pid)):
            logger.info("removed %s: left over from an interrupted process", path)
            shutil.rmtree(path, ignore_errors=True)


def is_kept(folder: RunFolder) -> bool:
    """Return whether ``BestCheckpoint`` made the folder, so that no run adds to it."""
    return folder.best_record.exists()


def _host() -> str:
    """Return the name of this machine, because other machines may share the folder."""
    return socket.gethostname()


def _runs(pid: int) -> bool:
    if os.name != "posix":
        return True  # on Windows os.kill would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
