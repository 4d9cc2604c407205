"""The contents of report.html: records of everything that the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simclr_tf2.report.facts import Config


@dataclass(frozen=True, kw_only=True)
class Results:
    """Accuracies of the run and what they are compared with.

    Attributes:
        rows: Rows of the result table: ``row`` and accuracies in [0, 1]. The first
            row is the run's own.
        tables: More results: ``title``, ``about`` and either ``heads`` and ``rows`` of
            texts, the first of each row its name, or ``text``, shown as it is. With
            ``words`` the last column is prose.
        chance: Share of the commonest class of the test images; by default the
            accuracies stand beside 1 / classes.
        missing: Why there are no ``rows``, a sentence.
    """

    rows: Sequence[Mapping[str, Any]] = ()
    tables: Sequence[Mapping[str, Any]] = ()
    chance: float | None = None
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class Views:
    """Images and two views of each.

    Attributes:
        originals: [k, s, s, 3] in [0, 1] or uint8.
        view1: As ``originals``.
        view2: As ``originals``.
        notes: What was drawn for view 1 and view 2 of each image.
    """

    originals: Any
    view1: Any
    view2: Any
    notes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class EncodedImages:
    """Images with their representations.

    Attributes:
        images: [n, s, s, 3] uint8 or float in [0, 1].
        features: [n, d] representations h.
        labels: [n] integers, -1 for none; None without labels.
    """

    images: Any
    features: Any
    labels: Any | None = None


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        counts: [c, c], row = true class.
        title: Whose predictions they count.
    """

    counts: Any
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything that the report of one run shows; what is missing is left out.

    Attributes:
        title: Heading, e.g. the name of the run.
        notice: Shown on top, e.g. that the run was interrupted.
        config: Section -> setting -> value, as used.
        defaults: The same for the defaults; differences are highlighted.
        history: Lines of metrics.jsonl: ``step`` and scalars, of any mix.
        chance_loss: ln(2N - 1), drawn into the loss curve.
        supervised: Whether the views are those of a classifier's training.
        results: Accuracies.
        views: Examples of what the network was trained on.
        test: Images that are mapped and whose neighbours are shown.
        bank: Images in which neighbours are searched; None: the other test images.
        images_are: What ``test`` is, in words of the page.
        class_names: Names of the classes.
        confusion: Confusion matrix of a classifier.
        timings: Phase -> seconds.
        environment: Name -> version, device and so on.
        files: (path, description) of what the run wrote.
    """

    title: str
    notice: str = ""
    config: Config | None = None
    defaults: Config | None = None
    history: Sequence[Mapping[str, Any]] = ()
    chance_loss: float | None = None
    supervised: bool = False
    results: Results = Results()
    views: Views | None = None
    test: EncodedImages | None = None
    bank: EncodedImages | None = None
    images_are: str = "test images"
    class_names: Sequence[str] = ()
    confusion: Confusion | None = None
    timings: Mapping[str, float] | None = None
    environment: Mapping[str, str] | None = None
    files: Sequence[tuple[Any, str]] = ()

    @property
    def guess(self) -> tuple[float, str] | None:
        """Accuracy of guessing, in [0, 1], and what kind of guess it is."""
        if self.results.chance:
            return self.results.chance, "commonest class"
        if len(self.class_names) > 1:
            return 1 / len(self.class_names), "chance"
        return None
