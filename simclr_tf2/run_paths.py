"""The paths of all files and folders in a run folder.

This module imports only ``addresses``, so that ``results``, ``exports`` and ``runs``,
which must not import one another, can all use it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from simclr_tf2 import addresses


@dataclass(frozen=True)
class RunFolder:
    """The paths in the folder of a run (``--model_dir``), which need not exist.

    A ``RunFolder`` can be used as a path: ``Path(folder)`` and ``os.listdir(folder)``
    work. Of a remote run folder (``gs://bucket/run``) this is the local copy, and
    ``str(folder)`` is the address, for messages and settings.

    Attributes:
        path: The folder.
        name: ``--eval_name``, a part of the names of files that an evaluation writes;
            None for the run's own files.
    """

    path: Path
    name: str | None = None

    @classmethod
    def at(cls, place: str | os.PathLike, name: str | None = None) -> RunFolder:
        """Return the paths of a run folder, by its path or its address.

        Raises:
            ValueError: This process has no local copy of the address.
        """
        return cls(addresses.local(place), name)

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return addresses.shown(self.path)

    def without_name(self) -> RunFolder:
        """Return the paths of the run's own files."""
        return RunFolder(self.path)

    def _named(self, stem: str, suffix: str = "") -> Path:
        """Return the path of an evaluation's file, with NAME if there is one."""
        mark = f"_{self.name}" if self.name else ""
        return self.path / f"{stem}{mark}{suffix}"

    # Settings and data of the run.

    @property
    def config(self) -> Path:
        """The settings."""
        return self.path / "config.json"

    @property
    def flags(self) -> Path:
        """The settings as a flag file."""
        return self.path / "flags.txt"

    @property
    def history(self) -> Path:
        """The starts of the run: images and length from a step on."""
        return self.path / "history.json"

    @property
    def classes(self) -> Path:
        """Names of the classes, in the order of labels."""
        return self.path / "classes.json"

    @property
    def scan(self) -> Path:
        """The record of the image files."""
        return self.path / "scan.json"

    @property
    def labelled_subset(self) -> Path:
        """The images whose labels are used."""
        return self.path / "labelled_subset.json"

    # Checkpoints.

    @property
    def checkpoint_state(self) -> Path:
        """The list of checkpoints that ``tf.train`` reads."""
        return self.path / "checkpoint"

    def checkpoint(self, step: int) -> Path:
        """Return the prefix of the checkpoint of a step."""
        return self.path / f"ckpt-{step}"

    def checkpoint_index(self, step: int) -> Path:
        """Return the index file of a checkpoint, which is written last."""
        return self.path / f"ckpt-{step}.index"

    @property
    def best(self) -> Path:
        """The best checkpoint: a run folder of its own."""
        return self._named("best")

    @property
    def best_record(self) -> Path:
        """The metric and value of the best checkpoint, in the folder ``best``."""
        return self.path / "best.json"

    # Logs.

    @property
    def metrics(self) -> Path:
        """The log of training, a line for each logged step."""
        return self.path / "metrics.jsonl"

    @property
    def events(self) -> Path:
        """The log of training for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def evaluation_events(self) -> Path:
        """The scalars of ``--mode=eval`` for TensorBoard."""
        return self.events / (self.name or "eval")

    @property
    def picture_events(self) -> Path:
        """Pictures and the projector, for TensorBoard."""
        return self.events / self.name if self.name else self.events

    # Files of an evaluation.

    @property
    def results(self) -> Path:
        """All results."""
        return self._named("results", ".json")

    @property
    def evaluations(self) -> Path:
        """A log with a line for each checkpoint that was measured."""
        return self._named("evaluations", ".jsonl")

    @property
    def predictions(self) -> Path:
        """The predictions for every test image."""
        return self._named("predictions", ".npz")

    @property
    def neighbours(self) -> Path:
        """The nearest other images of each image."""
        return self._named("neighbours", ".npz")

    @property
    def report(self) -> Path:
        """The report, report.html."""
        return self._named("report", ".html")

    # Exports.

    @property
    def encoder(self) -> Path:
        """The exported encoder for images in [0, 1]."""
        return self.path / "encoder.keras"

    @property
    def encoder_uint8(self) -> Path:
        """The exported encoder for uint8 images of any size."""
        return self.path / "encoder_uint8.keras"

    @property
    def classifier(self) -> Path:
        """The exported classifier for uint8 images of any size."""
        return self._named("classifier", ".keras")

    @property
    def classifier_saved_model(self) -> Path:
        """The folder of exported SavedModels from encoded images to classes."""
        return self._named("classifier_saved_model")

    @property
    def saved_model(self) -> Path:
        """The SavedModels, numbered by step."""
        return self.path / "saved_model"

    @property
    def model_card(self) -> Path:
        """A text on the exported network: data, settings, results, how to load it."""
        return self.path / "model_card.md"

    @property
    def model_facts(self) -> Path:
        """The same as JSON."""
        return self.path / "model_card.json"

    # Files that later starts and evaluations read.

    @property
    def features(self) -> Path:
        """The cache of features."""
        return self.path / "features"

    def trials(self, method: str, dataset: str) -> Path:
        """Return the file with the trials of a transfer method on a data set."""
        return self.path / "transfer" / f"{method}-{dataset}.json"

    def baseline(self, name: str) -> RunFolder:
        """Return the folder of one of the runs of ``--finetune_baselines``."""
        return RunFolder(self.path / "baselines" / name)

    def semi(self, digest: str, share: str) -> RunFolder:
        """Return the folder of runs on a share of the labels (``--protocols=semi``).

        Args:
            digest: Digest of the weights that the runs start from.
            share: Title of the share.
        """
        return RunFolder(self.path / "semi" / digest / share)


def checkpoint_config(prefix: str | os.PathLike) -> Path:
    """Return the file with the settings that a checkpoint was saved with."""
    return Path(f"{os.fspath(prefix)}.config.json")
