"""Configuration of a run: frozen dataclasses with all settings and their defaults.

Each field of each section is one command-line flag of the same name (``flags.py``).
Defaults are those of the reference code (google-research/simclr, tf2) unless the field
has ``ours=True``; docs/differences.md lists the differences. ``changes`` says what
another value changes, and so whether a run may be started again with it; ``modes`` says
which modes read it. Each section checks its own values. Numbers that follow from the
data (steps, scaled learning rate) are computed elsewhere and not stored here.
"""

from simclr_tf2.config.augmentation import (
    AUGMENT_BACKENDS,
    AUGMENT_PLACES,
    COLOR_JITTER_IMPLS,
    AugmentationConfig,
)
from simclr_tf2.config.checks import refusal
from simclr_tf2.config.config import Config
from simclr_tf2.config.data import (
    CACHES,
    FILE_CHECKS,
    IMAGE_LAYOUTS,
    DataConfig,
)
from simclr_tf2.config.distribution import (
    COMMUNICATION,
    STRATEGIES,
    DistributionConfig,
)
from simclr_tf2.config.evaluation import (
    BEST_METRICS,
    EVAL_NAME,
    FINETUNE_BASELINES,
    KNN_METRICS,
    KNN_WEIGHTINGS,
    PROTOCOLS,
    SVM_FEATURES,
    TRANSFER_METHODS,
    EvaluationConfig,
)
from simclr_tf2.config.export import (
    EMBED_ENDPOINTS,
    EXPORT_ENDPOINTS,
    EXPORT_FORMATS,
    ExportConfig,
)
from simclr_tf2.config.flat import (
    field_defaults,
    fields,
    from_flat,
    given_settings,
    how_to_learn,
    learned_settings,
    reported_by_workflow,
    sections,
    to_flat,
    unread,
)
from simclr_tf2.config.loss import LOSSES, LossConfig
from simclr_tf2.config.model import (
    NETWORK_STEMS,
    PROJ_HEAD_MODES,
    RESNET_D,
    RESNET_DEPTHS,
    STEMS,
    ModelConfig,
)
from simclr_tf2.config.modes import MODES, TRAIN_MODES, WORKFLOW_MODES
from simclr_tf2.config.optimizer import (
    LEARNING_RATE_SCALINGS,
    OPTIMIZERS,
    OptimizerConfig,
)
from simclr_tf2.config.planning import PlanConfig
from simclr_tf2.config.training import (
    MICRO_BATCH_NORMS,
    MIXED_PRECISION,
    PROGRESS,
    REMAT,
    TrainingConfig,
)
from simclr_tf2.errors import ConfigError

__all__ = [
    "AUGMENT_BACKENDS",
    "AUGMENT_PLACES",
    "BEST_METRICS",
    "CACHES",
    "COLOR_JITTER_IMPLS",
    "COMMUNICATION",
    "EMBED_ENDPOINTS",
    "EVAL_NAME",
    "EXPORT_ENDPOINTS",
    "EXPORT_FORMATS",
    "FILE_CHECKS",
    "FINETUNE_BASELINES",
    "IMAGE_LAYOUTS",
    "KNN_METRICS",
    "KNN_WEIGHTINGS",
    "LEARNING_RATE_SCALINGS",
    "LOSSES",
    "MICRO_BATCH_NORMS",
    "MIXED_PRECISION",
    "MODES",
    "NETWORK_STEMS",
    "OPTIMIZERS",
    "PROGRESS",
    "PROJ_HEAD_MODES",
    "PROTOCOLS",
    "REMAT",
    "RESNET_D",
    "RESNET_DEPTHS",
    "STEMS",
    "STRATEGIES",
    "SVM_FEATURES",
    "TRAIN_MODES",
    "TRANSFER_METHODS",
    "WORKFLOW_MODES",
    "AugmentationConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "DistributionConfig",
    "EvaluationConfig",
    "ExportConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PlanConfig",
    "TrainingConfig",
    "field_defaults",
    "fields",
    "from_flat",
    "given_settings",
    "how_to_learn",
    "learned_settings",
    "refusal",
    "reported_by_workflow",
    "sections",
    "to_flat",
    "unread",
]
