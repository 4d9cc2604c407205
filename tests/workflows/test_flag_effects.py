"""What the reference's flags do, seen from outside: in weights, files and losses.

Flags with a test of their own elsewhere are not repeated.
"""

import json
import math
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import losses, models, workflows
from simclr_tf2.config import LossConfig, ModelConfig
from simclr_tf2.models import freeze_up_to_block
from simclr_tf2.runs.checkpoints import list_checkpoints, weights
from simclr_tf2.training import steps
from tests.support.tiny_runs import run, tiny_config

IMAGES = np.random.default_rng(0).random((6, 9, 9, 3)).astype(np.float32)
LABELED = 500  # images of simclr_shapes/tiny:train


def build(*, num_replicas=1, **settings):
    config = ModelConfig(
        resnet_depth=10, width_multiplier=0.125, proj_out_dim=5, **settings
    )
    return models.build_simclr(
        config, image_size=9, num_classes=3, num_replicas=num_replicas
    )


# How long, how often.


def test_train_epochs_count_as_the_references_and_checkpoints_are_thinned(
    data_dir,
    tmp_path,
):
    """examples * epochs // batch + 1 steps; saved at multiples and at the end."""
    folder = tmp_path / "run"
    results, lines = run(
        folder,
        data_dir,
        train_split="train",
        lineareval_while_pretraining=False,
        train_steps=0,
        train_epochs=0.2,
        train_batch_size=16,
        checkpoint_steps=2,
        keep_checkpoint_max=2,
    )
    total = int(LABELED * 0.2 // 16) + 1
    assert total == 7 == lines[-1]["step"] == results["step"]
    assert [step for step, _ in list_checkpoints(folder)] == [7, 6]
    # without lineareval_while_pretraining there is nothing supervised to save
    assert not any("supervised" in name for name in weights(f"{folder}/ckpt-7"))


def test_train_steps_win_over_epochs(finished):
    folder, _ = finished
    config = json.loads((folder / "config.json").read_text())
    assert (config["train_steps"], config["train_epochs"]) == (12, 100)
    assert json.loads((folder / "results.json").read_text())["step"] == 12
    assert [step for step, _ in list_checkpoints(folder)] == [12, 8, 4]


def test_keep_hub_module_max_drops_the_oldest_exports(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    exports = folder / "saved_model"
    for step in (3, 10):  # 10 is newer than 3, which no order of words says
        shutil.copytree(exports / "12", exports / str(step))
    workflows.run(
        tiny_config(
            mode="export",
            model_dir=str(folder),
            export_formats=("saved_model",),
            keep_hub_module_max=2,
        )
    )
    assert sorted(int(p.name) for p in exports.iterdir()) == [10, 12]


# Batch norm over replicas.


def on_two_replicas(strategy, global_bn):
    """Each replica's projections of its half of IMAGES, and the moving statistics."""
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = build(num_replicas=2, global_bn=global_bn)

    @tf.function
    def step():
        def replica():
            i = tf.distribute.get_replica_context().replica_id_in_sync_group
            return model(tf.constant(IMAGES)[3 * i : 3 * i + 3], training=True)

        return strategy.run(replica)["projection"]

    found = np.concatenate(strategy.experimental_local_results(step()))
    return found, {v.path: v.numpy() for v in model.non_trainable_variables}


def on_one(*parts):
    """The same with each part normalised by itself; statistics are the mean."""
    outputs, statistics = [], []
    for part in parts:
        keras.utils.set_random_seed(1)
        model = build()
        outputs.append(model(part, training=True)["projection"].numpy())
        statistics.append({v.path: v.numpy() for v in model.non_trainable_variables})
    means = {k: np.mean([s[k] for s in statistics], axis=0) for k in statistics[0]}
    return np.concatenate(outputs), means


@pytest.mark.usefixtures("short_network")
@pytest.mark.parametrize("global_bn", [True, False])
def test_global_bn_decides_whose_statistics_normalise(two_replicas, global_bn):
    """Those of the joined batch, or of each half its own."""
    found, _ = on_two_replicas(two_replicas, global_bn)
    joined, halves = on_one(IMAGES)[0], on_one(IMAGES[:3], IMAGES[3:])[0]
    assert abs(joined - halves).max() > 0.1
    want = joined if global_bn else halves
    np.testing.assert_allclose(found, want, rtol=1e-2, atol=1e-3)


@pytest.mark.usefixtures("short_network")
def test_without_global_bn_the_moving_statistics_are_the_mean_over_replicas(
    two_replicas,
):
    """As in the reference code, whose Keras averages them when they are read."""
    _, found = on_two_replicas(two_replicas, False)
    _, means = on_one(IMAGES[:3], IMAGES[3:])
    for path, value in found.items():
        np.testing.assert_allclose(value, means[path], rtol=1e-3, atol=1e-4)


# Heads and loss.


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["none", "linear"])
def test_every_projection_head_trains_and_is_exported(data_dir, tmp_path, mode):
    folder = tmp_path / "run"
    settings = {"train_steps": 1, "export_formats": "saved_model"}
    run(folder, data_dir, proj_head_mode=mode, **settings)
    values = weights(f"{folder}/ckpt-1")
    kernels = [n for n in values if n.startswith("proj") and n.endswith("kernel")]
    assert len(kernels) == {"none": 0, "linear": 1}[mode]
    images = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    module = tf.saved_model.load(str(folder / "saved_model" / "1"))
    found = module(images, trainable=False)
    h, z = found["proj_head_input"].numpy(), found["proj_head_output"].numpy()
    if mode == "none":
        np.testing.assert_array_equal(z, h)
    else:
        assert z.shape == (3, 16) and h.shape == (3, 64)
        # one dense layer and a batch norm without shift
        np.testing.assert_allclose(z, affine(h, values), rtol=1e-3, atol=1e-4)


def affine(h, values):
    named = {
        name.split("/")[-1]: value
        for name, value in values.items()
        if name.startswith("projection_head")
    }
    x = h @ named["kernel"] - named["moving_mean"]
    return x / np.sqrt(named["moving_variance"] + 1e-5) * named["gamma"]


def test_without_hidden_norm_the_length_of_a_projection_counts():
    z = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    loss = {
        norm: losses.build_loss(LossConfig(hidden_norm=norm, temperature=0.5))
        for norm in (True, False)
    }
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    np.testing.assert_allclose(loss[True](3 * z)[0], loss[True](z)[0], rtol=1e-5)
    np.testing.assert_allclose(loss[False](unit)[0], loss[True](z)[0], rtol=1e-5)
    logits = (z.astype(np.float64) @ z.T) / 0.5
    np.fill_diagonal(logits, -np.inf)
    picked = logits[np.arange(6), (np.arange(6) + 3) % 6]
    rows = np.log(np.exp(logits).sum(axis=1)) - picked
    np.testing.assert_allclose(loss[False](z)[0], rows.mean(), rtol=1e-5)


# Fine-tuning.


def test_zero_initialised_logits_start_at_chance(data_dir, tmp_path):
    """The first loss is ln(classes) exactly; and --eval_steps limits what is scored."""
    results, lines = run(
        tmp_path / "run",
        data_dir,
        mode="finetune",
        train_split="train",
        zero_init_logits_layer=True,
        train_steps=1,
        eval_steps=2,
        eval_batch_size=50,
    )
    first = next(line["loss"] for line in lines if "loss" in line)
    assert abs(first - math.log(10)) < 1e-6
    assert abs(build()(IMAGES)["logits"].numpy()).max() > 1e-3  # the default is not 0
    record = results["results"]["Fine-tuned network/supervised"]
    assert record["test_examples"] == 100


@pytest.mark.parametrize("block", range(-1, 5))
@pytest.mark.parametrize("selector", [0, 1])
def test_the_cut_and_the_selector_decide_what_one_step_moves(block, selector):
    keras.utils.set_random_seed(3)
    model = build(ft_proj_selector=selector, proj_head_mode="nonlinear")
    for v in model.trainable_variables:  # zero gammas would stop gradients
        v.assign(v.numpy() + 0.1)
    freeze_up_to_block(model.backbone, block)
    optimizer = keras.optimizers.SGD(0.5)
    step = steps.finetune_step(model, optimizer, model.finetune_trainable_variables)
    before = {v.path: v.numpy() for v in model.variables}
    step({"image": tf.constant(IMAGES), "label": tf.constant([0, 1, 2, 0, 1, 2])})
    moved, kept = set(), set()
    for v in model.variables:
        part = "_".join(v.path.split("/")[0].split("_")[: 4 if "nl" in v.path else 1])
        (kept if np.array_equal(v.numpy(), before[v.path]) else moved).add(part)
    groups = {k: f"group{k}" if k else "stem" for k in range(5)}
    head = {f"projection_head_nl_{k}" for k in range(3)}
    read = {"projection_head_nl_0"} if selector else set()
    assert moved == {groups[k] for k in range(block + 1, 5)} | {"head"} | read
    assert kept == {groups[k] for k in range(block + 1)} | (head - read)


# Results by name.


def test_eval_name_writes_a_file_of_its_own(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    before = (folder / "results.json").read_bytes()
    workflows.run(
        tiny_config(
            mode="eval",
            model_dir=str(folder),
            eval_name="first_100",
            protocols=("knn",),
            baselines=False,
            eval_batch_size=50,
            eval_steps=2,
        )
    )
    document = json.loads((folder / "results_first_100.json").read_text())
    assert document["results"]["SimCLR h/knn"]["test_examples"] == 100
    assert (folder / "results.json").read_bytes() == before


def test_the_exports_have_a_card_with_the_results_of_their_step(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    written = json.loads((folder / "model_card.json").read_text())
    results = json.loads((folder / "results.json").read_text())
    assert set(written["results"]) == set(results["results"]) != set()
    assert written["step"] == results["step"] == 12
    assert written["training_images"] > 0
    names = ("block_group1", "proj_head_output")
    workflows.run(
        tiny_config(
            mode="export",
            model_dir=str(folder),
            export_formats=("keras",),
            export_endpoints=names,
        )
    )
    again = json.loads((folder / "model_card.json").read_text())
    assert list(again["files"]) == ["encoder.keras"]
    assert again["results"] == written["results"]
    encoder = keras.models.load_model(folder / "encoder.keras")
    found = encoder(np.zeros([2, 32, 32, 3], np.float32))
    assert set(found) == set(names) and found["proj_head_output"].shape == (2, 16)
