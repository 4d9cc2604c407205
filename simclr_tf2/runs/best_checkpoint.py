"""Keep the checkpoint with the best value of a metric, whatever a run deletes."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from simclr_tf2.config import Config, ConfigError
from simclr_tf2.evaluation.inputs import Splits
from simclr_tf2.runs import checkpoints
from simclr_tf2.runs import folder as run_folder

logger = logging.getLogger(__name__)

RECORD = "best.json"
OWN_CLASSIFIER = "supervised"
WITHOUT_LABELS = {"rankme": "h_rankme"}  # arXiv 2210.02885: chooses without labels
VALID_LOSS = "valid_loss"  # of images that are held out of training; lower is better


class BestCheckpoint:
    """A folder ``best`` that itself is a run folder, with one checkpoint.

    Files are hard links where the file system has them: they take no room while the run
    keeps the checkpoint too, and stay when it drops it.

    Args:
        folder: The run folder.
        metric: A protocol's name, ``supervised`` or ``rankme``, where higher is better,
            or ``valid_loss``, where lower is.
        name: Of the evaluation; the folder is ``best_NAME`` then.
        split: The one that is measured, for the record: the choice is made on it.
    """

    def __init__(
        self, folder: Path, *, metric: str, name: str | None = None, split: str = ""
    ) -> None:
        self.folder = folder
        self.place = folder / (f"best_{name}" if name else "best")
        self._held = folder / f".{self.place.name}.{_host()}.{os.getpid()}"
        self._facts = {"metric": metric, "chosen_on": split}
        self._best = self._read()

    @contextlib.contextmanager
    def holding(self, step: int) -> Iterator[None]:
        """Keep the files of a checkpoint while it is measured, however that ends."""
        shutil.rmtree(self._held, ignore_errors=True)
        try:
            self._held.mkdir()
            for path in self.folder.glob(f"ckpt-{step}.*"):
                with contextlib.suppress(FileNotFoundError):
                    _link(path, self._held / path.name)
            yield
        finally:
            shutil.rmtree(self._held, ignore_errors=True)

    def offer(
        self,
        step: int,
        results: Mapping[str, Mapping[str, Any]],
        others: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Keep the held checkpoint if it is better than the best so far.

        Returns:
            What best.json says; empty while no value was finite.

        Raises:
            ConfigError: The metric was not measured.
        """
        value = value_of(self._facts["metric"], results, others)
        if not math.isfinite(value):
            metric = self._facts["metric"]
            logger.warning("%s of ckpt-%d is %s: not kept", metric, step, value)
        elif self.improves(value):
            if not (self._held / f"ckpt-{step}.index").exists():
                logger.warning("ckpt-%d was gone before it could be kept", step)
            else:
                self._best = {**self._facts, "step": step, "value": value}
                self._publish(step)
        return dict(self._best or {})

    def improves(self, value: float) -> bool:
        """Whether a finite value is better than the best so far."""
        if self._best is None or not math.isfinite(value):
            return math.isfinite(value)
        if self._facts["metric"] == VALID_LOSS:
            return value < self._best["value"]
        return value > self._best["value"]

    def _publish(self, step: int) -> None:
        self.place.mkdir(exist_ok=True)
        for name in ("config.json", "flags.txt"):
            if (self.folder / name).exists():
                shutil.copyfile(self.folder / name, self.place / name)
        files = sorted(self._held.iterdir(), key=lambda p: p.suffix == ".index")
        for path in files:  # the index last: it makes the checkpoint visible
            os.replace(path, self.place / path.name)
        run_folder.write_json(self.place / RECORD, self._best)
        for other, prefix in checkpoints.list_checkpoints(self.place):
            if other != step:
                for path in self.place.glob(f"{Path(prefix).name}.*"):
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
        """The best of an earlier evaluation, if it was chosen in the same way."""
        try:
            found = json.loads((self.place / RECORD).read_text())
            same = all(found[key] == value for key, value in self._facts.items())
            kept = (self.place / f"ckpt-{found['step']}.index").exists()
            finite = math.isfinite(found["value"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not same:
            logger.info("%s was selected by another metric; starting over", self.place)
        return found if same and kept and finite else None


def of_config(config: Config, folder: Path, splits: Splits) -> BestCheckpoint | None:
    """What ``--best_metric`` asks for, or None.

    Raises:
        ConfigError: The metric is not among what will be measured.
    """
    remove_stale(folder)
    asked = config.evaluation
    if not asked.best_metric:
        return None
    if asked.best_metric == VALID_LOSS:
        return by_valid_loss(config, folder, splits)
    by_protocol = {"rankme": "label_free"}.get(asked.best_metric, asked.best_metric)
    if by_protocol not in (*asked.protocols, OWN_CLASSIFIER):
        raise ConfigError(
            f"--best_metric={asked.best_metric} is not measured; add {by_protocol} to "
            f"--protocols={','.join(asked.protocols)}"
        )
    if by_protocol != "label_free" and splits.eval is None:
        raise ConfigError(
            f"--best_metric={asked.best_metric} cannot be measured: no labelled images "
            "are read; name --probe_split and --eval_split and a protocol that scores "
            "labels such as knn, or choose by --best_metric=rankme"
        )
    of_other = "" if splits.own else f"{config.data.source}:"
    return BestCheckpoint(
        folder,
        metric=asked.best_metric,
        name=asked.eval_name,
        split=of_other + asked.eval_split,
    )


def by_valid_loss(config: Config, folder: Path, splits: Splits) -> BestCheckpoint:
    """The keeper of the checkpoint with the lowest loss on held-out images.

    Raises:
        ConfigError: No images are held out.
    """
    if splits.held is None:
        raise ConfigError(
            f"--best_metric={VALID_LOSS} cannot be measured: no images of the run are "
            "held out; pretrain with --valid_size=0.05"
        )
    return BestCheckpoint(
        folder,
        metric=VALID_LOSS,
        name=config.evaluation.eval_name,
        split=splits.held.split,
    )


def require_classifier(config: Config, present: bool) -> None:
    """Refuse a choice by the run's own classifier where the run has none."""
    if config.evaluation.best_metric == OWN_CLASSIFIER and not present:
        raise ConfigError(
            f"--best_metric={OWN_CLASSIFIER} cannot be measured: the run has no "
            "classifier of its own, or not of these images; choose a protocol such as "
            "--best_metric=knn"
        )


def remove_stale(folder: Path) -> None:
    """Remove files that interrupted processes of this machine left behind."""
    for path in folder.glob(".best*.*"):
        holder, _, pid = path.name.rpartition(".")
        if holder.endswith(f".{_host()}") and pid.isdecimal() and not _runs(int(pid)):
            logger.info("removed %s: left over from an interrupted process", path)
            shutil.rmtree(path, ignore_errors=True)


def is_kept(folder: Path) -> bool:
    """Whether a folder is one that a ``BestCheckpoint`` made: no run will add to it."""
    return (folder / RECORD).exists()


def value_of(
    metric: str,
    results: Mapping[str, Mapping[str, Any]],
    others: Mapping[str, Any],
) -> float:
    """The number to compare, of the run itself (never of a baseline).

    Raises:
        ConfigError: It was not measured.
    """
    if metric in others.get("held_out", {}):
        return float(others["held_out"][metric])
    if metric in WITHOUT_LABELS and "label_free" in others:
        return float(others["label_free"][WITHOUT_LABELS[metric]])
    names = (f"SimCLR h/{metric}", *(n for n in results if n.endswith(f"/{metric}")))
    for name in names:
        if name in results and "weights" in results[name]:
            return float(results[name]["value"])
    raise ConfigError(
        f"--best_metric={metric} was not measured; there are "
        f"{', '.join(dict.fromkeys(n.split('/')[-1] for n in results)) or 'none'}"
    )


def _host() -> str:
    """This machine's name: another one that shares the folder has other processes."""
    return socket.gethostname()


def _runs(pid: int) -> bool:
    if os.name != "posix":
        return True  # elsewhere the question would end it
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
