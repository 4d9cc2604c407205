import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.config import ModelConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.models import (
    FusedBatchNormalization,
    SimCLR,
    build_projection_head,
    build_simclr,
    build_supervised_head,
    copy_weights,
    export_copy,
)

IMAGES = np.random.default_rng(0).random((6, 9, 9, 3)).astype(np.float32)


def config(**arguments):
    return ModelConfig(
        **{
            "resnet_depth": 10,
            "width_multiplier": 0.125,
            "proj_out_dim": 5,
            **arguments,
        }
    )


def build(num_classes=3, *, dtype=None, num_replicas=1, export=False, **arguments):
    return build_simclr(
        config(**arguments),
        image_size=9,
        num_classes=num_classes,
        dtype=dtype,
        num_replicas=num_replicas,
        export=export,
    )


def batch_norms(model):
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


@pytest.mark.parametrize("mode", ["none", "linear", "nonlinear"])
@pytest.mark.parametrize("training", [True, False])
def test_call_returns_h_z_and_logits(mode, training):
    model = build(proj_head_mode=mode)
    outputs = model(IMAGES, training=training)
    z = 64 if mode == "none" else 5
    shapes = {name: tuple(t.shape) for name, t in outputs.items()}
    assert shapes == {"representation": (6, 64), "projection": (6, z), "logits": (6, 3)}
    h = model.backbone(IMAGES, training=False)["final_avg_pool"]
    if not training:
        np.testing.assert_allclose(outputs["representation"], h, atol=1e-6)


@pytest.mark.parametrize("num_classes", [None, 0])
def test_no_logits_without_classes(num_classes):
    model = build(num_classes)
    assert model.supervised_head is None
    assert set(model(IMAGES)) == {"representation", "projection"}


@pytest.mark.parametrize("selector", [0, 1, 2, 3, -1])
def test_pretraining_logits_give_the_backbone_and_head_no_gradient(selector):
    model = build(ft_proj_selector=selector)
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(IMAGES, training=True)["logits"] ** 2)
    gradients = tape.gradient(loss, [v.value for v in variables])
    reached = {
        v.path for v, g in zip(variables, gradients, strict=True) if g is not None
    }
    assert reached == {"head_supervised/kernel", "head_supervised/bias"}


@pytest.mark.parametrize(
    ("selector", "kernels"), [(0, 0), (1, 1), (2, 2), (3, 3), (-1, 3)]
)
def test_finetuning_logits_reach_exactly_the_layers_below_the_selector(
    selector, kernels
):
    model = build(ft_proj_selector=selector)
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.finetune_logits(IMAGES, training=True) ** 2)
    gradients = tape.gradient(loss, [v.value for v in variables])
    reached = {
        v.path for v, g in zip(variables, gradients, strict=True) if g is not None
    }
    assert reached == {v.path for v in model.finetune_trainable_variables}
    heads = [p for p in reached if p.startswith("projection") and p.endswith("kernel")]
    assert len(heads) == kernels
    assert {v.path for v in model.backbone.trainable_variables} <= reached


def test_logits_read_the_selected_layer_input():
    model = build(ft_proj_selector=2)
    hiddens = model.hiddens(IMAGES)
    expected = model.supervised_head(hiddens[2])
    np.testing.assert_allclose(model(IMAGES)["logits"], expected, atol=1e-6)
    np.testing.assert_allclose(model.finetune_logits(IMAGES), expected, atol=1e-6)


def test_zero_init_logits_layer():
    assert not build(zero_init_logits_layer=True)(IMAGES)["logits"].numpy().any()


def test_stem_follows_the_image_size_unless_named():
    def stem(size, **arguments):
        model = build_simclr(config(**arguments), image_size=size)
        strides = model.backbone.get_layer("stem_conv_1").strides[0]
        return strides, "stem_max_pool" in {la.name for la in model.backbone.layers}

    assert stem(32) == (1, False)
    assert stem(33) == (2, True)
    assert stem(96, stem="stride2") == (2, False)
    assert stem(96, stem="cifar") == (1, False)


@pytest.mark.parametrize(
    ("replicas", "global_bn", "synchronized"),
    [(1, True, False), (2, True, True), (2, False, False)],
)
def test_batch_norm_is_synchronised_only_over_replicas_and_else_fused(
    replicas, global_bn, synchronized
):
    norms = batch_norms(build(num_replicas=replicas, global_bn=global_bn))
    assert {layer.synchronized for layer in norms} == {synchronized}
    fused = [layer for layer in norms if isinstance(layer, FusedBatchNormalization)]
    assert bool(fused) != synchronized
    assert {layer.momentum for layer in norms} == {0.9}


@pytest.mark.parametrize("dtype", [None, "mixed_bfloat16"])
def test_export_copy_is_stock_float32_and_gives_the_same_outputs(dtype):
    model = build(dtype=dtype, sk_ratio=0.1, batch_norm_decay=0.8)
    model(IMAGES, training=True)  # moves the statistics
    copy = export_copy(model)
    for layer in copy._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Layer) and not isinstance(layer, keras.Model):
            assert type(layer).__module__.startswith("keras.src"), layer
            assert layer.dtype_policy.name == "float32"
    for got, expected in zip(copy.variables, model.variables, strict=True):
        assert got.path == expected.path
        np.testing.assert_array_equal(got.numpy(), expected.numpy())
    tolerance = 1e-6 if dtype is None else 2e-2
    expected = model(IMAGES)
    for name, got in copy(IMAGES).items():
        np.testing.assert_allclose(got, expected[name], atol=tolerance, rtol=tolerance)


def test_set_weights_moves_weights_between_training_and_export_models():
    model, copy = build(), build(export=True)
    copy.set_weights(model.get_weights())
    np.testing.assert_allclose(
        copy(IMAGES)["projection"], model(IMAGES)["projection"], atol=1e-6
    )


def test_copy_weights_names_what_does_not_fit_and_copies_nothing():
    source, target = build(), build(num_classes=7)
    before = target.get_weights()
    with pytest.raises(
        ConfigError, match="head_supervised/kernel, head_supervised/bias"
    ):
        copy_weights(source, target)
    for got, expected in zip(target.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_any_keras_model_may_be_the_backbone():
    inputs = keras.Input((9, 9, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    backbone = keras.Model(inputs, keras.layers.Dense(7)(pooled))
    model = SimCLR(backbone, build_projection_head(7), build_supervised_head(7, 3))
    outputs = model(IMAGES, training=True)
    assert outputs["representation"].shape == (6, 7)
    with pytest.raises(ConfigError, match="build_simclr"):
        export_copy(model)


def test_checkpoint_restores_every_variable(tmp_path):
    model, other = build(), build()
    model(IMAGES, training=True)
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "ckpt"))
    tf.train.Checkpoint(model=other).read(path).assert_consumed()
    for got, expected in zip(other.variables, model.variables, strict=True):
        np.testing.assert_array_equal(got.numpy(), expected.numpy())


def test_same_seed_same_weights():
    keras.utils.set_random_seed(5)
    first = build().get_weights()
    keras.utils.set_random_seed(5)
    for got, expected in zip(build().get_weights(), first, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_compiles_under_xla():
    model = build(sk_ratio=0.1)
    step = tf.function(lambda x: model(x, training=True), jit_compile=True)
    weights = model.get_weights()
    got = step(IMAGES)["projection"].numpy()
    model.set_weights(weights)
    expected = model(IMAGES, training=True)["projection"]
    np.testing.assert_allclose(got, expected, rtol=1e-2, atol=1e-2)


def test_two_replicas_with_global_batch_norm_equal_one_with_the_joined_batch(
    two_replicas,
):
    """Values and moving statistics of a training-mode call."""
    with two_replicas.scope():
        model = build(num_replicas=2)
    alone = build()
    alone.set_weights(model.get_weights())
    expected = alone(IMAGES, training=True)["representation"].numpy()

    @tf.function
    def step():
        def replica():
            i = tf.distribute.get_replica_context().replica_id_in_sync_group
            return model(tf.constant(IMAGES)[3 * i : 3 * i + 3], training=True)

        return two_replicas.run(replica)["representation"]

    halves = two_replicas.experimental_local_results(step())
    np.testing.assert_allclose(np.concatenate(halves), expected, rtol=1e-3, atol=1e-4)
    for got, want in zip(
        model.non_trainable_variables, alone.non_trainable_variables, strict=True
    ):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "pools"),
    [
        ({}, False),
        ({"sk_ratio": 0.1}, True),
        ({"resnet_d": True}, True),
        ({"resnet_d": "false", "sk_ratio": 0.1}, False),
    ],
)
def test_settings_decide_on_resnet_d_and_the_start_of_residual_blocks(settings, pools):
    model = build(**settings, zero_init_residual=False)
    names = {layer.name for layer in model.backbone.layers}
    assert ("group1_block1_shortcut_pool" in names) is pools
    gamma = model.backbone.get_layer("group1_block1_batch_normalization_2").gamma
    assert (gamma.numpy() == 1).all()
