"""``Conditions`` and ``Subject``: the images, settings and network of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from simclr_tf2 import addresses, distribution, models
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
    """The images, settings and devices that all measurements of an evaluation share.

    Attributes:
        images: The opened splits.
        data: Settings of the images.
        augmentation: Settings of the views that label-free measures use.
        model: Settings of the network; the random encoder is built from them too.
        loss: Settings of the contrastive loss, for held-out images.
        training: Settings of the training: precision and compilation.
        evaluation: Settings of the evaluation.
        strategy: The devices.
        seed: Random seed.
        folder: The run folder, or None.
        finetuned: Whether the run trained a classifier on the network.
        run: The whole config of the run. Only protocols that start a run of their own,
            within the run folder, read it.
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
        """Take the settings that an evaluation reads from the whole config."""
        return cls(
            images=images,
            data=config.data,
            augmentation=config.augmentation,
            model=config.model,
            loss=config.loss,
            training=config.training,
            evaluation=config.evaluation,
            strategy=distribution.local_strategy(config.distribution),
            seed=config.seed,
            folder=addresses.local(config.model_dir) if config.model_dir else None,
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
        """Build the feature extractor, which uses all replicas of this machine.

        Args:
            keep: Folder of the cached features; None: they are not cached.
            view: View of the images; None: the centre view of an evaluation.
        """
        shown = view or extractor.eval_view(self.data, self.evaluation.eval_batch_size)
        return extractor.make_extractor(
            self.strategy, keep, view=shown, channels=self.data.image_channels
        )


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network to measure, with its conditions.

    Attributes:
        conditions: Images, settings and devices.
        model: The network in export form.
        encoder: The part of it that maps images to h.
        keep: Folder of the cached features; None: they are not cached.
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
