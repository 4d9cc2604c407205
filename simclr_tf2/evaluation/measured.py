"""The measurements of one network."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.linear_classifier import LinearClassifier


@dataclass(frozen=True)
class Measured:
    """Results by name, and the features that they were measured on.

    ``predictions`` holds the predicted label of every test image, by the same names,
    and ``labels`` the true labels. ``others`` holds records that are not rows of the
    table, by protocol. ``weights`` is the digest of the measured network.
    ``neighbours`` are those of the images that ``label_free`` was measured on. Features
    and arrays are None if they were not computed. ``classifiers`` are the linear ones
    that protocols found, by the names of the results. ``worth`` is what
    ``results.worth`` found.
    """

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    train: Features | None = None
    test: Features | None = None
    others: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    neighbours: np.ndarray | None = None  # int32 [n, k]: nearest other images by h
    classifiers: dict[str, LinearClassifier] = field(default_factory=dict)
    worth: dict[str, Any] = field(default_factory=dict)

    def with_more(self, other: Measured) -> Measured:
        """Return these results joined with those of another protocol."""
        return dataclasses.replace(
            self,
            results=self.results | other.results,
            predictions=self.predictions | other.predictions,
            labels=other.labels if self.labels is None else self.labels,
            others=self.others | other.others,
            neighbours=self.neighbours
            if other.neighbours is None
            else other.neighbours,
        )

    def joined(
        self, records: dict[str, dict[str, Any]], labels: np.ndarray
    ) -> Measured:
        """Return these results with more records.

        Their predictions and classifiers are moved out.
        """
        predictions = {
            name: np.asarray(record.pop("predictions"))
            for name, record in records.items()
            if "predictions" in record
        }
        classifiers = {
            name: record.pop("classifier")
            for name, record in records.items()
            if "classifier" in record
        }
        return dataclasses.replace(
            self,
            results=self.results | records,
            predictions=self.predictions | predictions,
            labels=labels if self.labels is None else self.labels,
            classifiers=self.classifiers | classifiers,
        )
