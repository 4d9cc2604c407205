"""Recomputed activations: the plain step's numbers, kept in less memory."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import losses, models, optimizers
from simclr_tf2.config import LossConfig, ModelConfig, OptimizerConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.models import residual_blocks
from simclr_tf2.training import cached_gradients, steps
from tests.support import small_networks

SIZE, CLASSES, STEPS = 9, 3, 2
# Two groups, one of them with two blocks, are enough to have all parts.
SHORT = {
    50: (residual_blocks.bottleneck_block, (1, 2)),
    10: (residual_blocks.basic_block, (2, 1)),
}


def batch(dtype):
    rng = np.random.default_rng(3)
    return {
        "views": tuple(rng.random((6, SIZE, SIZE, 3)).astype(dtype) for _ in "12"),
        "label": rng.integers(0, CLASSES, 6),
    }


def build(remat, *, dtype="float64", num_replicas=1, **settings):
    keras.utils.set_random_seed(1)
    config = ModelConfig(
        **{"resnet_depth": 50, "width_multiplier": 0.0625, "stem": "stride2"}
        | {"num_proj_layers": 2, "proj_out_dim": 4}
        | settings
    )
    model = models.build_simclr(
        config,
        image_size=SIZE,
        num_classes=CLASSES,
        num_replicas=num_replicas,
        dtype=dtype,
    )
    small_networks.disturb(model)
    models.recompute(model, remat)
    return model


def pretrained(
    remat, *, strategy=None, make=steps.pretrain_step, jit=False, **build_as
):
    """Losses of each step, and every variable after them."""
    strategy = strategy or tf.distribute.OneDeviceStrategy("/cpu:0")
    replicas = strategy.num_replicas_in_sync
    dtype = build_as.get("dtype", "float64")
    dtype = dtype if dtype == "float64" else "float32"
    with strategy.scope():
        model = build(remat, num_replicas=replicas, **build_as)
        optimizer = optimizers.build_optimizer(
            OptimizerConfig(optimizer="momentum"), learning_rate=0.05
        )
        optimizer.build(model.trainable_variables)
    step = make(model, optimizer, losses.build_loss(LossConfig()), supervised=True)
    if jit:
        step = tf.function(step, jit_compile=True, autograph=False)
    whole = batch(dtype)

    def share(context):
        k, n = context.replica_id_in_sync_group, 6 // replicas
        return tf.nest.map_structure(lambda v: tf.constant(v[k * n : k * n + n]), whole)

    values = strategy.experimental_distribute_values_from_function(share)
    run = tf.function(lambda b: strategy.run(step, args=(b,)), autograph=False)
    found = [
        np.mean([x.numpy() for x in strategy.experimental_local_results(s)])
        for s in (run(values)["total_loss"] for _ in range(STEPS))
    ]
    return found, {v.path: v.numpy() for v in model.variables}


def assert_same(found, expected, rtol=1e-10, atol=1e-11):
    np.testing.assert_allclose(found[0], expected[0], rtol=rtol)
    assert found[0][0] != found[0][1]
    moved = [path for path in expected[1] if "moving" in path]
    assert len(moved) > 15
    for path, value in expected[1].items():
        np.testing.assert_allclose(
            found[1][path], value, rtol=rtol, atol=atol, err_msg=path
        )


@pytest.fixture(autouse=True)
def short_network(monkeypatch):
    monkeypatch.setattr("simclr_tf2.models.resnet.DEPTHS", SHORT)
    monkeypatch.setattr("simclr_tf2.models.resnet.GROUP_FILTERS", (64, 128))


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["blocks", "groups"])
def test_losses_weights_and_moving_statistics_are_the_plain_steps(remat):
    parts = {"resnet_depth": 10}
    if remat == "blocks":
        parts = {"sk_ratio": 0.0625, "se_ratio": 0.25}
    assert_same(pretrained(remat, **parts), pretrained("off", **parts))


@pytest.mark.slow
def test_on_two_replicas_with_synchronised_batch_norm(two_replicas):
    plain = pretrained("off", strategy=two_replicas, resnet_depth=10)
    again = pretrained("blocks", strategy=two_replicas, resnet_depth=10)
    assert_same(again, plain)


@pytest.mark.parametrize("remat", ["off", "blocks", "groups"])
def test_the_inside_of_segments_is_run_twice(remat):
    """Else nothing would be saved, however equal the numbers."""
    model = build(remat, resnet_depth=10)
    images = tf.constant(batch("float64")["views"][0])

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(images, training=True)["projection"] ** 2)
        return tape.gradient(loss, model.backbone.trainable_variables)

    graph = gradients.get_concrete_function().graph
    found = sum(op.type == "Conv2D" for op in graph.get_operations())
    convolutions = 1 + 3 * 2 + 2  # stem; two in each block; two shortcuts
    assert found == convolutions * (1 if remat == "off" else 2)


@pytest.mark.slow
def test_with_cached_gradients_too():
    def make(*args, **kwargs):
        return cached_gradients.cached_gradient_step(
            *args, micro_batch_size=3, **kwargs
        )

    plain = pretrained("off", make=make, resnet_depth=10)
    assert_same(pretrained("blocks", make=make, resnet_depth=10), plain)


def test_bfloat16_and_the_fused_kernel():
    """Both runs of a block round alike, so that even this is nearly equal."""
    plain = pretrained("off", dtype="mixed_bfloat16", resnet_depth=10)
    again = pretrained("groups", dtype="mixed_bfloat16", resnet_depth=10)
    assert_same(again, plain, rtol=0.05, atol=0.02)


def test_frozen_layers_stay_frozen():
    plain, again = (build(kind, resnet_depth=10) for kind in ("off", "blocks"))
    images, gradients = tf.constant(batch("float64")["views"][0]), []
    for model in (plain, again):
        models.freeze_up_to_block(model.backbone, 1)
        variables = model.finetune_trainable_variables
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model.finetune_logits(images, training=True) ** 2)
        gradients.append(tape.gradient(loss, variables))
    assert len(gradients[0]) == len(variables) > 10
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)
    for a, b in zip(plain.variables, again.variables, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-12, err_msg=a.path)


def test_inference_and_variables_do_not_change():
    model = build("blocks", resnet_depth=10)
    plain = build("off", resnet_depth=10)
    images = batch("float64")["views"][0]
    np.testing.assert_array_equal(
        model(images)["projection"], plain(images)["projection"]
    )
    assert [v.path for v in model.variables] == [v.path for v in plain.variables]
    models.copy_weights(model, models.export_copy(model))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match="--remat must be one of blocks, groups"):
        models.recomputed(build("off", resnet_depth=10).backbone, "layers")
