"""Trials of one network: each starts anew, and equals a training of its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import models, optimizers
from simclr_tf2.config import ModelConfig
from simclr_tf2.training import repeated, steps

pytestmark = pytest.mark.usefixtures("short_networks")
STEPS, RATE, DECAY = 5, 0.05, 0.3


def build(dtype=None):
    keras.utils.set_random_seed(3)
    config = ModelConfig(resnet_depth=10, width_multiplier=0.125, stem="stride2")
    return models.build_simclr(config, image_size=9, num_classes=3, dtype=dtype)


def batches():
    rng = np.random.default_rng(0)
    images = rng.random((STEPS, 7, 9, 9, 3)).astype(np.float32)
    labels = rng.integers(0, 3, (STEPS, 7))
    data = tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})
    return data.repeat()


def values(model):
    return [v.numpy() for v in model.variables]


@pytest.fixture(scope="module")
def trained(short_networks):
    """A model after one trial of other rates, then the one that is looked at."""
    model = build()
    trainer = repeated.RepeatedTraining(model, repeated.softmax_loss, steps=STEPS)
    assert trainer.run(batches(), learning_rate=0.3, weight_decay=0.0)
    other = values(model)
    assert trainer.run(batches(), learning_rate=RATE, weight_decay=DECAY)
    return trainer, model, other, values(model)


def test_a_trial_equals_a_training_of_its_own(trained):
    """Written out with the step and the optimizer of a fine-tuning run."""
    model = build()
    variables = model.finetune_trainable_variables
    schedule = optimizers.WarmupCosine(RATE, STEPS)
    optimizer = keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True)
    optimizer.build(variables)
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    step = tf.function(
        steps.finetune_step(
            model,
            optimizer,
            variables,
            decayed_variables=optimizers.decayed_in_loss(
                variables, roles, optimizer="momentum"
            ),
            weight_decay=DECAY,
        )
    )
    for batch in batches().take(STEPS):
        step(batch)
    for found, expected in zip(trained[3], values(model), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_trials_do_not_remember_each_other(trained):
    trainer, model, other, last = trained
    assert trainer.run(batches(), learning_rate=0.3, weight_decay=0.0)
    for found, before in zip(values(model), other, strict=True):
        np.testing.assert_array_equal(found, before)
    moved = [not np.array_equal(a, b) for a, b in zip(other, last, strict=True)]
    # Not the projection head, which is not in use.
    assert sum(moved) > 20


def test_a_trial_that_diverges_is_told_and_harms_no_later_one(trained):
    trainer, model, other, _ = trained
    assert not trainer.run(batches(), learning_rate=1e30, weight_decay=1.0)
    assert trainer.run(batches(), learning_rate=0.3, weight_decay=0.0)
    for found, before in zip(values(model), other, strict=True):
        np.testing.assert_array_equal(found, before)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_comes_close_and_starts_anew_as_well(trained, precision):
    model = build(dtype=f"mixed_{precision}")
    trainer = repeated.RepeatedTraining(
        model, repeated.softmax_loss, steps=STEPS, mixed_precision=precision
    )
    assert trainer.run(batches(), learning_rate=RATE, weight_decay=DECAY)
    first = values(model)
    assert trainer.run(batches(), learning_rate=RATE, weight_decay=DECAY)
    for found, before in zip(values(model), first, strict=True):
        np.testing.assert_array_equal(found, before)
    name = [v.path for v in model.variables].index("head_supervised/kernel")
    start = values(build())[name]
    step, expected = first[name] - start, trained[3][name] - start
    assert np.linalg.norm(step - expected) < 0.25 * np.linalg.norm(expected)


def test_the_sigmoid_loss_sums_known_classes_and_averages_images():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(5, 3)).astype(np.float32)
    labels = rng.choice([1, 0, -1], size=(5, 3))
    labels[4] = -1
    total = 0.0
    for row, known in zip(logits, labels, strict=True):
        for logit, label in zip(row, known, strict=True):
            p = 1 / (1 + np.exp(-logit))
            total -= {1: np.log(p), 0: np.log(1 - p), -1: 0.0}[int(label)]
    found = repeated.sigmoid_loss(tf.constant(logits), tf.constant(labels))
    assert float(found) == pytest.approx(total / 5, rel=1e-5)
