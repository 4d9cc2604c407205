"""The contents of report.html: records of everything that the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simclr_tf2.report.facts import Config


@dataclass(frozen=True, kw_only=True)
class Results:
    """Accuracies of the run and of its baselines.

    Attributes:
        rows: Rows of the result table: ``row`` and accuracies in [0, 1]. The first
            row is the run's own.
        tables: More tables, each with ``title``, ``about`` and its contents: either
            ``heads`` and ``rows`` of texts, where the first text names the row, or a
            preformatted ``text``. With ``words`` the last column is prose.
        chance: Share of the commonest class of the test images; None: accuracies are
            compared with 1 / classes.
        missing: Sentence that says why there are no ``rows``.
        worth: Comparison of the first row with the others, as ``results.worth`` makes
            it; empty if nothing was compared image by image.
    """

    rows: Sequence[Mapping[str, Any]] = ()
    tables: Sequence[Mapping[str, Any]] = ()
    chance: float | None = None
    missing: str = ""
    worth: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Views:
    """Images and two views of each.

    Attributes:
        originals: [k, s, s, 3] in [0, 1] or uint8.
        view1: As ``originals``.
        view2: As ``originals``.
        notes: Description of the augmentation of view 1 and view 2 of each image.
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
        title: Row and protocol whose predictions are counted.
    """

    counts: Any
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything that the report of one run shows; sections without data are left out.

    Attributes:
        title: Heading, such as the name of the run.
        notice: Text at the top, such as that the run was interrupted.
        config: Section -> setting -> value, as used.
        defaults: Section -> setting -> default; differences are highlighted.
        history: Lines of metrics.jsonl: ``step`` and any scalars.
        chance_loss: Chance level of the loss, such as ln(2N - 1), drawn in its curve.
        supervised: Whether the views are from the training of a classifier.
        results: Accuracies.
        views: Examples of training images and their views.
        test: Images of the map, and the queries whose neighbours are shown.
        bank: Images in which neighbours are searched; None: the other test images.
        images_are: What the page calls the images of ``test``.
        class_names: Names of the classes.
        confusion: Confusion matrix of a classifier.
        timings: Phase -> seconds.
        environment: Name -> version, device and so on.
        files: (path, description) of each file that the run wrote.
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
