"""LARS: the formulas in numpy, golden vectors, replicas, XLA, serialisation."""

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import optimizers

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "lars.npz")


def oracle(w, gradients, *, lr, m, wd, eta, nesterov, classic, adapt=True, decay=True):
    """LARS step by step in float64, written from the formulas; returns (w, v)."""
    w, v = np.array(w, np.float64), np.zeros(np.shape(w))

    def ratio(direction):
        w_norm, norm = np.sqrt((w**2).sum()), np.sqrt((direction**2).sum())
        return eta * w_norm / norm if adapt and w_norm > 0 and norm > 0 else 1.0

    for g in gradients:
        g = g + wd * w if decay else g
        if classic:
            r = ratio(g)
            v = m * v + lr * r * g
            w = w - (m * v + lr * r * g if nesterov else v)
        else:
            v = m * v + g
            u = m * v + g if nesterov else v
            w = w - lr * ratio(u) * u
    return w, v


def variables_and_gradients(steps=4):
    """float64: a matrix, zero weights, zero gradients, two that are excluded."""
    rng = np.random.default_rng(0)
    names = ["kernel", "zero_weight", "zero_grad", "beta", "head"]
    initial = {n: rng.standard_normal([3, 5]) for n in names}
    initial["zero_weight"][:] = 0
    gradients = {n: rng.standard_normal([steps, 3, 5]) for n in names}
    gradients["zero_grad"][:] = 0
    return initial, gradients


@pytest.mark.parametrize("classic", [True, False])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("wd", [0.0, 0.01])
def test_equals_the_formulas(classic, nesterov, wd):
    initial, gradients = variables_and_gradients()
    variables = [keras.Variable(w, name=n, dtype="float64") for n, w in initial.items()]
    optimizer = optimizers.LARS(
        0.3,
        momentum=0.8,
        weight_decay=wd,
        eta=0.02,
        nesterov=nesterov,
        classic_momentum=classic,
        exclude_from_weight_decay=["^beta$"],
        exclude_from_layer_adaptation=["^head$"],
    )
    optimizer.build(variables)
    for step in range(4):
        optimizer.apply([tf.constant(gradients[n][step]) for n in initial])
    rule = {"lr": np.float32(0.3), "m": 0.8, "wd": wd, "eta": 0.02}
    for variable, slot in zip(variables, optimizer._momentums, strict=True):
        name = variable.name
        w, v = oracle(
            initial[name],
            gradients[name],
            nesterov=nesterov,
            classic=classic,
            decay=name != "beta",
            adapt=name != "head",
            **rule,
        )
        np.testing.assert_allclose(variable, w, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(slot, v, rtol=1e-12, atol=1e-15)


def golden_optimizer(config):
    return optimizers.LARS(
        config["learning_rate"],
        momentum=config["momentum"],
        weight_decay=config["weight_decay"],
        eta=config["eeta"],
        nesterov=config["use_nesterov"],
        classic_momentum=config["classic_momentum"],
        exclude_from_weight_decay=config["exclude"] or (),
    )


@pytest.mark.golden
@pytest.mark.parametrize("index", range(13))
def test_five_steps_match_the_reference(golden, index):
    config = json.loads(str(golden["configs_json"]))[index]
    if config["learning_rate"] == "schedule":
        config["learning_rate"] = optimizers.warmup_cosine(
            0.3,
            scaling="linear",
            global_batch_size=256,
            num_examples=400,
            train_epochs=5,
            train_steps=0,
            warmup_epochs=2,
        )
    optimizer = golden_optimizer(config)
    # "/" is not allowed in a Keras variable's own name
    names = [str(name).replace("/", "|") for name in golden["names"]]
    variables = [
        keras.Variable(golden[f"init_{i}"], name=name) for i, name in enumerate(names)
    ]
    optimizer.build(variables)
    for step in range(5):
        np.testing.assert_allclose(
            optimizer.learning_rate, config["lr_per_step"][step], rtol=1e-6
        )
        optimizer.apply(
            [tf.constant(golden[f"grad_step{step}_{i}"]) for i in range(10)]
        )
        for i, (w, m) in enumerate(zip(variables, optimizer._momentums, strict=True)):
            key = f"cfg{index:02d}_step{step}"
            for ours, theirs in (
                (w, golden[f"{key}_w{i}"]),
                (m, golden[f"{key}_m{i}"]),
            ):
                scale = abs(theirs).max() or 1.0
                np.testing.assert_allclose(
                    ours / scale, theirs / scale, atol=1e-6, err_msg=f"{key} {names[i]}"
                )


@pytest.mark.golden
def test_excluding_nothing_would_be_noticed(golden):
    # A name in Keras 3 is just "kernel": patterns that match nothing are the trap.
    config = json.loads(str(golden["configs_json"]))[0]
    optimizer = golden_optimizer({**config, "exclude": None})
    head = keras.Variable(golden["init_6"], name="kernel")
    optimizer.build([head])
    optimizer.apply([tf.constant(golden["grad_step0_6"])])
    assert abs(head - golden["cfg00_step0_w6"]).numpy().max() > 1e-2


def test_zero_weights_and_zero_gradients_fall_back_to_plain_momentum():
    zero_weight, zero_grad = keras.Variable([0.0, 0.0]), keras.Variable([1.0, 2.0])
    optimizer = optimizers.LARS(0.5, momentum=0.9)
    optimizer.build([zero_weight, zero_grad])
    optimizer.apply([tf.constant([1.0, -1.0]), tf.zeros([2])])
    np.testing.assert_allclose(zero_weight, [-0.5, 0.5])
    np.testing.assert_allclose(zero_grad, [1.0, 2.0])


def test_weight_decay_is_inside_the_trust_ratio_and_applied_once():
    w = keras.Variable([3.0, 4.0])
    optimizer = optimizers.LARS(1.0, momentum=0.0, weight_decay=0.1, eta=0.01)
    optimizer.build([w])
    optimizer.apply([tf.zeros([2])])
    # g = 0.1 w, r = 0.01 * 5 / 0.5: w loses 1 %, whatever the weight decay
    np.testing.assert_allclose(w, [2.97, 3.96], rtol=1e-6)


def test_two_replicas_update_alike_and_as_one_device(two_replicas):
    initial, gradients = variables_and_gradients()

    def make():
        variables = [
            keras.Variable(w, name=n, dtype="float64") for n, w in initial.items()
        ]
        optimizer = optimizers.LARS(
            optimizers.WarmupCosine(0.3, 10, 2),
            weight_decay=0.01,
            exclude_from_weight_decay=["beta"],
        )
        optimizer.build(variables)
        return variables, optimizer

    alone, optimizer = make()
    for step in range(4):
        optimizer.apply([tf.constant(gradients[n][step]) for n in initial])

    with two_replicas.scope():
        mirrored, optimizer = make()

    @tf.function
    def run(step):
        def replica_step():
            context = tf.distribute.get_replica_context()
            part = tf.cast(context.replica_id_in_sync_group, tf.float64)
            share = 0.25 + 0.5 * part  # 1/4 and 3/4: only the sum is right
            optimizer.apply_gradients(
                (share * tf.constant(gradients[v.name])[step], v) for v in mirrored
            )

        two_replicas.run(replica_step)

    for step in range(4):
        run(tf.constant(step))
    for one, two in zip(alone, mirrored, strict=True):
        copies = two_replicas.experimental_local_results(two.value)
        assert len(copies) == 2
        np.testing.assert_array_equal(copies[0], copies[1])
        np.testing.assert_allclose(copies[0], one, rtol=1e-12)


def test_compiles_with_xla_to_the_same_weights():
    def train(jit_compile):
        w = keras.Variable(np.linspace(-1, 1, 6, dtype="float32"), name="kernel")
        optimizer = optimizers.LARS(
            optimizers.WarmupCosine(1.0, 6, 2), weight_decay=1e-3, nesterov=True
        )
        optimizer.build([w])

        @tf.function(jit_compile=jit_compile)
        def step(gradient):
            optimizer.apply([gradient])

        for i in range(5):
            step(tf.sin(tf.range(6.0) + i))
        assert int(optimizer.iterations) == 5
        return w.numpy()

    np.testing.assert_allclose(train(True), train(False), rtol=1e-5)


def test_slots_are_float32_under_mixed_precision():
    dense = keras.layers.Dense(3, dtype="mixed_bfloat16")
    dense.build([None, 5])
    optimizer = optimizers.LARS(0.1)
    optimizer.build(dense.trainable_variables)
    assert {v.dtype for v in optimizer._momentums} == {"float32"}
    optimizer.apply([tf.ones(v.shape, tf.bfloat16) for v in dense.trainable_variables])
    assert {v.dtype for v in dense.trainable_variables} == {"float32"}


def test_tiny_bfloat16_gradients_do_not_vanish_in_the_norm():
    w = keras.Variable(np.ones(64), dtype="bfloat16")
    optimizer = optimizers.LARS(1.0, momentum=0.0, eta=0.5)
    optimizer.build([w])
    optimizer.apply([tf.fill([64], tf.constant(1e-15, tf.bfloat16))])
    np.testing.assert_allclose(tf.cast(w.value, tf.float32), 0.5, rtol=1e-2)


def test_exclusions_search_the_path_not_the_name():
    model = keras.Sequential(
        [
            keras.Input([4]),
            keras.layers.Dense(3, name="body"),
            keras.layers.Dense(2, name="supervised"),
        ],
        name="net",
    )
    optimizer = optimizers.LARS(
        0.1,
        weight_decay=0.1,
        exclude_from_weight_decay=["bias", r"^net/supervised/"],
        exclude_from_layer_adaptation=["bias"],
    )
    optimizer.build(model.trainable_variables)
    paths = [v.path for v in model.trainable_variables]
    assert [p.removeprefix("net/") for p in paths] == [
        "body/kernel",
        "body/bias",
        "supervised/kernel",
        "supervised/bias",
    ]
    assert optimizer._decays == [True, False, False, False]
    assert optimizer._adapts == [True, False, True, False]


def test_config_round_trip_keeps_every_argument():
    optimizer = optimizers.LARS(
        optimizers.WarmupCosine(0.7, 9, 3),
        momentum=0.5,
        weight_decay=0.25,
        eta=0.125,
        nesterov=True,
        classic_momentum=False,
        exclude_from_weight_decay=("a", "b$"),
        exclude_from_layer_adaptation=("c",),
        name="mine",
    )
    config = optimizer.get_config()
    json.dumps(config)
    again = optimizers.LARS.from_config(config)
    assert again.get_config() == optimizer.get_config()
    assert config["weight_decay"] == 0.25
    assert config["exclude_from_weight_decay"] == ["a", "b$"]
    blob = keras.optimizers.serialize(optimizer)
    restored = keras.optimizers.deserialize(json.loads(json.dumps(blob)))
    assert type(restored) is optimizers.LARS
    assert float(restored.learning_rate) == float(optimizer.learning_rate)


def test_saved_model_file_and_checkpoint_restore_the_slots(tmp_path):
    def make():
        model = keras.Sequential([keras.Input([3]), keras.layers.Dense(2)])
        model.compile(optimizers.LARS(0.1, weight_decay=0.01), loss="mse")
        return model

    x, y = np.ones([4, 3]), np.zeros([4, 2])
    model = make()
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(
        tmp_path / "ckpt"
    )
    other = make()
    other.optimizer.build(other.trainable_variables)
    tf.train.Checkpoint(model=other, optimizer=other.optimizer).restore(path)
    for copy in (loaded, other):
        assert int(copy.optimizer.iterations) == int(model.optimizer.iterations)
        for ours, theirs in zip(
            copy.optimizer.variables, model.optimizer.variables, strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    assert any(np.any(m) for m in model.optimizer._momentums)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.0}, "momentum must be"),
        ({"weight_decay": -1.0}, "weight_decay must be"),
        ({"exclude_from_weight_decay": "bias"}, "sequence"),
    ],
)
def test_rejects_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        optimizers.LARS(0.1, **arguments)
