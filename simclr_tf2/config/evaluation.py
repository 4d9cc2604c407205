"""Settings of the evaluation: what is measured, and on which images."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Any

from simclr_tf2 import protocols
from simclr_tf2.config.checks import (
    require,
    require_choice,
    require_not_negative,
    require_positive,
)
from simclr_tf2.config.modes import EVAL, FINETUNE, MEASURING, PRETRAIN, READING
from simclr_tf2.config.settings import MEASUREMENT, OUTPUT, SPEED, setting
from simclr_tf2.errors import ConfigError

PROTOCOLS = tuple(protocols.PROTOCOLS)
TRANSFER_METHODS = ("linear", "finetune", "random_init")
FINETUNE_BASELINES = ("random_init", "supervised")
CLASSIFIERS = ("logreg", "linear")  # protocols whose classifier can be exported
BEST_METRICS = protocols.best_metrics()
KNN_METRICS = ("cosine", "euclidean")
KNN_WEIGHTINGS = ("exp", "uniform")
SVM_FEATURES = ("h", "feature5")
EVAL_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Settings of the evaluation: what is measured, and on which images."""

    eval_split: str = setting("validation", changes=MEASUREMENT, modes=MEASURING)
    eval_batch_size: int = setting(256, changes=SPEED, modes=MEASURING | READING)
    eval_steps: int = setting(0, changes=MEASUREMENT, modes=MEASURING)
    eval_name: str | None = setting(None, changes=OUTPUT, modes=MEASURING)
    protocols: tuple[str, ...] = setting(
        ("logreg", "knn"), changes=MEASUREMENT, modes=PRETRAIN | EVAL, ours=True
    )
    # The paper's twelve
    transfer_datasets: tuple[str, ...] = setting(
        ("all",), changes=MEASUREMENT, modes=MEASURING, ours=True
    )
    transfer_methods: tuple[str, ...] = setting(
        ("linear",), changes=MEASUREMENT, modes=MEASURING, ours=True
    )
    # Steps, batch size and grid: paper, appendix B.8.1
    transfer_steps: int = setting(
        20_000, changes=MEASUREMENT, modes=MEASURING, ours=True
    )
    transfer_batch_size: int = setting(
        256, changes=MEASUREMENT, modes=MEASURING, ours=True
    )
    # Learning rates x weight decays
    transfer_grid: str = setting("7x8", changes=MEASUREMENT, modes=MEASURING, ours=True)
    # 0: the paper's (appendix B.5)
    semi_epochs: float = setting(0.0, changes=MEASUREMENT, modes=MEASURING, ours=True)
    # 0: the same share of the images as in the paper
    semi_batch_size: int = setting(0, changes=MEASUREMENT, modes=MEASURING, ours=True)
    finetune_baselines: tuple[str, ...] = setting(
        (), changes=MEASUREMENT, modes=FINETUNE | EVAL, protocols=("semi",), ours=True
    )
    # knn_*: of weighted_knn
    knn_k: tuple[int, ...] = setting(
        (10, 20, 100, 200), changes=MEASUREMENT, modes=MEASURING, ours=True
    )
    # arXiv 1805.01978
    knn_temperature: float = setting(
        0.07, changes=MEASUREMENT, modes=MEASURING, ours=True
    )
    knn_metric: str = setting("cosine", changes=MEASUREMENT, modes=MEASURING, ours=True)
    knn_weighting: str = setting("exp", changes=MEASUREMENT, modes=MEASURING, ours=True)
    # Of svm and low_shot
    svm_features: str = setting(
        "feature5", changes=MEASUREMENT, modes=MEASURING, ours=True
    )
    # features_*: of the MMSelfSup benchmark, on ImageNet
    features_epochs: float = setting(
        90.0, changes=MEASUREMENT, modes=MEASURING, ours=True
    )
    features_milestones: tuple[float, ...] = setting(
        (30.0, 60.0), changes=MEASUREMENT, modes=MEASURING, ours=True
    )
    # Labelled images for the probes; "" = train_split
    probe_split: str = setting(
        "", changes=MEASUREMENT, modes=PRETRAIN | EVAL, ours=True
    )
    # Maximum number of images of probe_split
    probe_examples: int = setting(
        50_000, changes=MEASUREMENT, modes=PRETRAIN | EVAL, ours=True
    )
    # Random encoder and PCA rows in the table
    baselines: bool = setting(True, changes=MEASUREMENT, modes=MEASURING, ours=True)
    # Encoders trained elsewhere, as rows of the table
    baseline: tuple[str, ...] = setting(
        (), changes=MEASUREMENT, modes=PRETRAIN | EVAL, ours=True
    )
    # report.html at the end
    report: bool = setting(True, changes=OUTPUT, modes=MEASURING, ours=True)
    # Other run folders
    compare_with: tuple[str, ...] = setting(
        (), changes=MEASUREMENT, modes=EVAL, ours=True
    )
    # Evaluation follows an unfinished run, as in the reference code
    watch: bool = setting(True, changes=MEASUREMENT, modes=EVAL, ours=True)
    # Which checkpoint is kept as the best; pretraining: valid_loss only
    best_metric: str = setting(
        "", changes=MEASUREMENT, modes=PRETRAIN | EVAL, ours=True
    )
    # Protocol whose classifier on h is exported
    classifier_from: str = setting("", changes=OUTPUT, modes=PRETRAIN | EVAL, ours=True)
    # Minutes without a checkpoint; 0: no limit
    watch_timeout: float = setting(0.0, changes=MEASUREMENT, modes=EVAL, ours=True)

    def __post_init__(self) -> None:
        require(
            not self.eval_name or re.fullmatch(EVAL_NAME, self.eval_name) is not None,
            "eval_name",
            "letters, digits, '.', '_' and '-', the first one no '.' or '-' (it names "
            "files)",
            self.eval_name,
        )
        require_positive(self, "eval_batch_size", "probe_examples")
        require_not_negative(self, "eval_steps", "watch_timeout")
        object.__setattr__(self, "knn_k", _neighbour_counts(self.knn_k))
        require_positive(self, "knn_temperature")
        require_choice("knn_metric", self.knn_metric, KNN_METRICS)
        require_choice("knn_weighting", self.knn_weighting, KNN_WEIGHTINGS)
        require_choice("svm_features", self.svm_features, SVM_FEATURES)
        self._check_classifier_from()
        require_positive(self, "features_epochs")
        milestones = _milestones(self.features_milestones, self.features_epochs)
        object.__setattr__(self, "features_milestones", milestones)
        others = (self.baseline,) if isinstance(self.baseline, str) else self.baseline
        object.__setattr__(self, "baseline", tuple(others))
        runs = (self.compare_with,) if isinstance(self.compare_with, str) else None
        object.__setattr__(self, "compare_with", runs or tuple(self.compare_with or ()))
        for protocol in self.protocols:
            require_choice("protocols", protocol, PROTOCOLS)
        if self.best_metric:
            require_choice("best_metric", self.best_metric, BEST_METRICS)
        for method in self.transfer_methods:
            require_choice("transfer_methods", method, TRANSFER_METHODS)
        if "transfer" in self.protocols and not self.transfer_methods:
            raise ConfigError(
                "--protocols=transfer measures nothing with an empty "
                f"--transfer_methods; pass one or more of {', '.join(TRANSFER_METHODS)}"
            )
        for baseline in self.finetune_baselines:
            require_choice("finetune_baselines", baseline, FINETUNE_BASELINES)
        require_positive(self, "transfer_steps", "transfer_batch_size")
        require_not_negative(self, "semi_epochs", "semi_batch_size")
        _ = self.transfer_grid_size

    @property
    def limits(self) -> tuple[int, int | None]:
        """Maximum numbers of probe and evaluation images that are read."""
        return self.probe_examples, self.eval_steps * self.eval_batch_size or None

    @property
    def transfer_grid_size(self) -> tuple[int, int]:
        """Number of learning rates and of weight decays that are tried."""
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", self.transfer_grid)
        require(
            match is not None,
            "transfer_grid",
            "two numbers above 0, LEARNING_RATESxWEIGHT_DECAYS (7x8)",
            self.transfer_grid,
        )
        assert match is not None
        return int(match[1]), int(match[2])

    def _check_classifier_from(self) -> None:
        name = self.classifier_from
        if not name:
            return
        require_choice("classifier_from", name, CLASSIFIERS)
        require(
            name in self.protocols,
            "classifier_from",
            f"one of --protocols, which are {','.join(self.protocols) or 'empty'}",
            name,
        )


def _neighbour_counts(values: Any) -> tuple[int, ...]:
    """Read one or more numbers of neighbours, each 1 or more, also from text."""
    texts = [str(value).strip() for value in values]
    ok = bool(texts) and all(text.isdigit() and int(text) > 0 for text in texts)
    require(ok, "knn_k", "one or more numbers above 0", ",".join(texts))
    return tuple(map(int, texts))


def _milestones(values: Any, epochs: float) -> tuple[float, ...]:
    """Read ascending milestones below ``epochs``, also from text."""
    texts = [text for value in values if (text := str(value).strip())]
    try:
        found = tuple(map(float, texts))
    except ValueError:
        found = (float("nan"),)
    ends = (0.0, *found, epochs)
    require(
        all(first < second for first, second in itertools.pairwise(ends)),
        "features_milestones",
        f"epochs that ascend, above 0 and below --features_epochs={epochs:g}",
        ",".join(texts),
    )
    return found
