"""The whole step: W replicas equal one device with the joined batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import losses, models, optimizers
from simclr_tf2.config import LossConfig, ModelConfig, OptimizerConfig
from simclr_tf2.training import steps
from tests.support import small_networks

CLASSES, SIZE, STEPS = 3, 8, 3


def batches(dtype):
    rng = np.random.default_rng(0)
    return [
        {
            "views": tuple(rng.random((6, SIZE, SIZE, 3)).astype(dtype) for _ in "12"),
            "label": rng.integers(0, CLASSES, 6),
        }
        for _ in range(STEPS)
    ]


def train(strategy, optimizer_name, dtype):
    """Five steps from fixed weights; the variables and losses afterwards."""
    replicas = strategy.num_replicas_in_sync
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = models.build_simclr(
            ModelConfig(
                resnet_depth=10,
                width_multiplier=0.0625,
                stem="stride2",
                num_proj_layers=2,
                proj_out_dim=4,
            ),
            image_size=SIZE,
            num_classes=CLASSES,
            num_replicas=replicas,
            dtype=dtype,
        )
        small_networks.disturb(model)
        config = OptimizerConfig(optimizer=optimizer_name, weight_decay=0.01)
        roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
        optimizer = optimizers.build_optimizer(
            config,
            learning_rate=0.1,
            exclude=optimizers.exclusions(optimizer_name, roles),
        )
        optimizer.build(model.trainable_variables)
    step = steps.pretrain_step(
        model,
        optimizer,
        losses.build_loss(LossConfig(temperature=0.5)),
        decayed_variables=optimizers.decayed_in_loss(
            model.trainable_variables, roles, optimizer=optimizer_name
        ),
        weight_decay=0.01,
        supervised=True,
    )

    @tf.function(autograph=False)
    def run(batch):
        return strategy.run(step, args=(batch,))

    found = []
    for batch in batches(dtype):

        def share(context, batch=batch):
            k, n = context.replica_id_in_sync_group, 6 // replicas
            rows = slice(k * n, (k + 1) * n)
            return {
                "views": tuple(tf.constant(v[rows]) for v in batch["views"]),
                "label": tf.constant(batch["label"][rows]),
            }

        values = strategy.experimental_distribute_values_from_function(share)
        scalars = run(values)
        found.append(
            {
                name: np.mean(
                    [x.numpy() for x in strategy.experimental_local_results(v)]
                )
                for name, v in scalars.items()
            }
        )
    return found, {v.path: v.numpy() for v in model.variables}


@pytest.mark.usefixtures("short_network")
def test_two_replicas_match_one_with_joined_batch(two_replicas):
    """``test_equal_trainings`` does so with LARS and on other numbers of devices."""
    one = train(tf.distribute.OneDeviceStrategy("/cpu:0"), "momentum", "float64")
    two = train(two_replicas, "momentum", "float64")
    for a, b in zip(one[0], two[0], strict=True):
        assert set(a) == set(b)
        for name in ("loss", "supervised_loss", "total_loss"):
            np.testing.assert_allclose(a[name], b[name], rtol=1e-10, err_msg=name)
    moved = 0
    for path, value in one[1].items():
        np.testing.assert_allclose(
            two[1][path], value, rtol=1e-9, atol=1e-10, err_msg=path
        )
        moved += 1
    assert moved > 30


@pytest.mark.usefixtures("short_network")
def test_the_probe_does_not_move_the_encoder():
    """With labels or with shuffled labels the encoder gets the same update."""
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    real = train(strategy, "momentum", "float64")[1]
    rolled = batches
    try:
        globals()["batches"] = lambda dtype: [
            {**b, "label": (b["label"] + 1) % CLASSES} for b in rolled(dtype)
        ]
        other = train(strategy, "momentum", "float64")[1]
    finally:
        globals()["batches"] = rolled
    head = [p for p in real if "head_supervised" in p]
    assert head and any((real[p] != other[p]).any() for p in head)
    for path in set(real) - set(head):
        np.testing.assert_array_equal(real[path], other[path], err_msg=path)


def test_the_mask_list():
    """Which variables are decayed and adapted, by path: printed on failure."""
    model = models.build_simclr(
        ModelConfig(resnet_depth=10, width_multiplier=0.0625, num_proj_layers=2),
        image_size=SIZE,
        num_classes=CLASSES,
    )
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    by_role = {}
    for path, role in roles.items():
        by_role.setdefault(role, []).append(path)
    assert all(p.endswith(("gamma", "beta")) for p in by_role["batch_norm"]), by_role
    assert by_role["bias"] == ["head_supervised/bias"], by_role
    assert by_role["supervised_head"] == ["head_supervised/kernel"], by_role
    assert all(p.endswith("kernel") for p in by_role["kernel"]), by_role
    # stem, 4 blocks of 2 convs and a projected shortcut, 2 head layers
    assert len(by_role["kernel"]) == 1 + 4 * 3 + 2, by_role
