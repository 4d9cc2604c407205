"""What every layer, block and head of ``simclr_tf2.models`` keeps to.

Layers are found by their registration with Keras, and blocks by their signature
(``inputs`` and ``settings``): a new one is tested without a line here, unless it needs
an argument of a new name.
"""

import importlib
import inspect
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import models
from simclr_tf2.config import PROJ_HEAD_MODES
from simclr_tf2.models import heads
from simclr_tf2.models.layers import LayerSettings

ARGUMENTS = {
    "filters": 4,
    "kernel_size": 3,
    "name": "part",
    "project": True,
    "se_ratio": 0.5,
    "sk_ratio": 0.25,
    "strides": 1,
}
# As trained, and as exported, which differs in single layers only.
KINDS = {"fused": {"fused_batch_norm": True}, "stock": {}}
SINGLE = ("conv2d", "batch_norm")
SHAPE, WIDTH = (5, 5, 3), 7  # of an image's map, and of its h


def members():
    """Public names defined in the modules of ``simclr_tf2.models``."""
    for found in pkgutil.iter_modules(models.__path__):
        module = importlib.import_module(f"{models.__name__}.{found.name}")
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) == module.__name__
            if own and not name.startswith("_"):
                yield name, value


def needed(function):
    """Arguments of ``function`` that have no default, by name."""
    parameters = inspect.signature(function).parameters.values()
    given = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [p.name for p in parameters if p.default is p.empty and p.kind not in given]
    return {n: ARGUMENTS[n] for n in names if n not in ("inputs", "settings", "self")}


LAYERS = {
    name: value
    for name, value in members()
    if inspect.isclass(value)
    and issubclass(value, keras.layers.Layer)
    and not issubclass(value, keras.Model)
}
BLOCKS = {
    name: value
    for name, value in members()
    if inspect.isfunction(value)
    and {"inputs", "settings"} <= set(inspect.signature(value).parameters)
}


def of_layer(kind, *, batch=None, dtype="float32"):
    x = keras.Input(SHAPE, batch_size=batch)
    return keras.Model(x, kind(**needed(kind.__init__), dtype=dtype)(x))


def of_block(build, settings, *, batch=None, dtype="float32"):
    x = keras.Input(SHAPE, batch_size=batch)
    settings = LayerSettings(**settings, dtype=dtype)
    return keras.Model(x, build(x, **needed(build), settings=settings))


def of_head(mode):
    return lambda **_: heads.build_projection_head(WIDTH, mode=mode, out_dim=5)


PARTS = {
    name: lambda kind=kind, **options: of_layer(kind, **options)
    for name, kind in LAYERS.items()
}
for name, build in BLOCKS.items():
    for kind in KINDS if name in SINGLE else ("fused",):
        PARTS[f"{name}-{kind}"] = lambda build=build, kind=kind, **options: of_block(
            build, KINDS[kind], **options
        )
HEADS = {f"projection_head-{mode}": of_head(mode) for mode in PROJ_HEAD_MODES}
HEADS["supervised_head"] = lambda **_: heads.build_supervised_head(WIDTH, 3)

every_part = pytest.mark.parametrize("build", PARTS.values(), ids=PARTS)
everything = pytest.mark.parametrize(
    "build", [*PARTS.values(), *HEADS.values()], ids=[*PARTS, *HEADS]
)


def inputs(model, count=6):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def moved(model):
    """The model with no variable at its initial value; variances above 0."""
    random = np.random.default_rng(1)
    for variable in model.variables:
        noise = 0.3 * random.normal(size=variable.shape)
        if variable.name in ("bias", "moving_variance"):  # no unit is dead
            noise = abs(noise)
        variable.assign(variable.numpy() + noise)
    return model


def outputs(model, x, *, training=False):
    """A list of all outputs."""
    return [y.numpy() for y in tf.nest.flatten(model(x, training=training))]


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_library_has_these_layers_and_blocks():
    """That they are found; new ones may come."""
    assert set(LAYERS) >= {"Conv2D", "FusedBatchNormalization"}
    assert set(BLOCKS) >= {"conv2d", "batch_norm", "squeeze_excite", "basic_block"}


@pytest.mark.parametrize("kind", LAYERS.values(), ids=LAYERS)
def test_a_layer_comes_back_from_its_config(kind):
    layer = kind(**needed(kind.__init__), name="some_name", dtype="mixed_bfloat16")
    config = layer.get_config()
    assert kind.from_config(config).get_config() == config
    record = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(record)
    assert type(again) is kind and again.get_config() == config


@everything
def test_a_saved_file_gives_the_same_outputs(build, tmp_path):
    model = moved(build())
    model.save(tmp_path / "part.keras")
    again = keras.models.load_model(tmp_path / "part.keras")
    x = inputs(model)
    assert [type(a) for a in again.layers] == [type(a) for a in model.layers]
    assert_equal(outputs(again, x), outputs(model, x))


@everything
def test_the_gradient_reaches_every_trainable_variable(build):
    model = moved(build())
    x = tf.constant(inputs(model))
    with tf.GradientTape() as tape:
        found = tf.nest.flatten(model(x, training=True))
        loss = tf.add_n([tf.reduce_sum(tf.sin(y + 1.0)) for y in found])
    for variable, gradient in zip(
        model.trainable_variables,
        tape.gradient(loss, model.trainable_variables),
        strict=True,
    ):
        assert gradient is not None, variable.path
        gradient = np.asarray(gradient)
        assert np.isfinite(gradient).all() and gradient.any(), variable.path


@every_part
def test_under_mixed_precision_variables_stay_float32_and_outputs_are_half(build):
    plain, mixed = moved(build()), build(dtype="mixed_bfloat16")
    mixed.set_weights(plain.get_weights())
    assert {v.dtype for v in mixed.variables} <= {"float32"}
    x = inputs(plain)
    for training in (False, True):
        found = mixed(x, training=training)
        assert found.dtype == tf.bfloat16
        expected = plain(x, training=training).numpy()
        gap = abs(tf.cast(found, tf.float32).numpy() - expected)
        assert gap.mean() < 0.03 * max(1, abs(expected).max())


@pytest.mark.parametrize("build", HEADS.values(), ids=HEADS)
def test_heads_are_float32_whatever_the_global_policy_is(build):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = build()
        assert {y.dtype.name for y in tf.nest.flatten(model(inputs(model)))} == {
            "float32"
        }
    finally:
        keras.mixed_precision.set_dtype_policy(before)


@everything
def test_a_batch_of_unknown_size_gives_what_a_known_one_gives(build):
    open_batch, known = moved(build()), build(batch=6)
    known.set_weights(open_batch.get_weights())
    x = inputs(open_batch)
    traced = tf.function(
        lambda x: [open_batch(x, training=False), open_batch(x, training=True)],
        input_signature=[tf.TensorSpec([None, *x.shape[1:]])],
    )
    found = [y.numpy() for y in tf.nest.flatten(traced(x))]
    expected = outputs(known, x) + outputs(known, x, training=True)
    assert_equal(found, expected)


@everything
def test_only_training_moves_statistics_and_reads_other_images(build):
    model = moved(build())
    x = inputs(model)
    before = model.get_weights()
    alone = outputs(model, x[:2])
    assert_equal(alone, [y[:2] for y in outputs(model, x)])
    for value, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)
    outputs(model, x, training=True)
    pairs = zip(model.variables, before, strict=True)
    changed = {v.path for v, kept in pairs if (v.numpy() != kept).any()}
    assert changed == {v.path for v in model.non_trainable_variables}
