"""Learning rates of head and backbone, and what random weights reach beside."""

import dataclasses
import json

import numpy as np
import pytest

from simclr_tf2 import workflows
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import finetuning
from simclr_tf2.runs.checkpoints import weights
from simclr_tf2.training import length, precision
from simclr_tf2.training.labelled import training_images
from simclr_tf2.training.splits import open_split
from simclr_tf2.workflows.pretrain import warn_of_no_effect
from tests import command_line
from tests.support.finetuning import FINETUNE, moved
from tests.support.tiny_runs import tiny_config

SETTINGS = {
    "mode": "finetune",
    "train_split": "train",
    "probe_split": "",
    "optimizer": "momentum",
    "learning_rate": 0.5,
    "weight_decay": 0.0,
    "warmup_epochs": 0.0,
    "train_batch_size": 16,
    "train_steps": 1,
    "log_steps": 1,
    "progress": "none",
    "strategy": "one_device",
    "export_formats": (),
    "report": False,
    "eval_steps": 1,
    "eval_batch_size": 16,
}


def finetune(folder, data_dir, finished, **changes):
    settings = {**SETTINGS, "checkpoint": str(finished[0]), **changes}
    config = tiny_config(model_dir=str(folder), data_dir=str(data_dir), **settings)
    workflows.run(config)
    return weights(f"{folder}/ckpt-1")


def test_multipliers_freezing_and_the_selector_work_together(
    finished, data_dir, tmp_path
):
    cut = {"fine_tune_after_block": 3, "ft_proj_selector": 1}
    rates = {"head_lr_multiplier": 3.0, "backbone_lr_multiplier": 0.5}
    before = weights(f"{finished[0]}/ckpt-12")
    plain = finetune(tmp_path / "plain", data_dir, finished, **cut)
    scaled = finetune(tmp_path / "scaled", data_dir, finished, **cut, **rates)
    # Its bias starts at zero: one step of SGD is in proportion to the rate.
    bias = "head_supervised/bias"
    assert abs(plain[bias]).max() > 1e-3
    np.testing.assert_allclose(scaled[bias], 3 * plain[bias], rtol=1e-5)
    below = [
        name
        for name in before
        if name.startswith(("group4", "projection_head_nl_0")) and "moving_" not in name
    ]
    assert len(below) > 8
    for name in below:
        step = plain[name] - before[name]
        np.testing.assert_allclose(
            scaled[name] - before[name], step / 2, rtol=1e-3, atol=1e-6
        )
    assert moved(before, scaled) == moved(before, plain) == {"group4", "projection"}


def test_auto_is_decided_once_and_what_is_scored_computes_in_float32(
    finished, data_dir, tmp_path, monkeypatch
):
    timed, scored = [], []
    classify = finetuning.classify

    def seconds(config, policy, views):
        timed.append(policy)
        return 0.5 if policy else 1.0

    def noted(config, split, model, **settings):
        scored.append({layer.compute_dtype for layer in model.backbone.layers})
        return classify(config, split, model, **settings)

    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "seconds_per_step", seconds)
    monkeypatch.setattr(finetuning, "classify", noted)
    folder = tmp_path / "run"
    settings = {"mixed_precision": "auto", "finetune_baselines": ("random_init",)}
    finetune(folder, data_dir, finished, **settings, monitor_epochs=0.0)
    assert timed == [None, "mixed_bfloat16"]  # not again for the baseline
    assert scored == [{"float32"}, {"float32"}]
    for part in (folder, folder / "baselines/random_init"):
        kept = json.loads((part / "config.json").read_text())
        assert kept["mixed_precision"] == "bfloat16"


@pytest.mark.slow
def test_baselines_stand_beside_by_the_command_line(finished, data_dir, tmp_path):
    folder = tmp_path / "run"
    arguments = [
        *FINETUNE,
        f"--model_dir={folder}",
        f"--data_dir={data_dir}",
        f"--checkpoint={finished[0]}",
        "--fine_tune_after_block=4",
        "--head_lr_multiplier=2",
        "--labels_per_class=6",
        "--finetune_baselines=random_init,supervised",
        "--train_steps=3",
        "--export_formats=",
        "--eval_batch_size=50",
        "--eval_steps=1",
    ]
    done = command_line.run(*arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((folder / "results.json").read_text())["results"]
    rows = ["Fine-tuned network", "Random init, same settings", "Supervised baseline"]
    assert list(results) == [f"{row}/supervised" for row in rows]
    assert all(row in done.stdout for row in rows)
    parts = {
        name: folder / "baselines" / name for name in ("random_init", "supervised")
    }
    drawn = {
        (path / "labelled_subset.json").read_text()
        for path in (folder, *parts.values())
    }
    assert len(drawn) == 1  # the same images
    settings = {
        n: json.loads((p / "config.json").read_text()) for n, p in parts.items()
    }
    same, free = settings["random_init"], settings["supervised"]
    assert same["checkpoint"] is None and free["checkpoint"] is None
    assert (same["train_steps"], free["train_steps"]) == (3, 6)
    assert (same["fine_tune_after_block"], free["fine_tune_after_block"]) == (4, -1)
    assert (same["head_lr_multiplier"], free["head_lr_multiplier"]) == (2, 1)
    tuned, random = (
        weights(f"{folder}/ckpt-3"),
        weights(f"{parts['random_init']}/ckpt-3"),
    )
    assert moved(weights(f"{finished[0]}/ckpt-12"), tuned) == set()  # all is frozen
    assert not np.array_equal(
        *(w["group1_block1_conv_1/kernel"] for w in (tuned, random))
    )
    # A second start finds everything finished.
    (folder / "results.json").unlink()
    again = command_line.run(*arguments)
    assert again.returncode == 0 and again.stderr.count("is finished") == 2
    repeated = json.loads((folder / "results.json").read_text())["results"]
    assert {k: v["value"] for k, v in repeated.items()} == {
        k: v["value"] for k, v in results.items()
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"finetune_baselines": ("random_init",)}, "pass one, or drop the baselines"),
        ({"finetune_baselines": ("linear",)}, "random_init, supervised"),
        ({"head_lr_multiplier": 0.0}, "--head_lr_multiplier must be greater than 0"),
        ({"backbone_lr_multiplier": -1.0}, "--backbone_lr_multiplier"),
    ],
)
def test_what_cannot_be_is_said_before_training(data_dir, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        settings = {**SETTINGS, **changes, "data_dir": str(data_dir)}
        workflows.run(tiny_config(model_dir=str(tmp_path / "run"), **settings))
    assert not (tmp_path / "run").exists()


def test_a_share_of_the_labels_counts_as_all_steps_of_its_run(data_dir):
    """So that --mode=eval knows when such a run is at its end."""
    settings = {
        **SETTINGS,
        "train_steps": 0,
        "train_epochs": 2.0,
        "data_dir": str(data_dir),
    }
    config = tiny_config(label_fraction=0.1, model_dir="run", **settings)
    split = open_split(config.data, config.evaluation, "train")
    assert split.num_examples == 500
    assert (
        length.steps_of(config.training, config.data, training_images(config, split))
        == 2 * 50 // 16 + 1
    )
    pretraining = dataclasses.replace(config, mode="pretrain")
    assert training_images(pretraining, split) is split


NO_EFFECT = "has no effect in --mode=pretrain"


def test_pretraining_names_each_flag_that_it_does_not_read(tmp_path):
    (tmp_path / "file").touch()
    code, stderr = command_line.main(
        f"--model_dir={tmp_path / 'file' / 'run'}",
        "--mode=pretrain",
        "--best_metric=knn",
        "--head_lr_multiplier=2",
        "--backbone_lr_multiplier=0.5",
        "--finetune_baselines=random_init",
    )
    assert code == 2 and "is not a folder" in stderr
    names = (
        "best_metric",
        "head_lr_multiplier",
        "backbone_lr_multiplier",
        "finetune_baselines",
    )
    assert stderr.count(NO_EFFECT) == len(names)
    assert all(f"--{name} {NO_EFFECT}" in stderr for name in names)


def test_fine_tuning_names_the_flags_of_pretraining_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    code, stderr = command_line.main(
        f"--model_dir={tmp_path / 'file' / 'run'}",
        "--mode=finetune",
        "--valid_size=0.1",
        "--temperature=0.5",
        "--protocols=knn",
        "--learning_rate=0.1",
    )
    assert code == 2
    assert stderr.splitlines()[:2] == [
        "note: no effect in --mode=finetune: --valid_size, --temperature",
        "note: kept for --mode=eval of the run, not measured in fine-tuning: "
        "--protocols",
    ]


def test_labels_are_chosen_in_pretraining_for_semi_alone(caplog):
    config = tiny_config(labels_per_class=5)
    warn_of_no_effect(config)
    assert f"--labels_per_class {NO_EFFECT}" in caplog.text
    caplog.clear()
    warn_of_no_effect(tiny_config(labels_per_class=5, protocols=("semi",)))
    assert not caplog.text


def test_baselines_are_read_beside_fine_tuning_on_few_labels(caplog):
    changes = {"finetune_baselines": ("random_init",), "protocols": ("knn", "semi")}
    with pytest.raises(ConfigError, match="--model_dir is required"):
        workflows.run(tiny_config(**changes, head_lr_multiplier=2.0))
    told = [line for line in caplog.messages if NO_EFFECT in line]
    assert told == [f"--head_lr_multiplier {NO_EFFECT}"]
