"""The evaluation protocols: one record for each.

To add a protocol, write one file with its function and one entry here. A record names
its functions as text and does not import them, because the command line, the tables
and the settings read the records without TensorFlow. ``load`` imports a function.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Labels = Literal["one", "several", "none"]
ONE_LABEL: frozenset[Labels] = frozenset({"one"})
YES_OR_NO_LABELS: frozenset[Labels] = frozenset({"one", "several"})
ANY_LABELS: frozenset[Labels] = frozenset({"one", "several", "none"})

_PROTOCOLS = "simclr_tf2.evaluation.protocols"
_RESULTS = "simclr_tf2.results"
_REPORT = "simclr_tf2.report.tables"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """An evaluation protocol.

    Attributes:
        title: Name in tables.
        help: Short description for the help of ``--protocols``.
        measure: "module:function" that runs the protocol. If it reads features:
            ``(train, test, *, seed, **settings) -> record``. If it reads the network:
            ``(subject) -> Measured``.
        plot_title: Name in plots; "" means ``title``.
        reads: "features": the frozen features of two splits; "network": the network.
        settings: Parameter of ``measure`` -> setting of ``EvaluationConfig``.
        features: Setting that selects the features; "" means that h is read.
        labels: Kinds of labels that it accepts: "one" class per image, "several"
            yes-or-no labels per image, "none".
        published: Whether its published values were measured with all training images.
        ranks: Name for ``--best_metric`` -> key of its record; larger is better.
        rows: Whether its records are rows of ``results`` in results.json. If not, they
            are under keys of their own, which begin with the name of the protocol.
        table: "module:function" that formats its records as a separate table; "" if
            they are a column of the common table.
        scalars: "module:function" that returns tags and values for TensorBoard; only
            for records that are not rows.
        report: "module:function" that makes a table of the report in addition to the
            common one; "" if there is none.
    """

    title: str
    help: str
    measure: str
    plot_title: str = ""
    reads: Literal["features", "network"] = "features"
    settings: Mapping[str, str] = field(default_factory=dict)
    features: str = ""
    labels: frozenset[Labels] = ONE_LABEL
    published: bool = False
    ranks: Mapping[str, str] = field(default_factory=dict)
    rows: bool = True
    table: str = ""
    scalars: str = ""
    report: str = ""


PROTOCOLS: dict[str, Protocol] = {
    "logreg": Protocol(
        title="LogReg",
        plot_title="Logistic regression",
        help="logistic regression",
        measure=f"{_PROTOCOLS}.logistic:logistic_regression",
        ranks={"logreg": "value"},
    ),
    "knn": Protocol(
        title="kNN",
        plot_title="10-NN",
        help="nearest neighbours on standardised h",
        measure=f"{_PROTOCOLS}.knn:standardized_knn",
        ranks={"knn": "value"},
    ),
    "weighted_knn": Protocol(
        title="weighted kNN",
        plot_title="Weighted k-NN",
        help="nearest neighbours with weighted votes (--knn_k)",
        measure=f"{_PROTOCOLS}.knn:weighted_knn_top1",
        settings={
            "ks": "knn_k",
            "temperature": "knn_temperature",
            "metric": "knn_metric",
            "weighting": "knn_weighting",
        },
        published=True,
        ranks={"weighted_knn": "value"},
        report=f"{_REPORT}:neighbours_by_number",
    ),
    "logreg_sweep": Protocol(
        title="LogReg sweep",
        plot_title="Logistic regression, swept",
        help="logistic regression, penalty chosen on held-out images",
        measure=f"{_PROTOCOLS}.logistic_sweep:logreg_sweep",
        published=True,
        ranks={"logreg_sweep": "value"},
    ),
    "logreg_adam": Protocol(
        title="LogReg (Adam)",
        plot_title="Logistic regression, Adam",
        help="logistic regression, weight decay chosen on held-out images",
        measure=f"{_PROTOCOLS}.logistic_adam:logreg_adam",
        ranks={"logreg_adam": "value"},
    ),
    "linear": Protocol(
        title="linear SGD",
        plot_title="Linear classifier",
        help="linear classifier trained with SGD",
        measure=f"{_PROTOCOLS}.linear:linear_sgd",
        published=True,
        ranks={"linear": "value"},
    ),
    "svm": Protocol(
        title="SVM",
        plot_title="Linear SVM",
        help="linear SVMs",
        measure=f"{_PROTOCOLS}.svm:svm",
        features="svm_features",
        labels=YES_OR_NO_LABELS,
        published=True,
        ranks={"svm": "value"},
        report=f"{_REPORT}:svm",
    ),
    "low_shot": Protocol(
        title="low-shot",
        plot_title="Few labels",
        help="linear SVMs on few images per class",
        measure=f"{_PROTOCOLS}.low_shot:low_shot",
        features="svm_features",
        labels=YES_OR_NO_LABELS,
        published=True,
        ranks={"low_shot": "value"},
        report=f"{_REPORT}:few_labels",
    ),
    "features": Protocol(
        title="features",
        help="linear classifiers at five depths",
        reads="network",
        measure="simclr_tf2.evaluation.stage_features:measure",
        published=True,
        table=f"{_RESULTS}.table:render",
        report=f"{_REPORT}:depths",
    ),
    "label_free": Protocol(
        title="label_free",
        help="measures without labels",
        reads="network",
        measure="simclr_tf2.evaluation.pairs_of_views:measure",
        labels=ANY_LABELS,
        ranks={"rankme": "h_rankme"},  # arXiv 2210.02885: chooses without labels
        rows=False,
        table=f"{_RESULTS}.label_free_table:render",
        scalars=f"{_RESULTS}.label_free_table:scalars",
        report=f"{_REPORT}:label_free",
    ),
    "transfer": Protocol(
        title="transfer",
        help="other data sets",
        reads="network",
        measure="simclr_tf2.evaluation.transfer.protocol:measure",
        labels=ANY_LABELS,
        rows=False,
        table=f"{_RESULTS}.transfer_table:render",
        scalars=f"{_RESULTS}.transfer_table:scalars",
        report=f"{_REPORT}:transfer",
    ),
    "semi": Protocol(
        title="semi",
        help="fine-tuning with few labels",
        reads="network",
        measure="simclr_tf2.evaluation.semi_supervised:measure",
        rows=False,
        table=f"{_RESULTS}.semi_table:render",
        scalars=f"{_RESULTS}.semi_table:scalars",
        report=f"{_REPORT}:semi",
    ),
}

# Metrics of --best_metric that no protocol measures.
OWN_CLASSIFIER = "supervised"
VALID_LOSS = "valid_loss"


def load(name: str) -> Callable[..., Any]:
    """Import the function that a record names as "module:function"."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def ranking() -> dict[str, str]:
    """Map the metrics of ``--best_metric`` to the protocols that measure them."""
    return {name: key for key, p in PROTOCOLS.items() for name in p.ranks}


def best_metrics() -> tuple[str, ...]:
    """Return the choices of ``--best_metric``."""
    return (*ranking(), OWN_CLASSIFIER, VALID_LOSS)


def on_features(names: Iterable[str]) -> tuple[str, ...]:
    """Select the protocols that read frozen features."""
    return tuple(name for name in names if PROTOCOLS[name].reads == "features")


def on_network(names: Iterable[str]) -> tuple[str, ...]:
    """Select the protocols that read the network, in the order of ``PROTOCOLS``."""
    chosen = set(names)
    return tuple(
        name for name, p in PROTOCOLS.items() if p.reads == "network" and name in chosen
    )


def that_take(labels: Labels, names: Iterable[str] = PROTOCOLS) -> tuple[str, ...]:
    """Select the protocols that accept such labels."""
    return tuple(name for name in names if labels in PROTOCOLS[name].labels)


def published(names: Iterable[str] = PROTOCOLS) -> tuple[str, ...]:
    """Select those whose published values were measured with all training images."""
    return tuple(name for name in names if PROTOCOLS[name].published)


def with_chosen_features(names: Iterable[str] = PROTOCOLS) -> tuple[str, ...]:
    """Select the protocols that can read features other than h."""
    return tuple(name for name in names if PROTOCOLS[name].features)


def title(name: str) -> str:
    """Return the title of a protocol, or of the run's own classifier, in tables."""
    if name == OWN_CLASSIFIER:
        return "classifier"
    return PROTOCOLS[name].title if name in PROTOCOLS else name


def records_of(name: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Select the records of a protocol that are not rows, by the name of their keys.

    Args:
        name: Name of the protocol.
        document: The contents of results.json, or the part of it without ``results``.
    """
    if PROTOCOLS[name].rows:
        return {}
    return {
        key: value
        for key, value in document.items()
        if key == name or key.startswith(f"{name}_")
    }


def help_text() -> str:
    """Return one line of text that describes all protocols, for ``--help``."""
    return " ".join(f"{name}: {p.help}." for name, p in PROTOCOLS.items())
