"""The subject of an evaluation: a network, and the conditions it is measured under."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from simclr_tf2 import distribution, models
from simclr_tf2.config import (
    AugmentationConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    LossConfig,
    ModelConfig,
    TrainingConfig,
)
from simclr_tf2.data.datasets import Split
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.inputs import Splits

FeaturesOf = Callable[[keras.Model, Split, int | None], Features]


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What all measurements of an evaluation share: images, settings, devices.

    Attributes:
        images: The opened splits.
        data: Settings of the images.
        augmentation: Settings of the views that label-free numbers rest on.
        model: Settings of the network; a random one beside it is built from them.
        loss: Settings of the contrastive loss, for held-out images.
        training: Settings of the training: precision and compilation.
        evaluation: Settings of what is measured.
        strategy: Devices.
        seed: Of every draw.
        folder: The run folder, or None.
        finetuned: Whether the run trained a classifier on the network.
        run: Whole settings of the run. Only protocols that start a run of their own,
            within the run folder, read them.
    """

    images: Splits
    data: DataConfig
    augmentation: AugmentationConfig
    model: ModelConfig
    loss: LossConfig
    training: TrainingConfig
    evaluation: EvaluationConfig
    strategy: tf.distribute.Strategy
    seed: int
    folder: Path | None
    finetuned: bool
    run: Config

    @classmethod
    def of(cls, config: Config, images: Splits) -> Conditions:
        """Take from the whole config what an evaluation reads."""
        return cls(
            images=images,
            data=config.data,
            augmentation=config.augmentation,
            model=config.model,
            loss=config.loss,
            training=config.training,
            evaluation=config.evaluation,
            strategy=distribution.shared_strategy(config.distribution),
            seed=config.seed,
            folder=Path(config.model_dir) if config.model_dir else None,
            finetuned="finetune" in (config.mode, config.train_mode),
            run=config,
        )

    @property
    def limits(self) -> tuple[int, int | None]:
        """Maximum numbers of probe and evaluation images that are read."""
        return self.evaluation.limits

    def features_of(
        self, keep: Path | None, view: extractor.View | None = None
    ) -> FeaturesOf:
        """Build what extracts features: on all replicas of this machine.

        Args:
            keep: The folder that keeps them; None keeps nothing.
            view: Of the images; None is the view of an evaluation.
        """
        shown = view or extractor.eval_view(self.data, self.evaluation.eval_batch_size)
        return extractor.make_extractor(
            self.strategy, keep, view=shown, channels=self.data.image_channels
        )


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network that is measured.

    Attributes:
        conditions: Images, settings and devices.
        model: The network in export form.
        encoder: The part of it that maps images to h.
        keep: The folder that keeps features; None keeps none.
    """

    conditions: Conditions
    model: models.SimCLR
    encoder: keras.Model
    keep: Path | None = None

    @classmethod
    def of(
        cls, conditions: Conditions, model: models.SimCLR, keep: Path | None = None
    ) -> Subject:
        """Return the subject of a network, with its encoder."""
        encoder = models.build_encoder(model.backbone)
        return cls(conditions=conditions, model=model, encoder=encoder, keep=keep)
