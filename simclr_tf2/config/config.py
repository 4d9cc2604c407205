"""``Config``: all sections of settings, and the settings without a section."""

from __future__ import annotations

from dataclasses import dataclass, field

from simclr_tf2.config.augmentation import AugmentationConfig
from simclr_tf2.config.checks import require, require_choice
from simclr_tf2.config.data import DataConfig
from simclr_tf2.config.distribution import DistributionConfig
from simclr_tf2.config.evaluation import EvaluationConfig
from simclr_tf2.config.export import ExportConfig
from simclr_tf2.config.loss import LossConfig
from simclr_tf2.config.model import ModelConfig
from simclr_tf2.config.modes import (
    EVAL,
    EVERY_MODE,
    MODES,
    PLAN,
    PRETRAIN,
    SCAN,
    TRAIN_MODES,
)
from simclr_tf2.config.optimizer import OptimizerConfig
from simclr_tf2.config.planning import PlanConfig
from simclr_tf2.config.settings import OUTPUT, PLACE, WEIGHTS, setting
from simclr_tf2.config.training import TrainingConfig

OUTPUTS = {  # mode -> what --output ends in
    "embed": (".npz", ".csv", ".parquet", "/"),
    "predict": (".csv", ".jsonl", ".parquet"),
    "plan": (".json",),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run."""

    mode: str = setting("train", changes=OUTPUT, modes=EVERY_MODE)
    # Evaluation reads it from the run
    train_mode: str = setting("pretrain", changes=OUTPUT, modes=EVERY_MODE - EVAL)
    model_dir: str | None = setting(None, changes=PLACE, modes=EVERY_MODE)
    # Where copies of remote folders are kept
    spool_dir: str | None = setting(None, changes=PLACE, modes=EVERY_MODE, ours=True)
    # auto, reference or the name of a file in recipes; None: auto for own images
    recipe: str | None = setting(
        None, changes=WEIGHTS, modes=PRETRAIN | SCAN | PLAN, ours=True
    )
    seed: int = setting(0, changes=WEIGHTS, modes=EVERY_MODE, ours=True)
    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    distribution: DistributionConfig = field(default_factory=DistributionConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    planning: PlanConfig = field(default_factory=PlanConfig)
    # Names of the settings that were given; None: those that differ from their default.
    # It is not a setting, and two configs that differ only here are equal.
    given: frozenset[str] | None = field(default=None, compare=False, repr=False)
    # Names of the settings that a recipe chose. It is not a setting either.
    chosen: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def __post_init__(self) -> None:
        require_choice("mode", self.mode, MODES)
        require_choice("train_mode", self.train_mode, TRAIN_MODES)
        size = self.data.image_size
        self.augmentation.require_square_if_turned(size, "image_size")
        means, channels = len(self.model.normalize_mean), self.data.image_channels
        require(
            means in (0, 1, channels),
            "normalize_mean",
            f"one number, or one for each of the {channels} channels",
            self.model.normalize_mean,
        )
        output = self.export.output
        endings = OUTPUTS.get(self.mode)
        if output is not None and endings:
            wanted = " or ".join(filter(None, [", ".join(endings[:-1]), endings[-1]]))
            require(
                output.endswith(endings),
                "output",
                f"a path that ends in {wanted} in --mode={self.mode}",
                output,
            )

    @property
    def recipe_kind(self) -> str:
        """Recipe that ``--recipe`` means for the images: its value, or the default."""
        return self.recipe or ("reference" if self.data.by_name else "auto")

    @property
    def workflow(self) -> str:
        """Mode that runs: for train and train_then_eval, ``train_mode``."""
        if self.mode in ("train", "train_then_eval"):
            return self.train_mode
        return self.mode
