"""Roles of variables, and that each is decayed exactly once."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import config, optimizers
from simclr_tf2.config import OptimizerConfig
from simclr_tf2.errors import ConfigError


class Gate(keras.layers.Layer):
    """A composite layer with a bias inside, as squeeze-excite has."""

    def __init__(self):
        super().__init__()
        self.inner = keras.layers.Conv2D(4, 1)

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return x * keras.ops.sigmoid(self.inner(x))


class FusedNorm(keras.layers.Layer):
    """Not a stock normalisation, but with moving statistics."""

    def build(self, shape):
        new = self.add_weight
        self.scale = new(shape=shape[-1:], name="scale", initializer="ones")
        self.moving_mean = new(shape=shape[-1:], name="a", trainable=False)
        self.moving_variance = new(shape=shape[-1:], name="b", trainable=False)

    def call(self, x):
        return x * self.scale


class Pair(keras.Model):
    """A backbone, a projection head and a supervised head."""

    def __init__(self):
        super().__init__()
        images = keras.Input([4, 4, 3])
        x = keras.layers.Conv2D(4, 3, use_bias=False)(images)
        x = keras.layers.BatchNormalization()(x)
        x = Gate()(x)
        x = FusedNorm()(x)
        x = keras.layers.GlobalAveragePooling2D()(x)
        self.backbone = keras.Model(images, x, name="backbone")
        h = keras.Input([4])
        y = keras.layers.Dense(4, use_bias=False)(h)
        y = keras.layers.BatchNormalization(center=False)(y)
        self.projection_head = keras.Model(h, y, name="projection")
        self.supervised_head = keras.Sequential(
            [keras.Input([4]), keras.layers.Dense(2)], name="head"
        )

    def call(self, images, training=False):
        h = self.backbone(images, training=training)
        return self.projection_head(h, training=training), self.supervised_head(h)


@pytest.fixture
def model():
    model = Pair()
    model(np.zeros([2, 4, 4, 3], np.float32))
    return model


@pytest.fixture
def roles(model):
    return optimizers.variable_roles(model, supervised_head=model.supervised_head)


def by_role(roles):
    found = {}
    for path, role in roles.items():
        found.setdefault(role, []).append(path.rsplit("/", 1)[-1])
    return {role: sorted(names) for role, names in found.items()}


def test_roles_follow_the_layer_not_the_name(model, roles):
    assert list(roles) == [v.path for v in model.trainable_variables]
    assert by_role(roles) == {
        "kernel": ["kernel", "kernel", "kernel"],
        "batch_norm": ["beta", "gamma", "gamma", "scale"],
        "bias": ["bias", "bias"],
        "supervised_head": ["kernel"],
    }


def test_paths_are_unique_though_names_are_not(model):
    paths = [v.path for v in model.trainable_variables]
    names = [v.name for v in model.trainable_variables]
    assert len(set(paths)) == len(paths) and len(set(names)) < len(names)


def test_without_a_supervised_head_its_kernel_is_a_kernel(model):
    roles = optimizers.variable_roles(model)
    assert by_role(roles)["kernel"] == ["kernel"] * 4


def test_frozen_variables_have_no_role(model):
    model.backbone.trainable = False
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    assert len(roles) == 4


def test_lars_excludes_exactly_norms_biases_and_head(model, roles):
    patterns = optimizers.lars_exclusions(roles)
    optimizer = optimizers.LARS(0.1, exclude_from_weight_decay=patterns)
    optimizer.build(model.trainable_variables)
    kernels = [roles[v.path] == "kernel" for v in model.trainable_variables]
    assert optimizer._decays == kernels and optimizer._adapts == kernels


def test_exclusions_do_not_match_a_path_that_only_contains_another():
    patterns = optimizers.lars_exclusions({"a/b.c": "bias", "x/a/b.c/d": "kernel"})
    assert [
        bool(re.search(patterns[0], p)) for p in ("a/b.c", "x/a/b.c/d", "a/bxc")
    ] == [
        True,
        False,
        False,
    ]


def test_one_path_with_two_roles_is_an_error():
    # Both variables are "twin/kernel"; only one of them is the supervised head's.
    def functional(units):
        inputs = keras.Input([3])
        return keras.Model(inputs, keras.layers.Dense(units, name="twin")(inputs))

    inputs = keras.Input([3])
    body, head = functional(3), functional(2)
    model = keras.Model(inputs, head(body(inputs)))
    assert {v.path for v in model.trainable_variables} == {"twin/kernel", "twin/bias"}
    with pytest.raises(ConfigError, match="twin/kernel"):
        optimizers.variable_roles(model, supervised_head=head)


def test_l2_loss_is_half_the_sum_of_squares():
    variables = [keras.Variable([1.0, 2.0]), keras.Variable([[3.0]])]
    np.testing.assert_allclose(optimizers.l2_loss(variables), 7.0)
    assert float(optimizers.l2_loss([])) == 0.0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lars", ["supervised_head"]),
        ("momentum", ["bias", "kernel", "supervised_head"]),
        ("adam", ["bias", "kernel", "supervised_head"]),
        ("adamw", []),
        ("lamb", []),
    ],
)
def test_loss_term_holds_what_the_reference_puts_there(model, roles, name, expected):
    chosen = optimizers.decayed_in_loss(
        model.trainable_variables, roles, optimizer=name
    )
    assert sorted({roles[v.path] for v in chosen}) == expected
    count = sum(role in expected for role in roles.values())
    assert len(chosen) == count


@pytest.mark.parametrize("name", config.OPTIMIZERS)
def test_each_weight_is_decayed_once_or_never(model, roles, name):
    """With no other gradient, a step moves what is decayed, and nothing else."""
    section = OptimizerConfig(optimizer=name, weight_decay=0.01)
    optimizer = optimizers.build_optimizer(
        section, learning_rate=0.1, exclude=optimizers.exclusions(name, roles)
    )
    variables = model.trainable_variables
    optimizer.build(variables)
    for v in variables:
        v.assign(np.full(v.shape, 2.0, np.float32))
    before = {v.path: v.numpy() for v in variables}
    optimizer.apply([tf.zeros(v.shape) for v in variables])
    moved = {roles[v.path] for v in variables if np.any(v.numpy() != before[v.path])}
    in_optimizer = {
        "lars": {"kernel"},
        "momentum": set(),
        "adam": set(),
        "adamw": {"kernel", "supervised_head"},
        "lamb": {"kernel", "supervised_head"},
        "muon": {"kernel", "supervised_head"},
    }[name]
    assert moved == in_optimizer
    in_loss = optimizers.decayed_in_loss(variables, roles, optimizer=name)
    assert not moved & {roles[v.path] for v in in_loss}
    assert "batch_norm" not in moved | {roles[v.path] for v in in_loss}


def test_decoupled_decay_takes_off_learning_rate_times_weight_decay():
    for name in ("adamw", "lamb", "muon"):
        w = keras.Variable([2.0])
        section = OptimizerConfig(optimizer=name, weight_decay=0.25)
        optimizer = optimizers.build_optimizer(section, learning_rate=0.1)
        optimizer.build([w])
        optimizer.apply([tf.zeros([1])])
        np.testing.assert_allclose(w, [2.0 * (1 - 0.1 * 0.25)], rtol=1e-6)


def test_decoupled_exclusions_hold_on_two_replicas(two_replicas):
    with two_replicas.scope():
        kept, decayed = keras.Variable([2.0], name="a"), keras.Variable([2.0], name="b")
        section = OptimizerConfig(optimizer="adamw", weight_decay=0.25)
        optimizer = optimizers.build_optimizer(
            section, learning_rate=0.1, exclude=("^a$",)
        )
        optimizer.build([kept, decayed])

    @tf.function
    def run():
        two_replicas.run(
            lambda: optimizer.apply_gradients(
                [(tf.zeros([1]), kept), (tf.zeros([1]), decayed)]
            )
        )

    run()
    np.testing.assert_allclose([kept[0], decayed[0]], [2.0, 1.95], rtol=1e-6)


def test_build_optimizer_covers_the_config_and_reads_momentum():
    assert set(config.OPTIMIZERS) == set(optimizers.OPTIMIZERS)
    for name in config.OPTIMIZERS:
        section = OptimizerConfig(optimizer=name, momentum=0.5)
        schedule = optimizers.WarmupCosine(1.0, 9, 3)
        optimizer = optimizers.build_optimizer(section, learning_rate=schedule)
        if name in ("lars", "momentum"):
            assert optimizer.momentum == 0.5
            assert optimizer.nesterov == (name == "momentum")
        blob = keras.optimizers.serialize(optimizer)
        again = keras.optimizers.deserialize(blob)
        assert again.get_config() == optimizer.get_config()


def test_unknown_optimizer_names_the_choices():
    with pytest.raises(ConfigError, match="lars"):
        optimizers.decay_in_loss("sgd")
    section = OptimizerConfig()
    object.__setattr__(section, "optimizer", "sgd")
    with pytest.raises(ConfigError, match="momentum"):
        optimizers.build_optimizer(section, learning_rate=0.1)
