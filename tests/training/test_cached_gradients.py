"""The cached-gradient step against ``pretrain_step`` on the whole batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import losses, models, optimizers
from simclr_tf2.config import LossConfig, OptimizerConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.training import cached_gradients, steps

CLASSES, SIZE, IMAGES = 3, 5, 6


class InferenceMode:
    """A model whose batch norm always uses moving statistics."""

    def __init__(self, model):
        self._model = model

    def __call__(self, images, training):
        return self._model(images, training=False)

    def __getattr__(self, name):
        return getattr(self._model, name)


def batches(count):
    rng = np.random.default_rng(0)
    return [
        {
            "views": tuple(rng.random((IMAGES, SIZE, SIZE, 3)) for _ in "12"),
            "label": rng.integers(0, CLASSES, IMAGES),
        }
        for _ in range(count)
    ]


def build_model(replicas=1, dtype="float64"):
    """One convolution, batch norms as the library's, two heads."""
    keras.utils.set_random_seed(1)
    common = {"dtype": dtype, "use_bias": False}

    def norm(x, name):
        layer = keras.layers.BatchNormalization(
            synchronized=replicas > 1, dtype=dtype, name=name
        )
        return keras.layers.ReLU(dtype=dtype)(layer(x))

    def dense(units, name):
        return keras.layers.Dense(units, **common, name=name)

    images = keras.Input((SIZE, SIZE, 3), dtype=dtype)
    x = keras.layers.Conv2D(5, 3, strides=2, **common, name="conv")(images)
    x = keras.layers.GlobalAveragePooling2D(dtype=dtype)(norm(x, "norm"))
    h = keras.Input((5,), dtype=dtype)
    z = dense(4, "last")(norm(dense(7, "hidden")(h), "head_norm"))
    logits = keras.layers.Dense(CLASSES, dtype=dtype, name="head_supervised")(h)
    model = models.SimCLR(
        keras.Model(images, x), keras.Model(h, [h, z]), keras.Model(h, logits)
    )
    rng = np.random.default_rng(2)
    for v in model.variables:
        v.assign(v.numpy() + 0.1 * rng.random(v.shape))
    return model


def train(strategy, make_step, optimizer_name="lars", count=2, supervised=True, **run):
    """A few steps from fixed weights: their scalars, and all variables afterwards.

    Args:
        strategy: Runs the step.
        make_step: (model, optimizer, loss, **settings of pretrain_step) -> step.
        optimizer_name: "lars", or "momentum", whose L2 term covers all weights.
        count: Steps.
        supervised: Train the head.
        **run: For ``tf.function``.
    """
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        model = build_model(replicas)
        roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
        optimizer = optimizers.build_optimizer(
            OptimizerConfig(optimizer=optimizer_name, weight_decay=0.01),
            learning_rate=0.1,
            exclude=optimizers.exclusions(optimizer_name, roles),
        )
        optimizer.build(model.trainable_variables)
    step = make_step(
        model,
        optimizer,
        losses.build_loss(LossConfig(temperature=0.5)),
        decayed_variables=optimizers.decayed_in_loss(
            model.trainable_variables, roles, optimizer=optimizer_name
        ),
        weight_decay=0.01,
        supervised=supervised,
    )

    @tf.function(autograph=False, **run)
    def compiled(batch):
        return strategy.run(step, args=(batch,))

    found = []
    for batch in batches(count):

        def share(context, batch=batch):
            k, n = context.replica_id_in_sync_group, IMAGES // replicas
            rows = slice(k * n, (k + 1) * n)
            return {
                "views": tuple(tf.constant(v[rows]) for v in batch["views"]),
                "label": tf.constant(batch["label"][rows]),
            }

        scalars = compiled(strategy.experimental_distribute_values_from_function(share))
        local = strategy.experimental_local_results
        found.append(
            {k: np.mean([float(x) for x in local(v)]) for k, v in scalars.items()}
        )
    return found, {v.path: v.numpy() for v in model.variables}


def whole(frozen):
    def make(model, *args, **settings):
        return steps.pretrain_step(
            InferenceMode(model) if frozen else model, *args, **settings
        )

    return make


def cached(micro_batch_size, batch_norm):
    def make(*args, **settings):
        return cached_gradients.cached_gradient_step(
            *args,
            micro_batch_size=micro_batch_size,
            batch_norm=batch_norm,
            **settings,
        )

    return make


def assert_same(found, expected, rtol=1e-10):
    for a, b in zip(found[0], expected[0], strict=True):
        assert set(a) == set(b)
        for name, value in b.items():
            # accuracies are float32
            limit = 1e-6 if name.endswith("accuracy") else rtol
            np.testing.assert_allclose(a[name], value, rtol=limit, err_msg=name)
    for path, value in expected[1].items():
        np.testing.assert_allclose(
            found[1][path], value, rtol=rtol, atol=rtol, err_msg=path
        )


@pytest.fixture(scope="module")
def one():
    return tf.distribute.OneDeviceStrategy("/cpu:0")


@pytest.mark.parametrize("optimizer", ["lars", "momentum"])
def test_frozen_equals_the_whole_batch(one, optimizer):
    expected = train(one, whole(frozen=True), optimizer)
    found = train(one, cached(2, "frozen"), optimizer)
    assert_same(found, expected)
    start = {v.path: v.numpy() for v in build_model().trainable_variables}
    moved = [np.abs(found[1][path] - value).max() for path, value in start.items()]
    assert min(moved) > 1e-6  # every weight took part


def test_frozen_equals_the_whole_batch_on_two_replicas(two_replicas, one):
    expected = train(two_replicas, whole(frozen=True))
    found = train(two_replicas, cached(1, "frozen"))
    assert_same(found, expected)
    joined = train(one, whole(frozen=True))
    for path, value in joined[1].items():
        np.testing.assert_allclose(found[1][path], value, rtol=1e-9, atol=1e-10)


def test_frozen_keeps_the_moving_statistics(one):
    found = train(one, cached(3, "frozen"), count=1)
    model = build_model()
    assert model.non_trainable_variables
    for v in model.non_trainable_variables:
        if "moving" in v.path:
            np.testing.assert_array_equal(found[1][v.path], v.numpy())


def test_one_micro_batch_is_the_plain_step(one):
    assert_same(train(one, cached(6, "micro")), train(one, whole(frozen=False)))


def test_one_micro_batch_is_the_plain_step_on_two_replicas(two_replicas):
    found = train(two_replicas, cached(3, "micro"))
    assert_same(found, train(two_replicas, whole(frozen=False)))


@pytest.mark.slow
def test_micro_batches_on_two_replicas_equal_twice_as_large_ones_on_one(
    two_replicas, one
):
    """Synchronised batch norm sees the same micro-batch of both replicas."""

    def reordered(make):  # images 0, 3 | 1, 4 | 2, 5 are the micro-batches of two
        def make_step(*args, **settings):
            step, order = make(*args, **settings), [0, 3, 1, 4, 2, 5]
            return lambda batch: step(
                tf.nest.map_structure(lambda x: tf.gather(x, order), batch)
            )

        return make_step

    found = train(two_replicas, cached(1, "micro"))
    expected = train(one, reordered(cached(2, "micro")))
    for path, value in expected[1].items():
        np.testing.assert_allclose(
            found[1][path], value, rtol=1e-9, atol=1e-9, err_msg=path
        )


def test_micro_statistics_equal_a_tape_over_all_micro_batches(one):
    """By automatic differentiation of the definition, without any cache."""

    def make(model, optimizer, contrastive_loss, **settings):
        class InTurns(InferenceMode):
            def __call__(self, images, training):
                parts = [
                    model(tf.gather(images, [i, i + 1, i + 6, i + 7]), training=True)
                    for i in (0, 2, 4)
                ]
                order = [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]
                return {
                    name: tf.gather(tf.concat([p[name] for p in parts], 0), order)
                    for name in parts[0]
                }

        return steps.pretrain_step(
            InTurns(model), optimizer, contrastive_loss, **settings
        )

    # Moving statistics too: one step per micro-batch, not two.
    assert_same(train(one, cached(2, "micro")), train(one, make))


def test_without_a_supervised_head_loss(one):
    expected = train(one, whole(frozen=True), supervised=False)
    found = train(one, cached(2, "frozen"), supervised=False)
    assert_same(found, expected)
    assert "supervised_loss" not in found[0][0]


def test_weights_that_no_loss_depends_on_are_left_alone(one):
    """A gradient of zeros instead of none would let AdamW decay the head."""
    found = train(one, cached(3, "frozen"), "adamw", count=1, supervised=False)
    for v in build_model().trainable_variables:
        moved = (found[1][v.path] != v.numpy()).any()
        assert moved != v.path.startswith("head_supervised"), v.path


def test_both_passes_see_the_same_dropout():
    """With another mask in the second pass the gradient would not be the loss's."""
    inputs = keras.Input((5,), dtype="float64")
    dropped = keras.layers.Dropout(0.5, seed=3, dtype="float64")(inputs)
    z = keras.layers.Dense(4, dtype="float64", use_bias=False)(dropped)
    head = keras.Model(inputs, [inputs, z])

    class Model:
        projection_head = head
        trainable_variables = head.trainable_variables
        non_trainable_variables = head.non_trainable_variables
        seen = []

        def __call__(self, images, training):
            z = head(images, training=training)[-1]
            self.seen.append(z.numpy())
            return {"projection": z}

    rng = np.random.default_rng(0)
    views = tuple(tf.constant(rng.standard_normal((6, 5))) for _ in "12")
    model = Model()
    step = cached_gradients.cached_gradient_step(
        model,
        keras.optimizers.SGD(0.0),
        losses.nt_xent_and_metrics,
        micro_batch_size=2,
    )
    step({"views": views})
    first, second = np.array(model.seen[:3]), np.array(model.seen[3:])
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first == 0, axis=0)) > 0
    before = len(model.seen)
    step({"views": views})
    assert (np.array(model.seen[before : before + 3]) != first).any()


def test_graph_does_not_grow_with_the_number_of_micro_batches():
    def operations(micro_batch_size):
        model = build_model(dtype="float32")
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(model.trainable_variables)
        step = cached_gradients.cached_gradient_step(
            model,
            optimizer,
            losses.nt_xent_and_metrics,
            micro_batch_size=micro_batch_size,
        )
        spec = tf.TensorSpec([IMAGES, SIZE, SIZE, 3], tf.float32)
        function = tf.function(step, autograph=False)
        graph = function.get_concrete_function({"views": (spec, spec)}).graph
        return sum(
            len(g.get_operations())
            for g in [graph, *(f.graph for f in graph._functions.values())]
        )

    assert operations(1) == operations(3)


@pytest.mark.slow
def test_the_step_compiles_with_xla(one):
    expected = train(one, cached(3, "micro"), count=1)
    found = train(one, cached(3, "micro"), count=1, jit_compile=True)
    assert_same(found, expected, rtol=1e-9)


@pytest.mark.parametrize("size", [4, 12])
def test_a_batch_that_is_no_multiple_is_refused(one, size):
    with pytest.raises(ConfigError, match=f"micro_batch_size={size} must divide the 6"):
        train(one, cached(size, "micro"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"micro_batch_size": 0}, "at least 1"),
        ({"micro_batch_size": 2, "batch_norm": "global"}, "micro, frozen"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        cached_gradients.cached_gradient_step(None, None, None, **settings)
