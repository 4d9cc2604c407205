"""``--recipe=auto``: how to learn from a number of images of a size on a device.

The rules are functions of plain facts. All numbers are in the table at the top. [ours],
unless a source is named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simclr_tf2.data import fitting

CPU, GPU, TPU = "cpu", "gpu", "tpu"
DEVICES = {CPU: "CPU", GPU: "GPU", TPU: "TPU"}

SMALL_SIDE = 36  # pixels; larger views have ImageNet's stem and full colour jitter
CPU_SIDE = 96  # pixels; a CPU takes no larger views and no larger network by itself
MANY_IMAGES = 50_000  # from here on a GPU trains the deeper network
STEPS_PER_EPOCH = 8  # at least; a smaller batch is taken where there are few images
STEP_IMAGES_LEAST = 16  # images in a batch, however many views each of them has
WARMUP = 0.05  # part of the training
TEMPERATURE = 0.2  # author's settings for small batches, google-research/simclr#166
BATCH_NORM_DECAY = 0.9


@dataclass(frozen=True, kw_only=True)
class DeviceRules:
    """The numbers that differ between devices.

    Attributes:
        depths: ResNet of (smaller views or fewer images, others).
        widths: Width multiplier, likewise.
        small_stem: Stem for views of up to ``SMALL_SIDE``.
        proj_out_dim: Features of z.
        batch: Images in a batch of one replica.
        views: Views of each image.
        steps: Steps of a training.
        least_steps: Steps where views are so large that ``most_views`` limits them.
        most_views: Views of 32 px in a training; of larger ones fewer, by their area.
        epochs: Least and most.
    """

    depths: tuple[int, int]
    widths: tuple[float, float]
    small_stem: str
    proj_out_dim: int
    batch: int
    views: int
    steps: int
    least_steps: int
    most_views: float
    epochs: tuple[int, int]


ON_CPU = DeviceRules(
    depths=(10, 18),
    widths=(0.25, 0.5),
    small_stem="stride2",
    proj_out_dim=64,
    batch=64,
    views=4,
    steps=2_500,
    least_steps=1_200,
    most_views=20e6,
    epochs=(8, 800),
)
ON_ACCELERATOR = DeviceRules(
    depths=(18, 50),
    widths=(1.0, 1.0),
    small_stem="cifar",
    proj_out_dim=128,
    batch=256,
    views=2,
    steps=50_000,
    least_steps=50_000,
    most_views=math.inf,
    epochs=(50, 800),
)
RULES = {CPU: ON_CPU, GPU: ON_ACCELERATOR, TPU: ON_ACCELERATOR}
LARGEST_BATCH = 4_096  # of all replicas

OPTIMIZER = "muon"  # learned most in short trainings (docs/experiments.md)
MOMENTUM = {"muon": 0.95}  # its authors' value; 0.9 for the others
# Optimizer -> (peak rate at a batch, batch, exponent of the batch, weight decay). Muon
# as measured (docs/experiments.md). LARS: 0.265 * sqrt(batch), 3.0 at 128. The others
# are usual settings, not tuned here.
RATES: Mapping[str, tuple[float, int, float, float]] = {
    "muon": (0.02, 64, 0.0, 1e-2),
    "lars": (3.0, 128, 0.5, 1e-6),
    "lamb": (2e-3, 256, 0.5, 1e-6),
    "adam": (1e-3, 256, 0.5, 1e-6),
    "adamw": (1e-3, 256, 0.5, 1e-2),
    "momentum": (0.05, 256, 1.0, 1e-4),
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the rules depend on.

    Attributes:
        images: Images to train on.
        side: Larger side of a view in pixels.
        device: ``CPU``, ``GPU`` or ``TPU``.
        replicas: Devices that share a batch.
    """

    images: int
    side: int
    device: str = CPU
    replicas: int = 1

    @property
    def rules(self) -> DeviceRules:
        """The numbers of the device."""
        return RULES[self.device]


def choose(facts: Facts, given: Mapping[str, Any]) -> dict[str, Any]:
    """Choose how to learn; what depends on a given value follows it.

    Args:
        facts: Images and device.
        given: Flag name -> value of the settings that are not to be chosen.

    Returns:
        Flag name -> value, with the given ones of these settings as they are.
    """
    chosen = {**_network(facts, given), **_objective(facts)}
    chosen |= {"train_batch_size": batch_size(facts, given)}
    chosen |= {name: given[name] for name in chosen if name in given}
    batch = int(chosen["train_batch_size"])
    chosen |= _optimizer(batch, given)
    chosen |= _length(facts, {**chosen, **given})
    chosen |= {name: given[name] for name in chosen if name in given}
    return chosen


def largest_side(device: str) -> float:
    """Return the side in pixels that the image size is limited to."""
    return CPU_SIDE if device == CPU else math.inf


def _network(facts: Facts, given: Mapping[str, Any]) -> dict[str, Any]:
    rules, small = facts.rules, facts.side <= SMALL_SIDE
    on_cpu = facts.device == CPU
    first = facts.side <= CPU_SIDE if on_cpu else facts.images < MANY_IMAGES
    return {
        "resnet_depth": rules.depths[0 if first else 1],
        "width_multiplier": rules.widths[0 if first else 1],
        "stem": rules.small_stem if small else "imagenet",
        "resnet_d": "true",
        "zero_init_residual": False,
        "batch_norm_decay": BATCH_NORM_DECAY,
        "proj_head_mode": "nonlinear",
        # A classifier may read one of the layers.
        "num_proj_layers": max(2, given.get("ft_proj_selector", 0)),
        "proj_out_dim": rules.proj_out_dim,
    }


def _objective(facts: Facts) -> dict[str, Any]:
    return {
        "temperature": TEMPERATURE,
        "color_jitter_strength": 0.8 if facts.side <= SMALL_SIDE else 1.0,
        "num_views": facts.rules.views,
        "num_local_views": 0,
    }


def batch_size(facts: Facts, given: Mapping[str, Any]) -> int:
    """Return the images of a batch, fewer where each of them has more views."""
    rules = facts.rules
    views = max(given.get("num_views", rules.views), rules.views)
    most = rules.batch * facts.replicas * rules.views // views
    most = min(max(most, STEP_IMAGES_LEAST), LARGEST_BATCH)
    found = fitting.batch_size(
        facts.images,
        replicas=facts.replicas,
        most=most,
        steps_per_epoch=STEPS_PER_EPOCH,
    )
    return max(2, found)


def _optimizer(batch: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Choose optimizer, rate and decay; a given rate keeps the scaling of the flag."""
    name = given.get("optimizer", OPTIMIZER)
    rate, at, exponent, decay = RATES[name]
    peak = rate * (batch / at) ** exponent
    scaling = "linear" if "learning_rate" in given else "none"
    scaling = given.get("learning_rate_scaling", scaling)
    factor = {"linear": batch / 256, "sqrt": math.sqrt(batch), "none": 1.0}[scaling]
    return {
        "optimizer": name,
        "learning_rate": float(f"{peak / factor:.3g}"),
        "learning_rate_scaling": scaling,
        "weight_decay": decay,
        "momentum": MOMENTUM.get(name, 0.9),
    }


def _length(facts: Facts, known: Mapping[str, Any]) -> dict[str, Any]:
    """Choose epochs, unless steps are given, and the warm-up, a part of them."""
    batch, steps = int(known["train_batch_size"]), known.get("train_steps", 0)
    per_epoch = max(1, facts.images // batch)
    if steps:
        chosen: dict[str, Any] = {}
        epochs = steps / per_epoch
    else:
        epochs = known.get("train_epochs", epochs_for(facts, known))
        chosen = {"train_epochs": epochs}
    return {**chosen, "warmup_epochs": float(f"{WARMUP * epochs:.3g}")}


def epochs_for(facts: Facts, known: Mapping[str, Any]) -> float:
    """Return whole epochs with the rules' number of steps, as far as views allow it.

    Args:
        facts: Images and device.
        known: ``train_batch_size`` and ``num_views`` among others.
    """
    rules, batch = facts.rules, int(known["train_batch_size"])
    most_views = rules.most_views / (facts.side / 32) ** 2
    steps = min(rules.steps, most_views / (batch * int(known["num_views"])))
    steps = max(steps, rules.least_steps)
    least, most = rules.epochs
    per_epoch = max(1, facts.images // batch)
    return float(min(max(round(steps / per_epoch), least), most))


def describe(facts: Facts, images: int, known: Mapping[str, Any]) -> str:
    """Say in a line what is trained, and for what: without the flags of each setting.

    Args:
        facts: Images and device.
        images: Images of the training split, with those that are held out.
        known: All settings of the run.
    """
    batch, steps = int(known["train_batch_size"]), known["train_steps"]
    per_epoch = max(1, facts.images // batch)
    if steps:
        length = f"{steps:,} steps"
    else:
        total = max(1, round(per_epoch * known["train_epochs"]))
        length = f"{known['train_epochs']:g} epochs ({total:,} steps)"
    device = DEVICES[facts.device]
    many = facts.replicas > 1
    return (
        f"recipe auto for {images:,} images of {facts.side} px on "
        f"{f'{facts.replicas} {device}s' if many else f'a {device}'}: "
        f"ResNet-{known['resnet_depth']} x {known['width_multiplier']:g}, "
        f"{known['num_views']} views, batch {batch}, "
        f"{_plain(known['optimizer'])} {known['learning_rate']:g}, {length}; flags "
        "you give win, --recipe=reference takes the paper's settings"
    )


def _plain(optimizer: str) -> str:
    names = {"lars": "LARS", "lamb": "LAMB", "muon": "Muon", "adamw": "AdamW"}
    return names.get(optimizer, optimizer)
