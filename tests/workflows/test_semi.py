"""Fine-tuning on few labels as a protocol: which images, recipe and weights."""

import dataclasses
import json
import logging

import keras
import numpy as np
import pytest

from simclr_tf2 import config as config_lib
from simclr_tf2 import distribution, models
from simclr_tf2.errors import ConfigError, NotFinite
from simclr_tf2.evaluation import semi_supervised
from simclr_tf2.evaluation.inputs import open_splits
from simclr_tf2.results.semi_table import render_semi
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs.checkpoints import weights
from simclr_tf2.training import supervised
from tests import command_line
from tests.workflows import stand_ins


def strategy_of(config):
    return distribution.local_strategy(config.distribution)


def config_for(folder, **changes):
    settings = {
        "mode": "pretrain",
        "model_dir": str(folder / "run"),
        "data_dir": str(folder / "data"),
        "image_size": 16,
        "resnet_depth": 10,
        "width_multiplier": 0.0625,
        "stem": "stride2",
        "protocols": ("semi",),
        "train_batch_size": 8,
        "eval_batch_size": 8,
        "semi_epochs": 1.0,
        "strategy": "one_device",
        "progress": "none",
    }
    return config_lib.from_flat(settings | changes)


def tiny_set(folder, data_dir, **changes):
    settings = {
        "dataset": "simclr_shapes/tiny",
        "data_dir": str(data_dir),
        "eval_split": "test",
    }
    return config_for(folder, **settings | changes)


def network(config):
    keras.utils.set_random_seed(3)
    size = config.data.image_size
    return models.build_simclr(config.model, image_size=size, export=True)


def read(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.mark.slow
def test_imagenet_is_measured_on_the_subsets_of_the_paper(tmp_path, caplog):
    sizes = {"imagenet2012": 48, "imagenet2012_subset/1pct": 20}
    for name, count in sizes.items():
        stand_ins.prepare(name, tmp_path / "data", {"train": count, "validation": 5})
    config = config_for(tmp_path)
    model = network(config)
    before = {v.path: v.numpy() for v in model.variables}
    open_splits(config)  # is not refused for its few images
    with caplog.at_level(logging.WARNING):
        found = semi_supervised.measure_semi(config, model, strategy_of(config))
    # 10 % is not there: it would be drawn, and 48 images have not 1000 classes.
    assert "imagenet2012_subset/10pct is not there" in caplog.text
    assert "fewer than one" in found["10 % of the labels"]["not_measured"]
    stand_ins.prepare(
        "imagenet2012_subset/10pct", tmp_path / "data", {"train": 33, "validation": 5}
    )
    found = semi_supervised.measure_semi(config, model, strategy_of(config))
    one, ten = (found[f"{n} % of the labels"] for n in (1, 10))
    assert (one["labels"], ten["labels"]) == (20, 33)
    assert one["dataset"] == "imagenet2012_subset/1pct"
    assert ten["dataset"] == "imagenet2012_subset/10pct"
    assert one["test_examples"] == ten["test_examples"] == 5 and "top5" in one
    assert one["global_batch_size"] == 16  # two views of 8 in pretraining
    for variable in model.variables:
        np.testing.assert_array_equal(variable.numpy(), before[variable.path])
    json.dumps(found)


@pytest.mark.parametrize(("given", "shares"), [(["label_fraction"], 1), ([], 2)])
def test_all_labels_are_a_share_if_the_command_line_says_so(
    finished, monkeypatch, given, shares
):
    config = dataclasses.replace(
        run_folder.read_config(finished[0]),
        model_dir=str(finished[0]),
        given=frozenset(given),
    )
    measured = []
    monkeypatch.setattr(
        semi_supervised,
        "_measure",
        lambda config, model, share, *_: measured.append(share) or {},
    )
    monkeypatch.setattr(semi_supervised.semi_recipe, "too_small", lambda *_, **__: "")
    monkeypatch.setattr(semi_supervised, "_without_batch", lambda *_: None)
    semi_supervised.measure_semi(config, None, strategy_of(config))
    assert len(measured) == shares
    assert shares > 1 or measured[0].title == "100 % of the labels"


@pytest.mark.slow
def test_by_the_command_line_with_a_baseline_beside(finished):
    folder = finished[0]
    arguments = [
        "--mode=eval",
        f"--model_dir={folder}",
        "--protocols=semi",
        "--semi_epochs=2",
        "--finetune_baselines=random_init",
        "--eval_name=semi",
    ]
    done = command_line.run(*arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((folder / "results_semi.json").read_text())["semi"]
    ten, random = "10 % of the labels", "10 % of the labels: Random init, same settings"
    assert list(found) == ["1 % of the labels", ten, random]
    assert "fewer than one for each" in found["1 % of the labels"]["not_measured"]
    record = found[ten]
    assert record["labels"] == 50 and record["global_batch_size"] == 32
    assert record["test_examples"] == 500 and record["epochs"] == 2
    assert record["value"] <= record["top5"] <= 1 and len(record["weights"]) == 32
    for row in (record, found[random]):  # too short to learn: marked or not by its loss
        bad = row["train_loss"] >= row["chance_loss"] == pytest.approx(np.log(10))
        assert row["no_better_than_chance"] is bool(bad)
    (row,) = (r for r in done.stdout.splitlines() if r.startswith(f"{ten}  "))
    mark = "!" if record["no_better_than_chance"] else ""
    assert f"{100 * record['value']:.1f}{mark} [" in row
    assert found[random]["folder"] == f"{record['folder']}/baselines/random_init"
    assert "weights" not in found[random]
    # The recipe of the paper, from this run's weights.
    (place,) = (folder / "semi").glob("*/10_percent_of_the_labels/2_epochs-batch_32-*")
    settings = read(place)
    assert settings["optimizer"] == "momentum" and settings["learning_rate"] == 0.05
    assert settings["weight_decay"] == settings["warmup_epochs"] == 0
    assert settings["label_fraction"] == 0.1 and settings["checkpoint"] is None
    last = weights(f"{place}/ckpt-4")  # 2 x 50 images in batches of 32, + 1
    start = weights(f"{folder}/ckpt-12")
    apart = weights(f"{place}/baselines/random_init/ckpt-4")
    kernel = next(n for n in start if n.startswith("group4") and n.endswith("kernel"))
    near = np.abs(last[kernel] - start[kernel]).max()
    assert 0 < near < 0.1 * np.abs(apart[kernel] - start[kernel]).max()
    again = command_line.run(*arguments)
    assert again.returncode == 0 and again.stderr.count("is finished") == 2
    repeated = json.loads((folder / "results_semi.json").read_text())["semi"]
    assert repeated == found


@pytest.mark.slow
@pytest.mark.usefixtures("short_network")
def test_each_recipe_has_its_folder_and_a_finished_one_is_used_again(
    data_dir, tmp_path, monkeypatch
):
    train, trained = supervised._train, []

    def noted(opened, look):
        config = opened.config
        trained.append((config.data.train_split, config.training.train_epochs))
        return train(opened, look)

    monkeypatch.setattr(supervised, "_train", noted)
    settings = {"labels_per_class": 2, "semi_batch_size": 9, "eval_steps": 1}
    model = network(tiny_set(tmp_path, data_dir, **settings))

    def measure(**changes):
        config = tiny_set(tmp_path, data_dir, **settings | changes)
        (record,) = semi_supervised.measure_semi(
            config, model, strategy_of(config)
        ).values()
        return record

    first = measure()
    other = measure(semi_epochs=2.0)
    part = measure(probe_split="train[:50%]")
    assert trained == [("train", 1), ("train", 2), ("train[:50%]", 1)]
    folders = {record["folder"] for record in (first, other, part)}
    assert len(folders) == 3 and other["epochs"] == 2
    assert measure(semi_epochs=2.0) == other
    # The same folder by its other name, and other devices that hold as much.
    monkeypatch.chdir(tmp_path)
    again = measure(model_dir="run", num_virtual_devices=1)
    assert again["value"] == first["value"] and len(trained) == 3
    assert (tmp_path / again["folder"]).samefile(first["folder"])


def test_a_loss_that_is_not_finite_takes_no_other_result_with_it(
    data_dir, tmp_path, monkeypatch, caplog
):
    def overflows(*_, **__):
        raise NotFinite("loss not finite at or before step 3")

    monkeypatch.setattr(semi_supervised.finetuning, "train_beside", overflows)
    config = tiny_set(tmp_path, data_dir, label_fraction=0.1)
    (found,) = semi_supervised.measure_semi(
        config, network(config), strategy_of(config)
    ).items()
    title, record = found
    assert record["value"] is None and record["labels"] == 50
    assert "smaller --semi_batch_size" in record["not_measured"]
    assert caplog.text.count("not finite") == 1
    assert f"{title} not measured: loss not finite" in render_semi({title: record})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_fraction": 0.01}, "--labels_per_class=1"),
        ({"probe_split": "unlabeled"}, "need labels"),
    ],
)
def test_what_cannot_be_shared_out_stops_before_pretraining(
    data_dir, tmp_path, changes, message
):
    with pytest.raises(ConfigError, match=message) as error:
        open_splits(tiny_set(tmp_path, data_dir, **changes))
    assert "\n" not in str(error.value)


def test_more_labels_than_a_class_has_are_refused_by_the_command_line(finished):
    code, stderr = command_line.main(
        "--mode=eval",
        f"--model_dir={finished[0]}",
        "--protocols=semi",
        "--labels_per_class=51",
        "--eval_name=bad",
    )
    last = stderr.strip().splitlines()[-1]
    assert code == 2 and "has 50 labelled image(s), fewer than the 51" in last


def test_a_batch_is_no_larger_than_what_pretraining_held_at_once(tmp_path):
    held = semi_supervised._held_at_once
    assert held(config_for(tmp_path), 2) == 16  # both views of 8 images
    assert held(config_for(tmp_path, num_views=3), 2) == 24
    assert held(config_for(tmp_path, micro_batch_size=2), 2) == 8  # in parts of 2
