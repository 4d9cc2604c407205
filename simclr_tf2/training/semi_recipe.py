"""Shares of the labels in semi-supervised learning, and how they are fine-tuned on.

SimCLR, section 4.2 and appendix B.5: 1 % and 10 % of ImageNet's labels, 60 and 30
epochs of batches of 4096 images at a learning rate of 0.05 B / 256, SGD with Nesterov
momentum 0.9, neither warm-up nor weight decay.
"""

from __future__ import annotations

from dataclasses import dataclass

from simclr_tf2.config import OptimizerConfig
from simclr_tf2.errors import ConfigError

FRACTIONS = (0.01, 0.1)
BATCH = 4096
IMAGES = 1_281_167  # of ImageNet's training split, whose shares the paper trains on
LEAST_BATCH = 32  # [ours] images that batch norm needs; see docs/decisions.md
OPTIMIZER = OptimizerConfig(
    optimizer="momentum",
    learning_rate=0.05,
    learning_rate_scaling="linear",
    warmup_epochs=0.0,
    weight_decay=0.0,
    momentum=0.9,
)
# Names in tensorflow-datasets of the images that the paper's numbers rest on.
IMAGENET = "imagenet2012"
IMAGENET_SUBSETS = {
    0.01: "imagenet2012_subset/1pct",
    0.1: "imagenet2012_subset/10pct",
}


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of the labels: a fraction of each class, or a number (then above 0)."""

    fraction: float = 1.0
    count: int = 0

    @property
    def title(self) -> str:
        """As in "fine-tuned on 1 % of the labels"."""
        if self.count:
            return f"{self.count} of each class"
        return f"{100 * self.fraction:g} % of the labels"


def shares(
    *, label_fraction: float, labels_per_class: int, all_labels: bool = False
) -> tuple[Share, ...]:
    """Return the share that was asked for, else the two of the paper.

    Args:
        label_fraction: Of each class.
        labels_per_class: In place of a fraction; 0 is none.
        all_labels: Whether a fraction of 1 was asked for; it is the default, too.
    """
    if labels_per_class:
        return (Share(count=labels_per_class),)
    if label_fraction < 1 or all_labels:
        return (Share(fraction=label_fraction),)
    return tuple(Share(fraction=fraction) for fraction in FRACTIONS)


def too_small(share: Share, *, num_examples: int, num_classes: int) -> str:
    """Return why there are too few images for the share, or "".

    Args:
        share: What is asked for.
        num_examples: Labelled images.
        num_classes: Their classes; each needs an image of its own.
    """
    labels = round(share.fraction * num_examples)
    if share.count or labels >= num_classes:
        return ""
    return (
        f"{share.title} of {num_examples} images is {labels}, fewer than one for each "
        f"of the {num_classes} classes; pass --labels_per_class=1 or a larger "
        "--label_fraction"
    )


def check(
    *,
    label_fraction: float,
    labels_per_class: int,
    num_examples: int,
    num_classes: int,
    all_labels: bool = False,
) -> None:
    """Refuse images of which no share can be made, before anything is trained.

    Raises:
        ConfigError: None of ``shares`` is large enough.
    """
    asked = shares(
        label_fraction=label_fraction,
        labels_per_class=labels_per_class,
        all_labels=all_labels,
    )
    reasons = [
        too_small(share, num_examples=num_examples, num_classes=num_classes)
        for share in asked
    ]
    if all(reasons):
        raise ConfigError(f"--protocols=semi: {reasons[-1]}")


def epochs(fraction: float) -> float:
    """Return 60 below a tenth of the labels, else 30 [paper: 60 at 1 %, 30 at 10 %]."""
    return 60.0 if fraction < 0.1 else 30.0


def paper_batch(images: int) -> int:
    """Return the batch, 32 to 4096, that scales the paper's 4096 of ImageNet.

    A share of a data set so has as many steps as in the paper: 188 at 1 % and 938 at
    10 %; a fixed batch would leave a small data set only a handful.

    Args:
        images: Labelled images of which the shares are made.
    """
    return min(BATCH, max(LEAST_BATCH, round(BATCH * images / IMAGES)))


def batch_size(labels: int, *, wanted: int, most: int, replicas: int) -> int:
    """Limit a batch to ``most`` and to the labels; each replica gets the same share.

    A share of two images or more is even: on CPUs TensorFlow 2.21 (oneDNN) was seen to
    write out of bounds with odd batches and layers of less than 16 channels.

    Raises:
        ConfigError: Fewer labels than replicas.
    """
    share = min(wanted, most, labels) // replicas
    if not share:
        raise ConfigError(
            f"--protocols=semi: {labels} labelled images are fewer than the {replicas} "
            "replicas; use fewer devices or more labels"
        )
    return (share - share % 2 if share > 1 else 1) * replicas
