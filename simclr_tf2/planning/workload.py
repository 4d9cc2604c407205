"""What a run has to do in each step, from its settings and its number of images."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from simclr_tf2 import models
from simclr_tf2.config import Config, ModelConfig
from simclr_tf2.data import view_sizes
from simclr_tf2.losses.blockwise import AUTO_BLOCK_ROWS, AUTO_FROM_ELEMENTS
from simclr_tf2.planning import counting
from simclr_tf2.planning.counting import Counts

# Keras dtype policy of the backbone, by --mixed_precision
POLICIES = {"off": None, "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
# Numbers that an optimizer keeps for each number that it trains; a test compares them
# with the optimizers.
SLOTS = {"lars": 1, "momentum": 1, "adam": 2, "adamw": 2, "lamb": 2, "muon": 1}


@dataclass(frozen=True)
class Images:
    """The training images: how many, how large, and how that is known."""

    count: int
    classes: int
    bytes: int
    source: str


@dataclass(frozen=True)
class Workload:
    """A run of training on a number of replicas, with all that decides its cost.

    Attributes:
        config: Settings of the run.
        images: The training images.
        steps: Steps of the run, or of a part of it (``early``).
        mode: pretrain or finetune.
        replicas: Devices.
        batch: Images of a step, of all replicas.
        precision: What the layers compute in: off, bfloat16 or float16.
        remat: ``--remat``.
        micro_batch: Images of a replica in the network at once; 0: all of them.
        block_size: ``--loss_block_size``.
    """

    config: Config
    images: Images
    steps: int
    mode: str
    replicas: int
    batch: int
    precision: str
    remat: str
    micro_batch: int
    block_size: str | int

    @classmethod
    def of(
        cls, config: Config, images: Images, *, mode: str, steps: int, replicas: int
    ) -> Workload:
        """Take the settings of a run; ``--mixed_precision=auto`` is off at first."""
        pretrain = mode == "pretrain"
        precision = config.training.mixed_precision
        return cls(
            config=config,
            images=images,
            steps=steps,
            mode=mode,
            replicas=replicas,
            batch=config.training.train_batch_size,
            precision="off" if precision == "auto" else precision,
            remat=config.training.remat,
            micro_batch=config.training.micro_batch_size if pretrain else 0,
            block_size=config.loss.loss_block_size,
        )

    def changed(self, **values: object) -> Workload:
        """Return the same with other values of some attributes."""
        return replace(self, **values)  # type: ignore[arg-type]

    @property
    def per_replica(self) -> float:
        """Images of a replica in a step; a fraction where they do not divide."""
        return self.batch / self.replicas

    @property
    def at_once(self) -> float:
        """Images of a replica in the network at once."""
        return min(self.micro_batch or self.per_replica, self.per_replica)

    @property
    def parts(self) -> float:
        """Micro-batches of a step; 1 without them."""
        return self.per_replica / self.at_once

    @property
    def views(self) -> tuple[tuple[int, tuple[int, int]], ...]:
        """Number and size of the views of an image, large ones first."""
        size = self.config.data.height_width
        if self.mode == "finetune":
            return ((1, size),)
        augmentation = self.config.augmentation
        views = [(augmentation.num_views, size)]
        if augmentation.num_local_views:
            local = augmentation.local_size(size)
            views.append((augmentation.num_local_views, local))
        return tuple(views)

    @property
    def early(self) -> tuple[Workload, ...]:
        """The parts of the run with smaller views, each with its own steps.

        What depends on the size of later views, stem and local views, stays as it is.
        """
        config, size = self.config, self.config.data.height_width
        if self.mode == "finetune" or not config.augmentation.early_image_sizes:
            return ()
        augmentation = replace(
            config.augmentation,
            early_image_sizes=(),
            local_image_size=config.augmentation.local_size(size),
        )
        model = replace(config.model, stem=models.stem_at(config.model.stem, size))
        *early, _ = view_sizes.size_stages(
            config.augmentation, size, lengths=[(0, self.steps)]
        )
        return tuple(
            self.changed(
                config=replace(
                    config,
                    data=replace(config.data, image_size=stage.height_width),
                    augmentation=augmentation,
                    model=model,
                ),
                steps=stage.end - stage.start,
            )
            for stage in early
            if stage.end is not None
        )

    @property
    def rows(self) -> float:
        """Rows of the loss of a replica: views of its images."""
        return self.per_replica * sum(number for number, _ in self.views)

    @property
    def dtype(self) -> str:
        """Floating-point format that the layers compute in."""
        return "float32" if self.precision == "off" else self.precision

    @property
    def slots(self) -> int:
        """Numbers of the optimizer for each trained number."""
        return SLOTS[self.config.optimizer.optimizer]

    @property
    def averages(self) -> int:
        """Numbers of averages of the weights (``--weights_ema``)."""
        return self.counts[0].numbers if self.config.training.weights_ema else 0

    @property
    def blockwise(self) -> bool:
        """Whether NT-Xent is computed in blocks."""
        if self.config.loss.loss != "nt_xent" or self.block_size == "off":
            return False
        if self.block_size != "auto":
            return True
        return self.replicas * self.rows**2 >= AUTO_FROM_ELEMENTS

    @property
    def block_rows(self) -> int:
        """Rows of a block of the similarity matrix."""
        size = self.block_size
        return size if isinstance(size, int) else AUTO_BLOCK_ROWS

    @property
    def passes(self) -> tuple[int, int]:
        """Forward and backward passes of the backbone in a step.

        Micro-batches take a forward pass more (cached gradients), and so does
        recomputing.
        """
        forward = 1 + (self.parts > 1) + (self.remat != "off")
        return forward, 1

    @property
    def counts(self) -> tuple[Counts, ...]:
        """Cost of a view in the network, for each of ``views``."""
        sizes = [size for _, size in self.views]
        # The stem of --stem=auto is chosen for the large views.
        stem = models.stem_at(self.config.model.stem, sizes[0])
        pretrain = self.mode == "pretrain"
        beside = self.config.training.lineareval_while_pretraining
        return tuple(
            _counted(
                replace(self.config.model, stem=stem),
                image_size=size,
                channels=self.config.data.image_channels,
                num_classes=self.images.classes if beside or not pretrain else 0,
                several=self.replicas > 1,
                dtype=POLICIES[self.precision],
                pretrain=pretrain,
            )
            for size in sizes
        )


@functools.lru_cache(maxsize=32)
def _counted(
    config: ModelConfig,
    *,
    image_size: tuple[int, int],
    channels: int,
    num_classes: int,
    several: bool,
    dtype: str | None,
    pretrain: bool,
) -> Counts:
    model = counting.symbolic_model(
        config,
        image_size=image_size,
        channels=channels,
        num_classes=num_classes,
        num_replicas=2 if several else 1,
        dtype=dtype,
    )
    if pretrain:
        return counting.count(model)
    models.freeze_up_to_block(model.backbone, config.fine_tune_after_block)
    return counting.count(model, head_layers=config.ft_proj_selector)
