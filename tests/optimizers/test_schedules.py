"""Warm-up and cosine: golden values, the integer arithmetic of steps, edges."""

import json
import math
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import optimizers
from simclr_tf2.config import LEARNING_RATE_SCALINGS
from simclr_tf2.errors import ConfigError

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "lr_schedule.npz")


@pytest.mark.golden
@pytest.mark.parametrize("case", range(11))
def test_matches_the_reference(golden, case):
    params = json.loads(str(golden[f"case{case:02d}_params_json"]))
    schedule = optimizers.warmup_cosine(
        params["base_lr"],
        scaling=params["scaling"],
        global_batch_size=params["batch"],
        num_examples=params["num_examples"],
        train_epochs=params["epochs"],
        train_steps=params["train_steps_flag"],
        warmup_epochs=params["warmup_epochs"],
    )
    assert schedule.total_steps == params["total_steps"]
    assert schedule.warmup_steps == params["warmup_steps"]
    ours = [float(schedule(step)) for step in golden[f"case{case:02d}_steps"]]
    expected = golden[f"case{case:02d}_lr"]
    # 1 + cos near the end of a cosine leaves one float32 digit: absolute there
    peak = expected.max()
    np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=2e-7 * peak)


def test_equals_the_closed_form_at_every_step():
    schedule = optimizers.WarmupCosine(2.0, 11, 3)
    for step in range(13):
        done = min(max((step - 3) / 8, 0), 1)
        cosine = 2.0 * (1 + math.cos(math.pi * done)) / 2
        expected = 2.0 * step / 3 if step < 3 else cosine
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-6, atol=1e-6)


def test_never_negative_nor_above_the_peak():
    schedule = optimizers.WarmupCosine(1.0, 1000, 10)
    rates = schedule(tf.range(1100)).numpy()
    assert rates.min() >= 0 and rates.max() == 1.0 and rates[1000:].max() == 0


@pytest.mark.parametrize(
    ("examples", "epochs", "steps", "batch", "expected"),
    [
        (1000, 3, 0, 64, 47),
        (128, 1, 0, 64, 3),  # the reference's + 1, even when it divides
        (100, 0.29, 0, 1, 30),  # 0.29 * 100 = 28.999999999999996
        (1000, 3, 7, 64, 7),
        (10, 1, 0, 64, 1),
    ],
)
def test_total_steps(examples, epochs, steps, batch, expected):
    found = optimizers.total_steps(
        num_examples=examples,
        train_epochs=epochs,
        train_steps=steps,
        global_batch_size=batch,
    )
    assert found == expected and isinstance(found, int)


@pytest.mark.parametrize(
    ("examples", "epochs", "batch", "expected"),
    [(1000, 0.5, 64, 7), (60000, 10, 256, 2343), (50, 0, 8, 0), (10, 1, 64, 0)],
)
def test_warmup_steps(examples, epochs, batch, expected):
    found = optimizers.warmup_steps(
        num_examples=examples, warmup_epochs=epochs, global_batch_size=batch
    )
    assert found == expected and isinstance(found, int)


@pytest.mark.parametrize(
    ("scaling", "expected"), [("linear", 4.8), ("sqrt", 19.2), ("none", 0.3)]
)
def test_scaling(scaling, expected):
    rate = optimizers.scaled_learning_rate(0.3, scaling=scaling, global_batch_size=4096)
    np.testing.assert_allclose(rate, expected)
    assert scaling in LEARNING_RATE_SCALINGS


def test_unknown_scaling_names_the_choices():
    with pytest.raises(ConfigError, match="linear, sqrt, none.*'cubic'"):
        optimizers.scaled_learning_rate(0.3, scaling="cubic", global_batch_size=8)


def test_warmup_longer_than_training_warns(caplog):
    optimizers.warmup_cosine(
        1.0,
        scaling="none",
        global_batch_size=10,
        num_examples=100,
        train_epochs=1,
        train_steps=5,
        warmup_epochs=1,
    )
    assert "--warmup_epochs" in caplog.text


def test_is_stepped_by_the_optimizer_once_per_update():
    w = keras.Variable([0.0])
    optimizer = keras.optimizers.SGD(optimizers.WarmupCosine(1.0, 8, 4))
    optimizer.build([w])
    moves = []
    for _ in range(4):
        before = w.numpy()[0]
        optimizer.apply([tf.constant([1.0])])
        moves.append(before - w.numpy()[0])
    np.testing.assert_allclose(moves, [0, 0.25, 0.5, 0.75], rtol=1e-6)


def test_config_round_trip():
    schedule = optimizers.WarmupCosine(0.5, 20, 4)
    blob = json.loads(json.dumps(keras.saving.serialize_keras_object(schedule)))
    again = keras.saving.deserialize_keras_object(blob)
    assert again.get_config() == schedule.get_config()
    np.testing.assert_array_equal(again(tf.range(25)), schedule(tf.range(25)))


def test_compiles_with_xla():
    schedule = optimizers.WarmupCosine(0.5, 20, 4)
    compiled = tf.function(schedule, jit_compile=True)
    steps = tf.range(25, dtype=tf.int64)
    np.testing.assert_allclose(compiled(steps), schedule(steps), rtol=1e-5, atol=1e-7)
