"""The whole step compiles with XLA, and does what it does without."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import losses, models, optimizers
from simclr_tf2.augmentations import sampling
from simclr_tf2.config import LossConfig, OptimizerConfig
from simclr_tf2.training import steps
from tests.support import small_networks

SIZE, ROWS, CLASSES = 16, 4, 3
BLURRED = 20  # pixels: the least that are blurred
# optimizer, what else the network has; every part with one optimizer or another
PRETRAIN = {
    "lars": {"sk_ratio": 0.0625, "se_ratio": 0.25},
    "momentum": {"sk_ratio": 0.0625},
    "adam": {"se_ratio": 0.25},
    "adamw": {"remat": "blocks"},
    "lamb": {"dtype": "mixed_bfloat16"},
}
FINETUNE = {"lars": {"se_ratio": 0.25, "sk_ratio": 0.0625}, "momentum": {}}
WINDOWS = {"lars": {"sk_ratio": 0.0625}}
FAST = ((FINETUNE, "momentum"),)


@pytest.fixture(autouse=True)
def short_network(monkeypatch):
    small_networks.one_bottleneck(monkeypatch)


def build(optimizer, *, dtype=None, remat="off", size=SIZE, **settings):
    """A model with an optimizer for all of it; always the same weights."""
    model = small_networks.narrow_network(size, settings, dtype=dtype)
    models.recompute(model, remat)
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    built = optimizers.build_optimizer(
        OptimizerConfig(optimizer=optimizer, weight_decay=0.01),
        learning_rate=optimizers.WarmupCosine(0.05, 9, 0),
        exclude=optimizers.exclusions(optimizer, roles),
    )
    decayed = optimizers.decayed_in_loss(
        model.trainable_variables, roles, optimizer=optimizer
    )
    return model, built, {"decayed_variables": decayed, "weight_decay": 0.01}


def pretraining(optimizer, **network):
    model, built, decay = build(optimizer, **network)
    built.build(model.trainable_variables)
    loss = losses.build_loss(LossConfig(temperature=0.5))
    return model, steps.pretrain_step(model, built, loss, supervised=True, **decay)


def finetuning(optimizer, **network):
    model, built, decay = build(optimizer, **network)
    models.freeze_up_to_block(model.backbone, 0)
    variables = model.finetune_trainable_variables
    built.build(variables)
    kept = {v.path for v in variables}
    decay["decayed_variables"] = [
        v for v in decay["decayed_variables"] if v.path in kept
    ]
    return model, steps.finetune_step(model, built, variables, **decay)


def from_windows(optimizer, **network):
    """The step that first finishes the views."""
    model, step = pretraining(optimizer, size=BLURRED, **network)
    return model, steps.with_views_finished(step, use_blur=True)


def trained(make, optimizer, network, *, jit_compile, size=SIZE):
    """Scalars of two steps, and the variables after them."""
    rng = np.random.default_rng(0)
    views = [tf.constant(rng.random((ROWS, size, size, 3), np.float32)) for _ in "12"]
    batch = {
        "views": tuple(views),
        "image": views[0],
        "label": tf.constant([0, 1, 2, 0]),
    }
    if make is from_windows:
        low, high = sampling.ranges(1.0)
        shape = (ROWS, len(low))
        batch["draws"] = tuple(
            tf.constant(rng.uniform(low, high, shape), tf.float32) for _ in "12"
        )
    model, step = make(optimizer, **network)
    run = tf.function(step, autograph=False, jit_compile=jit_compile)
    scalars = [{k: float(v) for k, v in run(batch).items()} for _ in range(2)]
    return scalars, {v.path: v.numpy() for v in model.variables}


@pytest.mark.parametrize(
    ("make", "optimizer", "network"),
    [
        pytest.param(
            make,
            name,
            network,
            id=f"{make.__name__} {name}",
            marks=() if (cases, name) in FAST else pytest.mark.slow,
        )
        for make, cases in (
            (pretraining, PRETRAIN),
            (finetuning, FINETUNE),
            (from_windows, WINDOWS),
        )
        for name, network in cases.items()
    ],
)
def test_compiled_equals_uncompiled(make, optimizer, network):
    size = BLURRED if make is from_windows else SIZE
    plain = trained(make, optimizer, network, jit_compile=False, size=size)
    compiled = trained(make, optimizer, network, jit_compile=True, size=size)
    # bfloat16 has 8 bits and XLA rounds between other operations; Adam's first steps
    # are the sign of a gradient, whatever its size.
    half = "dtype" in network
    limit = 0.05 if half else 1e-4
    for found, expected in zip(compiled[0], plain[0], strict=True):
        assert set(found) == set(expected)
        for name in ("loss", "total_loss"):
            np.testing.assert_allclose(found[name], expected[name], rtol=limit)
    assert plain[0][0]["loss"] != plain[0][1]["loss"]
    for path, value in plain[1].items():
        error = np.mean(np.abs(compiled[1][path] - value))
        assert error < (0.1 if half else 1e-3) * (0.01 + np.mean(np.abs(value))), path
