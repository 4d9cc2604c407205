"""Transfer by fine-tuning: on folders, on VOC's form, and by the command line."""

import dataclasses
import json
import logging

import keras
import numpy as np
import pytest

from simclr_tf2 import models
from simclr_tf2.config import (
    Config,
    DataConfig,
    DistributionConfig,
    EvaluationConfig,
    ModelConfig,
)
from simclr_tf2.data import pipeline
from simclr_tf2.data.transfer_splits import open_all
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.evaluation.inputs import open_splits
from simclr_tf2.evaluation.transfer import finetune
from simclr_tf2.evaluation.transfer.grid import Trial
from simclr_tf2.evaluation.transfer.network import TransferNetwork, batch_norm_momentum
from simclr_tf2.evaluation.transfer.protocol import measure_transfer, transfer
from simclr_tf2.results.transfer_table import render
from tests import command_line
from tests.support.drawn import in_class_colours
from tests.support.subjects import conditions_of
from tests.support.tiny_runs import tiny_config
from tests.workflows import stand_ins

pytestmark = pytest.mark.usefixtures("short_networks")
SIDE = 16
MODEL = ModelConfig(resnet_depth=10, width_multiplier=0.125, stem="stride2")


def config_for(folder, **changes):
    evaluation = {"transfer_steps": 4, "transfer_batch_size": 8, "transfer_grid": "1x1"}
    return Config(
        data=DataConfig(data_dir=str(folder), image_size=SIDE),
        model=MODEL,
        evaluation=EvaluationConfig(eval_batch_size=13, **evaluation | changes),
        distribution=DistributionConfig(strategy="one_device"),
        seed=7,
    )


@pytest.fixture(scope="module")
def encoder(short_networks):
    keras.utils.set_random_seed(5)
    model = models.build_simclr(MODEL, image_size=SIDE, export=True)
    return models.build_encoder(model.backbone)


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Two classes of one colour each, with three splits."""
    sizes = {"train": 12, "validation": 5, "test": 7}
    layout = {f"{s}/{c}": n for s, n in sizes.items() for c in ("a", "q")}
    return in_class_colours(
        tmp_path_factory.mktemp("colours") / "set", layout, size=(20, 20)
    )


def measure(config, encoder, folder, **settings):
    return transfer(
        conditions_of(config),
        encoder,
        names=["mine"],
        folders={"mine": folder},
        **settings,
    )["mine"]


def test_batch_norm_momentum_is_that_of_the_paper():
    assert batch_norm_momentum(50_000, 256) == pytest.approx(1 - 10 * 256 / 50_000)
    assert batch_norm_momentum(1_020, 256) == 0.9
    assert batch_norm_momentum(25_600, 256) == 0.9


@pytest.mark.slow
def test_one_pair_is_chosen_on_validation_and_trained_on_both(
    tmp_path, colours, encoder, monkeypatch
):
    """The splits that each training and each prediction sees, and what is kept."""
    seen = []
    train = TransferNetwork.train_and_predict

    def noted(network, pair, fit, split):
        seen.append((fit.split, pair.learning_rate, split.split))
        return train(network, pair, fit, split)

    monkeypatch.setattr(TransferNetwork, "train_and_predict", noted)
    config = config_for(tmp_path, transfer_grid="2x1")
    before = [w.numpy().copy() for w in encoder.weights]
    found = measure(config, encoder, colours, method="finetune", keep=tmp_path)
    chosen = found["learning_rate"]
    assert seen == [
        ("train", pytest.approx(1e-4), "validation"),
        ("train", pytest.approx(1e-1), "validation"),
        ("train+validation", chosen, "test"),
    ]
    assert found["learning_rate_at_edge"] and found["measure"] == "top1"
    scores = {t["learning_rate"]: t["score"] for t in found["trials"]}
    assert scores[chosen] == max(scores.values()) == found["validation_score"]
    sizes = ("train_only_examples", "validation_examples", "test_examples")
    assert [found[key] for key in sizes] == [24, 10, 14]
    assert found["train_examples"] == 34 and found["steps"] == 4
    assert found["global_batch_size"] == 8 and found["batch_norm_momentum"] == 0.9
    assert found["ci95"][0] < found["value"] <= found["ci95"][1] + 1e-9
    for weight, old in zip(encoder.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)
    json.dumps(found)
    # Again: no trial is repeated, the value is the same.
    seen.clear()
    again = measure(config, encoder, colours, method="finetune", keep=tmp_path)
    assert [row[2] for row in seen] == ["test"] and again["value"] == found["value"]
    # Other weights: the trials are others, and here there are none.
    encoder.weights[0].assign_add(0.1 * np.ones(encoder.weights[0].shape))
    monkeypatch.setattr(TransferNetwork, "train_and_predict", lambda *_: None)
    with pytest.raises(ConfigError, match="none of the 2 pairs"):
        measure(config, encoder, colours, method="finetune", keep=tmp_path)
    encoder.weights[0].assign(before[0])


@pytest.mark.slow
def test_from_random_weights_the_encoder_plays_no_part(tmp_path, colours, encoder):
    config, settings = config_for(tmp_path), {"method": "random_init", "keep": tmp_path}
    first = measure(config, encoder, colours, **settings)
    old = encoder.weights[0].numpy()
    encoder.weights[0].assign(old + 1)
    second = measure(config, encoder, colours, **settings)
    encoder.weights[0].assign(old)
    assert first["steps"] == 8 and first["weights"] is None  # twice 4
    timeless = [{k: v for k, v in r.items() if k != "seconds"} for r in (first, second)]
    assert timeless[0] == timeless[1]


def test_the_network_starts_from_the_encoder(tmp_path, colours, encoder):
    config = config_for(tmp_path, transfer_steps=1)
    opened = open_all(config.data, ["mine"], {"mine": colours})["mine"]
    networks = {
        method: TransferNetwork(
            conditions_of(config), encoder, opened.train, method=method, metric="top1"
        )
        for method in ("finetune", "random_init")
    }
    first = {w.path: w.numpy() for w in encoder.weights}
    for method, network in networks.items():
        found = network.model.backbone.weights
        same = [np.array_equal(w.numpy(), first[w.path]) for w in found]
        assert all(same) == (method == "finetune")
    # Trained again on both splits unless batch or momentum would be another.
    both = opened.read("train+validation")
    assert network.fits(both) and network.batch == 8
    wide = config_for(tmp_path, transfer_batch_size=30)
    network = TransferNetwork(
        conditions_of(wide), encoder, opened.train, method=method, metric="top1"
    )
    assert not network.fits(both) and network.batch == 24


@pytest.mark.slow
def test_a_set_that_diverges_takes_no_other_result_with_it(
    tmp_path, colours, encoder, monkeypatch, caplog
):
    train = TransferNetwork.train_and_predict

    def diverges(network, pair, fit, split):
        good = fit.name == colours
        return train(network, pair, fit, split) if good else None

    layout = {f"{s}/{c}": 5 for s in ("train", "test") for c in ("a", "q")}
    bad = in_class_colours(tmp_path / "other", layout)
    monkeypatch.setattr(TransferNetwork, "train_and_predict", diverges)
    settings = {"transfer_methods": ("finetune",), "transfer_steps": 1}
    both = config_for(
        tmp_path, **settings, transfer_datasets=(f"bad={bad}", f"mine={colours}")
    )
    with caplog.at_level(logging.WARNING):
        results = measure_transfer(conditions_of(both), encoder)
    found = results["transfer_finetune"]
    assert found["mine"]["value"] is not None and found["bad"]["value"] is None
    reason = found["bad"]["not_measured"]
    assert "none of the 1 pairs" in reason
    assert f"bad is not measured (finetune): {reason}" in caplog.text
    # The table says why even where another method measured the set.
    linear = {name: found["mine"] | {"dataset": name} for name in found}
    table = render({"transfer": linear, **results})
    assert f"bad not measured: {reason}" in table
    # One method that measures is enough; none is an error.
    alone = {"transfer_steps": 1, "transfer_datasets": (f"bad={bad}",)}
    config = config_for(tmp_path, **alone, transfer_methods=("linear", "finetune"))
    assert (
        measure_transfer(conditions_of(config), encoder)["transfer"]["bad"]["value"]
        is not None
    )
    with pytest.raises(ConfigError, match="bad: none of the 1 pairs"):
        measure_transfer(
            conditions_of(config_for(tmp_path, **settings | alone)), encoder
        )


def test_only_numbers_that_are_not_finite_are_divergence(
    tmp_path, colours, encoder, monkeypatch
):
    config = config_for(tmp_path, transfer_steps=1)
    opened = open_all(config.data, ["mine"], {"mine": colours})["mine"]
    network = TransferNetwork(
        conditions_of(config), encoder, opened.train, method="finetune", metric="top1"
    )
    arguments = (
        Trial(learning_rate=0.1, weight_decay=0.0),
        opened.train,
        opened.validation,
    )

    def broken(*_, **__):
        raise ConfigError("a.png cannot be read")

    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="a.png"):
        patch.setattr(pipeline, "make_eval_dataset", broken)
        network.train_and_predict(*arguments)

    def too_far(*_, **__):
        bias = network.model.supervised_head.weights[-1]
        bias.assign(np.full(bias.shape, np.nan))
        return True  # the loss before that step was finite

    monkeypatch.setattr(network._training, "run", too_far)
    assert network.train_and_predict(*arguments) is None


def test_logits_are_float32_after_training_in_bfloat16(tmp_path, colours, encoder):
    config = config_for(tmp_path, transfer_steps=1)
    training = dataclasses.replace(config.training, mixed_precision="bfloat16")
    config = dataclasses.replace(config, training=training)
    opened = open_all(config.data, ["mine"], {"mine": colours})["mine"]
    network = TransferNetwork(
        conditions_of(config), encoder, opened.train, method="finetune", metric="top1"
    )
    pair = Trial(learning_rate=0.1, weight_decay=0.0)
    found = network.train_and_predict(pair, opened.train, opened.validation)
    (batch,) = pipeline.make_eval_dataset(
        opened.validation, batch_size=10, image_size=SIDE
    )
    rounded = network.model.finetune_logits(batch["image"]).numpy()
    exact = models.export_copy(network.model).finetune_logits(batch["image"]).numpy()
    np.testing.assert_allclose(found.features, exact, atol=1e-5)
    rounding = abs(rounded - exact).max()
    assert abs(found.features - exact).max() < 0.1 * rounding


@pytest.mark.slow
def test_replicas_share_each_batch_and_change_only_rounding(
    tmp_path, colours, encoder, two_replicas, monkeypatch
):
    def logits(batch, learning_rate=0.1):
        config = config_for(tmp_path, transfer_steps=4, transfer_batch_size=batch)
        opened = open_all(config.data, ["mine"], {"mine": colours})["mine"]
        network = TransferNetwork(
            conditions_of(config),
            encoder,
            opened.train,
            method="finetune",
            metric="top1",
        )
        assert network.batch == 8 and network.fits(opened.train)
        pair = Trial(learning_rate=learning_rate, weight_decay=0.01)
        found = network.train_and_predict(pair, opened.train, opened.test)
        return found.features

    expected, other = logits(8), logits(8, learning_rate=0.11)
    monkeypatch.setattr(extractor, "replicas", lambda config: two_replicas)
    found = logits(9)  # 8 is whole on two
    bound = 0.01 * abs(other - expected).max()
    assert bound > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)
    with pytest.raises(ConfigError, match="1 images a step are fewer than the 2 rep"):
        logits(1)


def test_voc_is_fine_tuned_with_a_sigmoid_for_each_class(
    tmp_path, encoder, monkeypatch
):
    monkeypatch.setattr(stand_ins, "_example", stand_ins.voc_example)
    stand_ins.prepare("voc/2007", tmp_path, {"train": 24, "validation": 15, "test": 18})
    config = config_for(tmp_path, transfer_grid="1x2")
    found = transfer(
        conditions_of(config), encoder, names=["voc2007"], method="finetune"
    )["voc2007"]
    assert found["measure"] == "map11" and found["published"] == 0.866
    assert 0 < found["value"] <= 1 and found["ci95"][0] < found["value"]
    assert len(found["average_precision"]) == 20
    assert found["classes_without_test_positives"] == 17
    assert found["train_examples"] == 39 and len(found["trials"]) == 2
    json.dumps(found)


def test_labels_that_cannot_be_learned_are_refused_before_training(
    tmp_path, colours, encoder, monkeypatch, caplog
):
    def never(*_, **__):
        raise AssertionError("trained")

    monkeypatch.setattr(finetune, "TransferNetwork", never)
    one = in_class_colours(tmp_path / "one", {"train/a": 9, "test/a": 4, "test/z": 2})
    with pytest.raises(ConfigError, match="are of one class") as error:
        measure(config_for(tmp_path), encoder, one, method="finetune")
    assert "\n" not in str(error.value)
    layout = {"train/a": 9, "train/q": 9, "validation/a": 4, "test/a": 4, "test/z": 3}
    lacking = in_class_colours(tmp_path / "lacking", layout)
    with caplog.at_level(logging.WARNING), pytest.raises(AssertionError):
        measure(config_for(tmp_path), encoder, lacking, method="finetune")
    assert "1 class(es) of test have no training image" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transfer_methods": ("svm",)}, "linear, finetune, random_init"),
        (
            {"protocols": ("knn", "transfer"), "transfer_methods": ()},
            "with an empty --transfer_methods; pass one or more of linear, finetune",
        ),
        ({"transfer_steps": 0}, "--transfer_steps must be greater than 0"),
        ({"transfer_batch_size": 0}, "--transfer_batch_size"),
        ({"transfer_grid": "7"}, "LEARNING_RATESxWEIGHT_DECAYS"),
        ({"transfer_grid": "0x3"}, "--transfer_grid"),
        ({"semi_epochs": -1.0}, "--semi_epochs"),
    ],
)
def test_settings_are_checked_at_once(changes, message):
    with pytest.raises(ConfigError, match=message):
        EvaluationConfig(**changes)
    assert EvaluationConfig().transfer_grid_size == (7, 8)
    assert not EvaluationConfig(transfer_methods=()).transfer_methods  # not read
    assert dataclasses.asdict(EvaluationConfig())["transfer_steps"] == 20_000


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar11", "did you mean"),
        ("mine=/no/such", "no folder of that name"),
        ("a=1,a=2", "two folders for a"),
    ],
)
def test_data_sets_are_checked_before_a_run_trains(data_dir, name, message):
    config = tiny_config(
        data_dir=str(data_dir),
        protocols=("transfer",),
        transfer_datasets=tuple(name.split(",")),
    )
    with pytest.raises(ConfigError, match=message):
        open_splits(config)


def test_by_the_command_line_beside_the_linear_row(finished, colours):
    folder = finished[0]
    done = command_line.run(
        "--mode=eval",
        f"--model_dir={folder}",
        "--protocols=transfer",
        "--transfer_methods=linear,finetune",
        f"--transfer_datasets=mine={colours},cars",
        "--transfer_steps=2",
        "--transfer_batch_size=9",
        "--transfer_grid=1x1",
        "--num_virtual_devices=2",
        "--eval_name=tuned",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    document = json.loads((folder / "results_tuned.json").read_text())
    assert document["transfer"]["mine"]["lambda"] > 0
    tuned = document["transfer_finetune"]["mine"]
    assert tuned["test_examples"] == 14 and len(tuned["trials"]) == 1
    assert len(tuned["weights"]) == 32
    assert (tuned["global_batch_size"], tuned["replicas"]) == (8, 2)
    assert "--download" in document["transfer_finetune"]["cars"]["not_measured"]
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("mine"))
    assert f"{100 * tuned['value']:.1f} [" in row
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("Cars  "))
    assert row.split()[-4:] == ["-", "60.0", "-", "92.1"]
    assert (folder / "transfer" / "finetune-mine.json").exists()
