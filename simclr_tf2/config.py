"""Configuration of a run: frozen dataclasses, the only home of every default.

Each field of each section is one command-line flag of the same name (``flags.py``).
Defaults are those of the reference code (google-research/simclr, tf2) unless the field
says ``ours``; docs/differences.md lists the deviations. ``changes`` says what another
value changes, and so whether a run may be started again with it. A section checks what
can be checked from its own values; ``Config`` checks what spans sections. Numbers that
follow from the data (steps, scaled learning rate) are functions elsewhere, never
written back.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from simclr_tf2 import places, suggestions
from simclr_tf2.errors import ConfigError
from simclr_tf2.settings import MEASUREMENT, OUTPUT, PLACE, SPEED, WEIGHTS, setting

MODES = (
    "pretrain",
    "finetune",
    "eval",
    "embed",
    "export",
    "scan",
    "train",
    "train_then_eval",
)
TRAIN_MODES = ("pretrain", "finetune")
RESNET_DEPTHS = (10, 18, 34, 50, 101, 152, 200)
STEMS = ("auto", "imagenet", "cifar", "stride2")
PROJ_HEAD_MODES = ("none", "linear", "nonlinear")
LOSSES = ("nt_xent", "nt_logistic", "margin")
OPTIMIZERS = ("lars", "momentum", "adam", "adamw", "lamb")
LEARNING_RATE_SCALINGS = ("linear", "sqrt", "none")
MIXED_PRECISION = ("off", "bfloat16", "float16", "auto")
REMAT = ("off", "blocks", "groups")
STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")
PROTOCOLS = (
    "logreg",
    "knn",
    "weighted_knn",
    "logreg_sweep",
    "logreg_adam",
    "linear",
    "svm",
    "low_shot",
    "features",
    "label_free",
    "transfer",
    "semi",
)
TRANSFER_METHODS = ("linear", "finetune", "random_init")
FINETUNE_BASELINES = ("random_init", "supervised")
BEST_METRICS = (
    "logreg",
    "knn",
    "weighted_knn",
    "logreg_sweep",
    "logreg_adam",
    "linear",
    "svm",
    "low_shot",
    "supervised",
    "rankme",
    "valid_loss",
)
KNN_METRICS = ("cosine", "euclidean")
KNN_WEIGHTINGS = ("exp", "uniform")
SVM_FEATURES = ("feature5", "h")
EXPORT_FORMATS = ("keras", "saved_model", "keras_uint8")
IMAGE_LAYOUTS = ("auto", "flat", "class", "split_class")
AUGMENT_BACKENDS = ("auto", "numba", "tf")
AUGMENT_PLACES = ("host", "device")
MICRO_BATCH_NORMS = ("micro", "frozen")
CACHES = ("auto", "encoded", "decoded", "off")
FILE_CHECKS = ("decode", "header")
PROGRESS = ("auto", "bar", "plain", "none")
EVAL_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"


def _require(ok: bool, name: str, must: str, received: Any) -> None:
    if not ok:
        raise refusal(name, must, received)


def refusal(
    name: str, must: str, received: Any, *, meant: str | None = None
) -> ConfigError:
    """Make the error that says what ``--name`` must be, what it is, what is meant."""
    hint = f"; did you mean {meant}?" if meant else "."
    return ConfigError(
        f"--{name} must be {must}. Received: {_as_typed(received)}{hint}"
    )


def _as_typed(value: Any) -> str:
    """Write a value as one types it on the command line."""
    if value is None or value == "" or value == ():
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(_as_typed, value))
    return str(value)


def _require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        meant = suggestions.nearest(str(value), choices)
        raise refusal(name, f"one of {', '.join(choices)}", value, meant=meant)


def _require_positive(section: Any, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        _require(value > 0, name, "greater than 0", value)


def _require_not_negative(section: Any, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        _require(value >= 0, name, "0 or greater", value)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Settings of the images: which are read, and at which size."""

    dataset: str = setting("imagenet2012")
    # In place of dataset, as the next two
    image_dir: str | None = setting(None, ours=True)
    manifest: str | None = setting(None, ours=True)
    tfrecords: str | None = setting(None, ours=True)
    image_layout: str = setting("auto", ours=True)
    label_columns: tuple[str, ...] = setting((), ours=True)  # of the manifest
    image_key: str = setting("image", ours=True)
    label_key: str = setting("label", ours=True)
    # Data in a checkout; else TFDS's folder
    data_dir: str = setting(places.data_dir(), changes=PLACE, ours=True)
    # The reference downloads unasked
    download: bool = setting(False, changes=PLACE, ours=True)
    train_split: str = setting("train")
    # None: 0.05 of own images without labels
    valid_size: float | None = setting(None, ours=True)
    # Of each class, for --mode=finetune
    label_fraction: float = setting(1.0, ours=True)
    labels_per_class: int = setting(0, ours=True)  # the same as a number
    image_size: int | tuple[int, int] = setting(224)
    image_channels: int = setting(3, ours=True)
    pixel_range: str = setting("auto", ours=True)
    cache_dataset: bool = setting(False, changes=SPEED)
    cache: str = setting("auto", changes=SPEED, ours=True)
    check_files: str = setting("decode", changes=OUTPUT, ours=True)
    max_bad_fraction: float = setting(0.01, changes=OUTPUT, ours=True)
    max_image_pixels: int = setting(1 << 27, ours=True)  # 400 MB once decoded to RGB
    data_service: str | None = setting(None, changes=SPEED, ours=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_size", parse_image_size(self.image_size))
        object.__setattr__(self, "pixel_range", parse_pixel_range(self.pixel_range))
        _require(bool(self.dataset), "dataset", "a data set name", self.dataset)
        for side in self.height_width:
            _require(8 <= side <= 1024, "image_size", "8 to 1024 pixels", side)
        given = [n for n in ("image_dir", "manifest", "tfrecords") if getattr(self, n)]
        if len(given) > 1 and given != ["image_dir", "manifest"]:
            raise ConfigError(
                f"--{given[0]} and --{given[1]} both say where the images are; pass one"
            )
        _require_choice("image_layout", self.image_layout, IMAGE_LAYOUTS)
        _require_choice("cache", self.cache, CACHES)
        _require_choice("check_files", self.check_files, FILE_CHECKS)
        _require_positive(self, "image_channels", "max_image_pixels")
        _require(
            0 <= self.max_bad_fraction <= 1,
            "max_bad_fraction",
            "from 0 to 1",
            self.max_bad_fraction,
        )
        _require(
            0 < self.label_fraction <= 1,
            "label_fraction",
            "above 0 and at most 1",
            self.label_fraction,
        )
        _require_not_negative(self, "labels_per_class")
        _require(
            self.valid_size is None or 0 <= self.valid_size < 1,
            "valid_size",
            "from 0 (none) to below 1",
            self.valid_size,
        )
        if self.labels_per_class and self.label_fraction < 1:
            raise ConfigError(
                "--label_fraction and --labels_per_class both say how many labels are "
                "used; pass one"
            )
        if self.label_columns and not self.manifest:
            raise ConfigError("--label_columns names columns of a --manifest; pass one")
        if self.data_service is not None:
            _require(
                re.match(r"(grpc(\+\w+)?)://.+:\d+$", self.data_service) is not None,
                "data_service",
                "an address such as grpc://host:5000",
                self.data_service,
            )

    @property
    def cache_mode(self) -> str:
        """Form in which images are kept; ``--cache_dataset`` is the older word."""
        return "encoded" if self.cache_dataset and self.cache == "auto" else self.cache

    @property
    def height_width(self) -> tuple[int, int]:
        """Rows and columns of a view."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else size

    @property
    def source(self) -> str:
        """The images by the name that the user gave them."""
        return self.manifest or self.image_dir or self.tfrecords or self.dataset

    @property
    def by_name(self) -> bool:
        """Whether the images are a data set with a name, not files of the user."""
        return not self.own_images and not self.dataset.endswith((".npz", ".npy"))

    @property
    def own_images(self) -> bool:
        """Whether the images are the user's files, which may have no labels."""
        return bool(self.manifest or self.image_dir or self.tfrecords)

    @property
    def array_file(self) -> bool:
        """Whether ``dataset`` is a file of arrays."""
        return not self.own_images and self.dataset.endswith((".npz", ".npy"))


def parse_image_size(value: Any, flag: str = "image_size") -> int | tuple[int, int]:
    """Read ``224``, ``"224"`` or ``"HxW"`` (also as a pair) as side or (height, width).

    Raises:
        ConfigError: It is none of these.
    """
    parts = str(value).lower().split("x") if isinstance(value, str) else value
    parts = list(parts) if isinstance(parts, list | tuple) else [parts]
    try:
        sides = [int(part) for part in parts]
    except (TypeError, ValueError):
        sides = []
    _require(
        len(sides) in (1, 2) and all(side > 0 for side in sides),
        flag,
        "a number, or HEIGHTxWIDTH (64x96)",
        value,
    )
    return sides[0] if len(set(sides)) == 1 else (sides[0], sides[1])


def parse_pixel_range(value: Any) -> str:
    """Read ``auto``, ``full`` or ``LO,HI`` (also as a pair) and spell it one way.

    Raises:
        ConfigError: It is none of these, or LO is not below HI.
    """
    if value in ("auto", "full"):
        return str(value)
    parts = value.split(",") if isinstance(value, str) else value
    try:
        low, high = (float(part) for part in parts)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    _require(
        math.isfinite(low) and math.isfinite(high) and low < high,
        "pixel_range",
        "auto, full, or LO,HI: the values of black and white (0,4095)",
        value,
    )
    return f"{low:.9g},{high:.9g}"


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Settings of how an image's views are drawn (paper section 3 and appendix A)."""

    color_jitter_strength: float = setting(1.0)
    use_blur: bool = setting(True)  # of own images above 32 pixels
    num_views: int = setting(2, ours=True)
    num_local_views: int = setting(0, ours=True)  # multi-crop, arXiv 2006.09882
    # None: 3/7 of a view
    local_image_size: int | tuple[int, int] | None = setting(None, ours=True)
    augment_backend: str = setting("auto", changes=SPEED, ours=True)
    augment_on: str = setting("host", changes=SPEED, ours=True)

    def __post_init__(self) -> None:
        _require_not_negative(self, "color_jitter_strength")
        _require_choice("augment_backend", self.augment_backend, AUGMENT_BACKENDS)
        _require_choice("augment_on", self.augment_on, AUGMENT_PLACES)
        _require(2 <= self.num_views <= 16, "num_views", "2 to 16", self.num_views)
        _require(
            0 <= self.num_local_views <= 16,
            "num_local_views",
            "0 to 16",
            self.num_local_views,
        )
        if self.local_image_size is not None:
            size = parse_image_size(self.local_image_size, "local_image_size")
            object.__setattr__(self, "local_image_size", size)

    def local_size(self, height_width: tuple[int, int]) -> tuple[int, int]:
        """Return rows and columns of a local view beside views of ``height_width``.

        By default 96 beside 224, as in SwAV (arXiv 2006.09882), in multiples of 4.
        """
        size = self.local_image_size
        if size is None:
            height, width = (max(8, 4 * round(s * 3 / 28)) for s in height_width)
            return height, width
        return (size, size) if isinstance(size, int) else size


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Settings of the backbone f, the projection head g and the supervised head."""

    resnet_depth: int = setting(50)
    width_multiplier: float = setting(1.0)
    sk_ratio: float = setting(0.0)
    se_ratio: float = setting(0.0)
    # Auto: cifar up to 32 px, else imagenet (reference)
    stem: str = setting("auto", ours=True)
    batch_norm_decay: float = setting(0.9)
    global_bn: bool = setting(True)
    proj_head_mode: str = setting("nonlinear")
    proj_out_dim: int = setting(128)
    num_proj_layers: int = setting(3)
    ft_proj_selector: int = setting(0)
    zero_init_logits_layer: bool = setting(False)
    fine_tune_after_block: int = setting(-1)

    def __post_init__(self) -> None:
        _require(
            self.resnet_depth in RESNET_DEPTHS,
            "resnet_depth",
            f"one of {', '.join(map(str, RESNET_DEPTHS))}",
            self.resnet_depth,
        )
        _require(
            0 < self.width_multiplier <= 16,
            "width_multiplier",
            "greater than 0 and at most 16",
            self.width_multiplier,
        )
        for name in ("sk_ratio", "se_ratio"):
            value = getattr(self, name)
            _require(0 <= value <= 1, name, "from 0 to 1", value)
        _require_choice("stem", self.stem, STEMS)
        _require(
            0 < self.batch_norm_decay < 1,
            "batch_norm_decay",
            "between 0 and 1",
            self.batch_norm_decay,
        )
        _require_choice("proj_head_mode", self.proj_head_mode, PROJ_HEAD_MODES)
        _require_positive(self, "proj_out_dim", "num_proj_layers")
        layers = {"none": 0, "linear": 1}.get(self.proj_head_mode, self.num_proj_layers)
        _require(
            -1 <= self.ft_proj_selector <= layers,
            "ft_proj_selector",
            f"from -1 to the number of head layers ({layers})",
            self.ft_proj_selector,
        )
        _require(
            -1 <= self.fine_tune_after_block <= 4,
            "fine_tune_after_block",
            "from -1 (train all) to 4 (train the head only)",
            self.fine_tune_after_block,
        )


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Settings of the contrastive loss (paper section 2.1)."""

    loss: str = setting("nt_xent", ours=True)  # the reference has one loss
    temperature: float = setting(0.1)
    hidden_norm: bool = setting(True)
    margin: float = setting(0.8, ours=True)  # one of the paper's grid (table 4)
    semi_hard: bool = setting(False, ours=True)  # negatives, of nt_logistic and margin
    # Of nt_xent; off, auto or rows
    loss_block_size: str | int = setting("auto", changes=SPEED, ours=True)

    def __post_init__(self) -> None:
        _require_choice("loss", self.loss, LOSSES)
        _require_positive(self, "temperature")
        object.__setattr__(self, "loss_block_size", _block_size(self.loss_block_size))
        _require_not_negative(self, "margin")
        if self.semi_hard and self.loss == "nt_xent":
            raise ConfigError(
                "--semi_hard chooses negatives of --loss=nt_logistic or margin; "
                "nt_xent uses all of them"
            )


def _auto_or_count(name: str, value: Any) -> str | int:
    """Read ``auto`` or a number of at least 1."""
    text = str(value)
    ok = text == "auto" or (text.isdigit() and int(text) > 0)
    _require(ok, name, "auto or a number of at least 1", value)
    return int(text) if text.isdigit() else text


def _block_size(value: Any) -> str | int:
    """Read ``auto``, ``off`` or a number of rows of at least 1."""
    text = str(value)
    ok = text in ("auto", "off") or (text.isdigit() and int(text) > 0)
    _require(ok, "loss_block_size", "auto, off or a number of rows", value)
    return int(text) if text.isdigit() else text


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Settings of update rule and learning rate (paper section 2.2, appendix B)."""

    optimizer: str = setting("lars")
    learning_rate: float = setting(0.3)
    learning_rate_scaling: str = setting("linear")
    warmup_epochs: float = setting(10.0)
    weight_decay: float = setting(1e-6)
    momentum: float = setting(0.9)
    # Of the classifier, in finetune
    head_lr_multiplier: float = setting(1.0, ours=True)
    # Of all below it, in finetune
    backbone_lr_multiplier: float = setting(1.0, ours=True)

    def __post_init__(self) -> None:
        _require_choice("optimizer", self.optimizer, OPTIMIZERS)
        _require_choice(
            "learning_rate_scaling", self.learning_rate_scaling, LEARNING_RATE_SCALINGS
        )
        _require_positive(self, "learning_rate")
        _require_not_negative(self, "warmup_epochs", "weight_decay")
        _require_positive(self, "head_lr_multiplier", "backbone_lr_multiplier")
        _require(0 <= self.momentum < 1, "momentum", "from 0 to below 1", self.momentum)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of training: how long, how much at once, how often saved and shown."""

    train_batch_size: int = setting(512)
    train_epochs: float = setting(100.0)
    train_steps: int = setting(0)
    lineareval_while_pretraining: bool = setting(True)
    mixed_precision: str = setting("off", ours=True)
    jit_compile: bool = setting(False, changes=SPEED, ours=True)
    # The reference: until a checkpoint
    steps_per_loop: str | int = setting("auto", changes=SPEED, ours=True)
    # Recompute activations (arXiv 1604.06174)
    remat: str = setting("off", changes=SPEED, ours=True)
    checkpoint: str | None = setting(None)
    extend: bool = setting(False, changes=OUTPUT, ours=True)
    checkpoint_epochs: float = setting(1.0, changes=OUTPUT)
    checkpoint_steps: int = setting(0, changes=OUTPUT)
    keep_checkpoint_max: int = setting(5, changes=OUTPUT)
    log_steps: int = setting(50, changes=OUTPUT, ours=True)
    # Online kNN and collapse metrics
    monitor_epochs: float = setting(1.0, changes=MEASUREMENT, ours=True)
    # Of the training images, held out
    finetune_validation: float = setting(0.0, ours=True)
    progress: str = setting("auto", changes=OUTPUT, ours=True)
    deterministic: bool = setting(False, ours=True)  # op determinism
    # Cached gradients (arXiv 2101.06983); 0: off
    micro_batch_size: int = setting(0, ours=True)
    micro_batch_norm: str = setting("micro", ours=True)

    def __post_init__(self) -> None:
        _require(
            self.train_batch_size >= 2,
            "train_batch_size",
            "2 or more (a pair needs negatives)",
            self.train_batch_size,
        )
        _require_not_negative(
            self,
            "train_steps",
            "checkpoint_steps",
            "checkpoint_epochs",
            "train_epochs",
            "monitor_epochs",
        )
        _require(
            self.train_steps > 0 or self.train_epochs > 0,
            "train_epochs",
            "greater than 0 unless --train_steps is given",
            self.train_epochs,
        )
        _require_choice("mixed_precision", self.mixed_precision, MIXED_PRECISION)
        _require_choice("remat", self.remat, REMAT)
        steps = _auto_or_count("steps_per_loop", self.steps_per_loop)
        object.__setattr__(self, "steps_per_loop", steps)
        _require_positive(self, "keep_checkpoint_max", "log_steps")
        _require_choice("progress", self.progress, PROGRESS)
        _require_choice("micro_batch_norm", self.micro_batch_norm, MICRO_BATCH_NORMS)
        _require_not_negative(self, "micro_batch_size")
        _require(
            0 <= self.finetune_validation <= 0.5,
            "finetune_validation",
            "from 0 (none) to 0.5",
            self.finetune_validation,
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Settings of what is measured on the frozen h, and on which images."""

    eval_split: str = setting("validation", changes=MEASUREMENT)
    eval_batch_size: int = setting(256, changes=SPEED)
    eval_steps: int = setting(0, changes=MEASUREMENT)
    eval_name: str | None = setting(None, changes=OUTPUT)
    protocols: tuple[str, ...] = setting(
        ("logreg", "knn"), changes=MEASUREMENT, ours=True
    )
    # The paper's twelve
    transfer_datasets: tuple[str, ...] = setting(
        ("all",), changes=MEASUREMENT, ours=True
    )
    transfer_methods: tuple[str, ...] = setting(
        ("linear",), changes=MEASUREMENT, ours=True
    )
    # As the next two: paper, appendix B.8.1
    transfer_steps: int = setting(20_000, changes=MEASUREMENT, ours=True)
    transfer_batch_size: int = setting(256, changes=MEASUREMENT, ours=True)
    # Learning rates x weight decays
    transfer_grid: str = setting("7x8", changes=MEASUREMENT, ours=True)
    # 0: the paper's (appendix B.5)
    semi_epochs: float = setting(0.0, changes=MEASUREMENT, ours=True)
    # 0: the paper's part of the images
    semi_batch_size: int = setting(0, changes=MEASUREMENT, ours=True)
    finetune_baselines: tuple[str, ...] = setting((), changes=MEASUREMENT, ours=True)
    # Of weighted_knn, as the next
    knn_k: tuple[int, ...] = setting((10, 20, 100, 200), changes=MEASUREMENT, ours=True)
    # arXiv 1805.01978
    knn_temperature: float = setting(0.07, changes=MEASUREMENT, ours=True)
    knn_metric: str = setting("cosine", changes=MEASUREMENT, ours=True)
    knn_weighting: str = setting("exp", changes=MEASUREMENT, ours=True)
    # Of svm and low_shot
    svm_features: str = setting("feature5", changes=MEASUREMENT, ours=True)
    # The benchmark's on ImageNet, as the next
    features_epochs: float = setting(90.0, changes=MEASUREMENT, ours=True)
    features_milestones: tuple[float, ...] = setting(
        (30.0, 60.0), changes=MEASUREMENT, ours=True
    )
    # Labelled images for the probes; "" = train_split
    probe_split: str = setting("", changes=MEASUREMENT, ours=True)
    # At most so many of them
    probe_examples: int = setting(50_000, changes=MEASUREMENT, ours=True)
    # Random encoder and PCA rows in the table
    baselines: bool = setting(True, changes=MEASUREMENT, ours=True)
    report: bool = setting(True, changes=OUTPUT, ours=True)  # report.html at the end
    # Other run folders
    compare_with: tuple[str, ...] = setting((), changes=MEASUREMENT, ours=True)
    # Eval of an unfinished run follows it (reference)
    watch: bool = setting(True, changes=MEASUREMENT, ours=True)
    # Which checkpoint is kept as the best
    best_metric: str = setting("", changes=MEASUREMENT, ours=True)
    # Minutes without a checkpoint; 0: no limit
    watch_timeout: float = setting(0.0, changes=MEASUREMENT, ours=True)

    def __post_init__(self) -> None:
        _require(
            not self.eval_name or re.fullmatch(EVAL_NAME, self.eval_name) is not None,
            "eval_name",
            "letters, digits, '.', '_' and '-', the first one no '.' or '-' (it names "
            "files)",
            self.eval_name,
        )
        _require_positive(self, "eval_batch_size", "probe_examples")
        _require_not_negative(self, "eval_steps", "watch_timeout")
        object.__setattr__(self, "knn_k", _neighbour_counts(self.knn_k))
        _require_positive(self, "knn_temperature")
        _require_choice("knn_metric", self.knn_metric, KNN_METRICS)
        _require_choice("knn_weighting", self.knn_weighting, KNN_WEIGHTINGS)
        _require_choice("svm_features", self.svm_features, SVM_FEATURES)
        _require_positive(self, "features_epochs")
        milestones = _milestones(self.features_milestones, self.features_epochs)
        object.__setattr__(self, "features_milestones", milestones)
        runs = (self.compare_with,) if isinstance(self.compare_with, str) else None
        object.__setattr__(self, "compare_with", runs or tuple(self.compare_with or ()))
        for protocol in self.protocols:
            _require_choice("protocols", protocol, PROTOCOLS)
        if self.best_metric:
            _require_choice("best_metric", self.best_metric, BEST_METRICS)
        for method in self.transfer_methods:
            _require_choice("transfer_methods", method, TRANSFER_METHODS)
        if "transfer" in self.protocols and not self.transfer_methods:
            raise ConfigError(
                "--protocols=transfer measures nothing with an empty "
                f"--transfer_methods; pass one or more of {', '.join(TRANSFER_METHODS)}"
            )
        for baseline in self.finetune_baselines:
            _require_choice("finetune_baselines", baseline, FINETUNE_BASELINES)
        _require_positive(self, "transfer_steps", "transfer_batch_size")
        _require_not_negative(self, "semi_epochs", "semi_batch_size")
        _ = self.transfer_grid_size

    @property
    def transfer_grid_size(self) -> tuple[int, int]:
        """Number of learning rates and of weight decays that are tried."""
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", self.transfer_grid)
        _require(
            match is not None,
            "transfer_grid",
            "two numbers above 0, LEARNING_RATESxWEIGHT_DECAYS (7x8)",
            self.transfer_grid,
        )
        assert match is not None
        return int(match[1]), int(match[2])


def _neighbour_counts(values: Any) -> tuple[int, ...]:
    """Read numbers of neighbours, also from words; at least one, each 1 or more."""
    texts = [str(value).strip() for value in values]
    ok = bool(texts) and all(text.isdigit() and int(text) > 0 for text in texts)
    _require(ok, "knn_k", "one or more numbers above 0", ",".join(texts))
    return tuple(map(int, texts))


def _milestones(values: Any, epochs: float) -> tuple[float, ...]:
    """Read where a rate falls, also from words: ascending epochs below ``epochs``."""
    texts = [text for value in values if (text := str(value).strip())]
    try:
        found = tuple(map(float, texts))
    except ValueError:
        found = (float("nan"),)
    ends = (0.0, *found, epochs)
    _require(
        all(first < second for first, second in itertools.pairwise(ends)),
        "features_milestones",
        f"epochs that ascend, above 0 and below --features_epochs={epochs:g}",
        ",".join(texts),
    )
    return found


@dataclass(frozen=True, kw_only=True)
class DistributionConfig:
    """Settings of the devices it runs on; what has no comment is about TPUs."""

    strategy: str = setting("auto", changes=PLACE, ours=True)
    # Logical CPUs, to try replicas anywhere
    num_virtual_devices: int = setting(0, changes=PLACE, ours=True)
    # Of multi_worker; 0: TensorFlow decides
    gradient_pack_mib: int = setting(0, changes=SPEED, ours=True)
    # The reference's default is True; ours detects a TPU
    use_tpu: bool | None = setting(None, changes=PLACE, ours=True)
    tpu_name: str | None = setting(None, changes=PLACE)
    tpu_zone: str | None = setting(None, changes=PLACE)
    gcp_project: str | None = setting(None, changes=PLACE)
    master: str | None = setting(None, changes=PLACE)

    def __post_init__(self) -> None:
        _require_choice("strategy", self.strategy, STRATEGIES)
        _require(
            0 <= self.num_virtual_devices <= 64,
            "num_virtual_devices",
            "from 0 (off) to 64",
            self.num_virtual_devices,
        )
        _require_not_negative(self, "gradient_pack_mib")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Settings of what is written for others to load, and of ``--mode=embed``."""

    export_formats: tuple[str, ...] = setting(
        ("keras", "saved_model"), changes=OUTPUT, ours=True
    )
    keep_hub_module_max: int = setting(1, changes=OUTPUT)
    # Embed: a folder of images or TFDS name:split
    input: str | None = setting(None, changes=OUTPUT, ours=True)
    # Embed: .npz, .csv or .parquet
    output: str | None = setting(None, changes=OUTPUT, ours=True)
    # Scan, embed: a .png
    preview: str | None = setting(None, changes=OUTPUT, ours=True)
    # Embed: image files
    neighbours_of: tuple[str, ...] = setting((), changes=OUTPUT, ours=True)
    # Embed: of each of them
    num_neighbours: int = setting(8, changes=OUTPUT, ours=True)

    def __post_init__(self) -> None:
        for name in self.export_formats:
            _require_choice("export_formats", name, EXPORT_FORMATS)
        _require_not_negative(self, "keep_hub_module_max")
        _require_positive(self, "num_neighbours")
        if self.output is not None:
            _require(
                re.search(r"\.(npz|csv|parquet)$", self.output) is not None,
                "output",
                "a path that ends in .npz, .csv or .parquet",
                self.output,
            )
        if self.preview is not None:
            _require(
                self.preview.endswith(".png"),
                "preview",
                "a path that ends in .png",
                self.preview,
            )


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of everything a workflow needs to know."""

    mode: str = setting("train", changes=OUTPUT)
    train_mode: str = setting("pretrain", changes=OUTPUT)
    model_dir: str | None = setting(None, changes=PLACE)
    seed: int = setting(0, ours=True)
    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    distribution: DistributionConfig = field(default_factory=DistributionConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    # Names of the settings that were given; None: those that differ from their default.
    # Says how the config was made: no setting, and no part of what it is.
    given: frozenset[str] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _require_choice("mode", self.mode, MODES)
        _require_choice("train_mode", self.train_mode, TRAIN_MODES)

    @property
    def workflow(self) -> str:
        """Mode that runs: for train and train_then_eval, ``train_mode``."""
        if self.mode in ("train", "train_then_eval"):
            return self.train_mode
        return self.mode


def given_settings(config: Config) -> frozenset[str]:
    """Return names of the settings that were given, be it with their default value."""
    if config.given is not None:
        return config.given
    defaults = field_defaults()
    flat = to_flat(config)
    return frozenset(name for name, value in flat.items() if value != defaults[name])


def _settings() -> list[dataclasses.Field[Any]]:
    """Return the fields of ``Config`` that are settings or sections of such."""
    return [f for f in dataclasses.fields(Config) if f.name != "given"]


def sections() -> dict[str, type]:
    """Map each section's name to its dataclass, in the order of ``Config``."""
    return {
        f.name: f.default_factory  # type: ignore[misc]
        for f in _settings()
        if f.default_factory is not dataclasses.MISSING
    }


def fields() -> dict[str, dataclasses.Field[Any]]:
    """Map each setting's flag name to its field, over all sections."""
    found: dict[str, dataclasses.Field[Any]] = {}
    kinds = sections()
    for f in _settings():
        members = dataclasses.fields(kinds[f.name]) if f.name in kinds else (f,)
        for member in members:
            assert member.name not in found, f"two settings named {member.name}"
            found[member.name] = member
    return found


def field_defaults() -> dict[str, Any]:
    """Map each setting's flag name to its default, over all sections."""
    return {name: field.default for name, field in fields().items()}


def learned_settings() -> frozenset[str]:
    """Return names of settings that change what is learned: those that make the run.

    All others may change between two starts of one run.
    """
    return frozenset(
        name for name, field in fields().items() if field.metadata["changes"] == WEIGHTS
    )


def from_flat(values: dict[str, Any]) -> Config:
    """Build a ``Config`` from flag names; names that no section has are an error."""
    rest = dict(values)
    parts: dict[str, Any] = {}
    for name, kind in sections().items():
        names = [f.name for f in dataclasses.fields(kind)]
        given = {n: rest.pop(n) for n in names if n in rest}
        parts[name] = kind(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        )
    unknown = sorted(set(rest) - {f.name for f in _settings()})
    if unknown:
        raise ConfigError(f"unknown setting(s): {', '.join(unknown)}")
    return Config(**rest, **parts)


def to_flat(config: Config) -> dict[str, Any]:
    """Map flag names to values, the inverse of ``from_flat`` (tuples stay tuples)."""
    flat: dict[str, Any] = {}
    kinds = sections()
    for f in _settings():
        value = getattr(config, f.name)
        if f.name in kinds:
            flat.update(
                {m.name: getattr(value, m.name) for m in dataclasses.fields(value)}
            )
        else:
            flat[f.name] = value
    return flat
