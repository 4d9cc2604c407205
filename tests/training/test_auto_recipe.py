"""The rules of ``--recipe=auto``: facts -> choices, and what follows a given flag."""

import math

import pytest

from simclr_tf2.config import OPTIMIZERS
from simclr_tf2.training import auto_recipe
from simclr_tf2.training.auto_recipe import CPU, GPU, TPU, Facts

RATE_OF_LARS = 3.0  # at a batch of 128
NETWORK = ("resnet_depth", "width_multiplier", "stem", "proj_out_dim")
BATCHES = ("train_batch_size", "num_views", "train_epochs")


@pytest.mark.parametrize(
    ("images", "side", "device", "network", "batches"),
    [
        (20_000, 32, CPU, (10, 0.25, "stride2", 64), (64, 4, 8)),
        (20_000, 36, CPU, (10, 0.25, "stride2", 64), (64, 4, 8)),
        (400, 64, CPU, (10, 0.25, "imagenet", 64), (32, 4, 208)),
        (5_000, 96, CPU, (10, 0.25, "imagenet", 64), (64, 4, 32)),
        (5_000, 224, CPU, (18, 0.5, "imagenet", 64), (64, 4, 20)),
        (30, 224, CPU, (18, 0.5, "imagenet", 64), (16, 4, 800)),
        (1_000_000, 32, CPU, (10, 0.25, "stride2", 64), (64, 4, 8)),
        (49_999, 32, GPU, (18, 1.0, "cifar", 128), (256, 2, 256)),
        (50_000, 96, GPU, (50, 1.0, "imagenet", 128), (256, 2, 256)),
        (1_300_000, 224, TPU, (50, 1.0, "imagenet", 128), (256, 2, 50)),
        (400, 224, GPU, (18, 1.0, "imagenet", 128), (32, 2, 800)),
    ],
)
def test_the_choices_follow_from_images_and_device(
    images, side, device, network, batches
):
    found = auto_recipe.choose(Facts(images=images, side=side, device=device), {})
    assert tuple(found[name] for name in NETWORK) == network
    assert tuple(found[name] for name in BATCHES) == batches
    assert found["color_jitter_strength"] == (0.8 if side <= 36 else 1.0)
    assert found["warmup_epochs"] == pytest.approx(0.05 * batches[2], rel=1e-2)
    assert (found["optimizer"], found["learning_rate"]) == ("muon", 0.02)


def choose(**given):
    return auto_recipe.choose(Facts(images=20_000, side=32), given)


def test_what_is_given_stays_and_what_depends_on_it_follows():
    usual = choose()
    batch = choose(train_batch_size=512)
    assert batch["train_batch_size"] == 512
    assert batch["train_epochs"] == pytest.approx(8 * usual["train_epochs"], rel=0.02)
    large = choose(train_batch_size=512, optimizer="lars")
    assert large["learning_rate"] == 6 == 2 * RATE_OF_LARS
    views = choose(num_views=8)
    assert (views["num_views"], views["train_batch_size"]) == (8, 32)
    assert choose(num_views=2)["train_batch_size"] == 64
    epochs = choose(train_epochs=100.0)
    assert (epochs["train_epochs"], epochs["warmup_epochs"]) == (100, 5)
    steps = choose(train_steps=312)
    assert "train_epochs" not in steps
    assert steps["warmup_epochs"] == pytest.approx(0.05 * 312 / 312)
    assert choose(ft_proj_selector=3)["num_proj_layers"] == 3
    deep = choose(resnet_depth=50, width_multiplier=2.0)
    left = {"resnet_depth": 10, "width_multiplier": 0.25}
    assert {**deep, **left} == usual


def test_another_optimizer_has_its_own_rate_and_decay():
    assert set(auto_recipe.RATES) == set(OPTIMIZERS)
    assert choose()["optimizer"] == "muon"
    assert choose()["momentum"] == 0.95
    lars = choose(train_batch_size=128, optimizer="lars")
    assert (lars["learning_rate"], lars["momentum"]) == (RATE_OF_LARS, 0.9)
    for name in set(OPTIMIZERS) - {"lars"}:
        assert choose(optimizer=name)["learning_rate"] < 0.1, name
    assert choose(optimizer="adamw")["weight_decay"] == 0.01


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_peak_rate_does_not_depend_on_the_scaling(optimizer):
    """A given scaling changes the base rate; a given rate keeps the default one."""
    none = choose(optimizer=optimizer)
    assert none["learning_rate_scaling"] == "none"
    factors = {"linear": 64 / 256, "sqrt": math.sqrt(64), "none": 1}
    for scaling, factor in factors.items():
        found = choose(optimizer=optimizer, learning_rate_scaling=scaling)
        peak = found["learning_rate"] * factor
        assert peak == pytest.approx(none["learning_rate"], rel=1e-2)
    rate = choose(optimizer=optimizer, learning_rate=0.4)
    assert (rate["learning_rate"], rate["learning_rate_scaling"]) == (0.4, "linear")


@pytest.mark.parametrize("device", [CPU, GPU, TPU])
def test_more_images_train_for_fewer_epochs_and_a_length_has_limits(device):
    before = math.inf
    for images in (2, 15, 30, 200, 400, 3_000, 20_000, 60_000, 10**6):
        found = auto_recipe.choose(Facts(images=images, side=32, device=device), {})
        assert 2 <= found["train_batch_size"] <= max(2, images)
        least, most = auto_recipe.RULES[device].epochs
        assert least <= found["train_epochs"] <= min(most, before)
        before = found["train_epochs"]


def test_several_replicas_share_a_batch_of_their_number_times_one():
    facts = Facts(images=10**6, side=224, device=GPU, replicas=3)
    assert auto_recipe.choose(facts, {})["train_batch_size"] == 510  # of 3 * 256
    facts = Facts(images=10**7, side=224, device=TPU, replicas=64)
    assert auto_recipe.choose(facts, {})["train_batch_size"] == 4096


def test_the_line_says_what_is_trained():
    facts = Facts(images=19_000, side=32, device=GPU, replicas=2)
    known = {**auto_recipe.choose(facts, {"train_steps": 50}), "train_steps": 50}
    assert auto_recipe.describe(facts, 20_000, known) == (
        "recipe auto for 20,000 images of 32 px on 2 GPUs: ResNet-18 x 1, 2 views, "
        "batch 512, Muon 0.02, 50 steps; flags you give win, --recipe=reference takes "
        "the paper's settings"
    )
