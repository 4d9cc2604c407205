"""Keep the checkpoint with the best value of a metric, whatever a run deletes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simclr_tf2.config import Config, ConfigError
from simclr_tf2.training import checkpoints, run_folder

logger = logging.getLogger(__name__)

RECORD = "best.json"
OWN_CLASSIFIER = "supervised"
WITHOUT_LABELS = {"rankme": "h_rankme"}  # arXiv 2210.02885: chooses without labels


class BestCheckpoint:
    """A folder ``best`` that itself is a run folder, with one checkpoint.

    Files are hard links where the file system has them: they take no room while the run
    keeps the checkpoint too, and stay when it drops it.

    Args:
        folder: The run folder.
        metric: A protocol's name, ``supervised`` or ``rankme``; higher is better.
        name: Of the evaluation; the folder is ``best_NAME`` then.
        split: The one that is measured, for the record: the choice is made on it.
    """

    def __init__(
        self, folder: Path, *, metric: str, name: str | None = None, split: str = ""
    ) -> None:
        self.folder = folder
        self.place = folder / (f"best_{name}" if name else "best")
        self._held = folder / f".{self.place.name}.{os.getpid()}"
        self._facts = {"metric": metric, "chosen_on": split}
        self._best = self._read()

    def hold(self, step: int) -> None:
        """Keep the files of a checkpoint until it has been measured."""
        shutil.rmtree(self._held, ignore_errors=True)
        self._held.mkdir()
        for path in self.folder.glob(f"ckpt-{step}.*"):
            with contextlib.suppress(FileNotFoundError):
                _link(path, self._held / path.name)

    def offer(
        self,
        step: int,
        results: Mapping[str, Mapping[str, Any]],
        others: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Keep the held checkpoint if it is better than the best so far.

        Returns:
            What best.json says.

        Raises:
            ConfigError: The metric was not measured.
        """
        value = value_of(self._facts["metric"], results, others)
        if self._best is None or value > self._best["value"]:
            if not (self._held / f"ckpt-{step}.index").exists():
                logger.warning("ckpt-%d was gone before it could be kept", step)
            else:
                self._best = {**self._facts, "step": step, "value": value}
                self._publish(step)
        shutil.rmtree(self._held, ignore_errors=True)
        return dict(self._best or {})

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
            float(found["value"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not same:
            logger.info("%s was chosen by another metric: begun anew", self.place)
        return found if same and kept else None


def of_config(config: Config, folder: Path) -> BestCheckpoint | None:
    """What ``--best_metric`` asks for, or None.

    Raises:
        ConfigError: The metric is not among what will be measured.
    """
    asked = config.evaluation
    if not asked.best_metric:
        return None
    by_protocol = {"rankme": "label_free"}.get(asked.best_metric, asked.best_metric)
    if by_protocol not in (*asked.protocols, OWN_CLASSIFIER):
        raise ConfigError(
            f"--best_metric={asked.best_metric} is not measured; add {by_protocol} to "
            f"--protocols={','.join(asked.protocols)}"
        )
    return BestCheckpoint(
        folder,
        metric=asked.best_metric,
        name=asked.eval_name,
        split=asked.eval_split,
    )


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


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
