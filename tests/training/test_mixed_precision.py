"""bfloat16 and float16 learn what float32 learns; overflows are skipped and counted."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import losses, models, optimizers
from simclr_tf2.config import LossConfig, ModelConfig, OptimizerConfig
from simclr_tf2.optimizers import loss_scale
from simclr_tf2.runs import checkpoints
from simclr_tf2.training import cached_gradients, steps

pytestmark = pytest.mark.usefixtures("short_networks")
SIZE, ROWS = 9, 12


def images():
    """Views of twelve pictures that differ by a little noise: easy to tell apart."""
    rng = np.random.default_rng(0)
    base = rng.random((ROWS, SIZE, SIZE, 3))
    return [
        tf.constant(
            np.clip(base + 0.1 * rng.standard_normal(base.shape), 0, 1), "float32"
        )
        for _ in "12"
    ]


def build(precision, *, make=steps.pretrain_step, optimizer="momentum", **options):
    """(model, optimizer, step) of a small network."""
    keras.utils.set_random_seed(1)
    policy = {"off": None}.get(precision, f"mixed_{precision}")
    config = ModelConfig(
        resnet_depth=10,
        width_multiplier=0.125,
        stem="stride2",
        num_proj_layers=2,
        proj_out_dim=8,
    )
    model = models.build_simclr(config, image_size=SIZE, num_classes=3, dtype=policy)
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    built = optimizers.with_loss_scale(
        optimizers.build_optimizer(
            OptimizerConfig(optimizer=optimizer, weight_decay=1e-4),
            learning_rate=0.05,
            exclude=optimizers.exclusions(optimizer, roles),
        ),
        precision,
    )
    built.build(model.trainable_variables)
    loss = losses.build_loss(LossConfig(temperature=0.5))
    return model, built, make(model, built, loss, supervised=True, **options)


def batch():
    return {"views": tuple(images()), "label": tf.constant([0, 1, 2] * (ROWS // 3))}


def curve(precision, count, **kwargs):
    """The loss of each of ``count`` steps, and the optimizer after them."""
    _, optimizer, step = build(precision, **kwargs)
    run = tf.function(step, autograph=False)
    return [float(run(batch())["loss"]) for _ in range(count)], optimizer


@pytest.fixture(scope="module")
def float32(short_networks):
    return curve("off", 100)[0]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_hundred_steps_reach_the_loss_of_float32(float32, precision):
    """Within 5 % of the way down: the last ten steps on average."""
    found, optimizer = curve(precision, 100)
    way = float32[0] - np.mean(float32[-10:])
    assert way > 0.3, "float32 itself has to learn for this to say anything"
    assert abs(found[0] - float32[0]) < 0.05 * way
    assert abs(np.mean(found[-10:]) - np.mean(float32[-10:])) < 0.05 * way
    if precision == "float16":
        assert loss_scale.scalars(optimizer, 100)["skipped_steps"] <= 5


@pytest.mark.slow
@pytest.mark.parametrize("make", ["whole", "micro"])
def test_the_scale_cancels(make):
    """A power of two: float32 networks do the same step with it and without."""
    options = {}
    if make == "micro":
        options = {
            "make": cached_gradients.cached_gradient_step,
            "micro_batch_size": 4,
        }
    found = {}
    for scaled in (False, True):
        model, optimizer, _ = build("off", **options)
        if scaled:
            optimizer = loss_scale.DynamicLossScale(
                keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True)
            )
            optimizer.build(model.trainable_variables)
        built = options.get("make", steps.pretrain_step)(
            model,
            optimizer,
            losses.build_loss(LossConfig()),
            decayed_variables=model.supervised_head.trainable_variables,
            weight_decay=0.1,
            supervised=True,
            **{k: v for k, v in options.items() if k != "make"},
        )
        tf.function(built, autograph=False)(batch())
        found[scaled] = {v.path: v.numpy() for v in model.variables}
    for path, value in found[False].items():
        np.testing.assert_allclose(
            found[True][path], value, rtol=1e-6, atol=1e-7, err_msg=path
        )


def test_an_overflow_halves_the_scale_and_leaves_the_weights():
    model, optimizer, step = build("float16", optimizer="lars")
    optimizer.dynamic_scale.assign(2.0**120)
    before = [v.numpy() for v in model.trainable_variables]
    run = tf.function(step, autograph=False)
    assert np.isfinite(float(run(batch())["total_loss"]))  # reported unscaled
    for old, variable in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy(), err_msg=variable.path)
    assert loss_scale.scalars(optimizer, 1) == {
        "loss_scale": 2.0**119,
        "skipped_steps": 1.0,
    }
    optimizer.dynamic_scale.assign(1024.0)
    run(batch())
    assert loss_scale.scalars(optimizer, 2)["skipped_steps"] == 1
    assert any(
        (old != v.numpy()).any()
        for old, v in zip(before, model.trainable_variables, strict=True)
    )


def test_the_scale_is_in_the_checkpoint(tmp_path):
    model, optimizer, _ = build("float16")
    optimizer.dynamic_scale.assign(64.0)
    optimizer.step_counter.assign(17)
    prefix = checkpoints.save(
        checkpoints.run_checkpoint(model, optimizer),
        tmp_path,
        step=3,
        config_json="{}",
        keep=1,
    )
    model, optimizer, _ = build("float16")
    assert float(optimizer.dynamic_scale.numpy()) == 2.0**15  # Keras's
    assert checkpoints.restore_newest(
        checkpoints.run_checkpoint(model, optimizer), tmp_path
    )
    assert (
        float(optimizer.dynamic_scale.numpy()),
        int(optimizer.step_counter.numpy()),
    ) == (64.0, 17)
    assert prefix.endswith("ckpt-3")


@pytest.mark.parametrize("bad", [0, 1])
def test_a_replica_that_overflows_stops_the_step_of_all(two_replicas, bad):
    with two_replicas.scope():
        weight = keras.Variable([1.0, 2.0], name="weight")
        optimizer = loss_scale.DynamicLossScale(keras.optimizers.SGD(0.5))
        optimizer.build([weight])

    def replica(worse):
        context = tf.distribute.get_replica_context()
        mine = tf.equal(context.replica_id_in_sync_group, bad)
        good = tf.constant([1.0, 1.0]) * optimizer.dynamic_scale.value
        bad_one = tf.constant([1.0, np.inf])
        gradient = tf.where(tf.logical_and(mine, worse), bad_one, good)
        optimizer.apply_gradients([(gradient, weight)])

    run = tf.function(
        lambda worse: two_replicas.run(replica, args=(worse,)), autograph=False
    )
    run(tf.constant(True))
    np.testing.assert_array_equal(weight.numpy(), [1.0, 2.0])
    assert float(optimizer.dynamic_scale.numpy()) == 2.0**14
    run(tf.constant(False))
    np.testing.assert_array_equal(weight.numpy(), [0.0, 1.0])  # the sum of two


def test_what_stays_float32():
    """Weights, slots, statistics, h and z; the layers' outputs are float16."""
    model, optimizer, _ = build("float16", optimizer="lars")
    assert {v.dtype for v in model.variables} == {"float32"}
    assert {v.dtype for v in optimizer.variables} <= {"float32", "int32", "int64"}
    outputs = model(images()[0], training=True)
    assert {v.dtype for v in outputs.values()} == {tf.float32}
    block = model.backbone.output["block_group1"]
    assert block.dtype == "float16"
