"""How a fine-tuning ended: its loss beside chance, in the log, record and table."""

import importlib
import json
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.data import datasets, overlap, pipeline, sampling, subset
from simclr_tf2.evaluation import finetuning
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.models import SimCLR, build_simclr, export_copy
from simclr_tf2.training import chance
from tests import command_line
from tests.support.finetuning import FINETUNE
from tests.support.tiny_runs import run, tiny_config

finetune = importlib.import_module("simclr_tf2.workflows.finetune")


def record_of(folder, name="results.json"):
    document = json.loads((folder / name).read_text())
    return document["results"]["Fine-tuned network/supervised"]


def write(folder, *lines):
    text = "".join(json.dumps(dict(line)) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)


def test_the_last_loss_is_the_mean_of_the_last_tenth_of_the_steps():
    logged = [(40, 9.0), (80, 5.0), (93, 3.0), (99, 2.0), (100, 1.0)]
    lines = [{"step": step, "loss": loss} for step, loss in logged]
    lines.insert(3, {"step": 93, "validation_top1": 0.5})
    found = chance.last_loss(lines, step=100)
    assert found == pytest.approx((13 * 3 + 6 * 2 + 1) / 20)  # steps 81 to 100
    assert chance.last_loss(lines, step=80) == 5  # as it was then
    assert chance.last_loss(lines, step=101) is None
    assert chance.last_loss(lines[:1], step=40) == 9
    assert chance.last_loss([], step=1) is None


@pytest.mark.parametrize(
    ("loss", "bad"),
    [(math.log(7) - 0.01, False), (math.log(7) + 1e-6, True), (1e30, True)],
)
def test_chance_is_the_logarithm_of_the_classes(tmp_path, caplog, loss, bad):
    assert chance.facts(tmp_path, step=5, classes=7) == {}
    write(tmp_path, {"step": 5, "loss": loss})
    found = chance.facts(tmp_path, step=5, classes=7)
    assert found["no_better_than_chance"] is bad
    assert found["train_loss"] == pytest.approx(loss)
    assert found["chance_loss"] == pytest.approx(math.log(7))
    chance.warn("the row", found)
    assert len(caplog.records) == bad
    assert ("--learning_rate" in caplog.text) is bad


@pytest.fixture(scope="module")
def diverged(finished, data_dir, tmp_path_factory):
    """(folder, completed process) of a fine-tuning at an absurd learning rate."""
    folder = tmp_path_factory.mktemp("ends") / "diverged"
    done = command_line.run(
        *FINETUNE,
        "--learning_rate=30",
        "--train_steps=20",
        "--export_formats=",
        f"--model_dir={folder}",
        f"--data_dir={data_dir}",
        f"--checkpoint={finished[0]}",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done


def test_divergence_is_one_warning_a_fact_of_the_record_and_a_mark(diverged):
    folder, done = diverged
    record = record_of(folder)
    assert record["no_better_than_chance"] is True
    assert record["train_loss"] > record["chance_loss"] == pytest.approx(math.log(10))
    (warning,) = (r for r in done.stderr.splitlines() if "no better than guess" in r)
    assert "--learning_rate" in warning and "= 2.303" in warning
    assert f"{100 * record['value']:.1f}! [" in done.stdout
    assert "! Fine-tuned network: the training loss ended at" in done.stdout


def test_with_empty_protocols_eval_measures_the_runs_own_classifier(diverged, tmp_path):
    """And says again how its training ended."""
    folder = tmp_path / "run"
    shutil.copytree(diverged[0], folder)
    done = command_line.run(
        "--mode=eval", f"--model_dir={folder}", "--protocols=", "--eval_name=own"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    again, before = record_of(folder, "results_own.json"), record_of(folder)
    for key in ("value", "top5", "test_examples", "train_loss"):
        assert again[key] == before[key]
    assert f"{100 * again['value']:.1f}! [" in done.stdout
    assert done.stderr.count("no better than guess") == 1


def test_looks_while_it_trains_are_in_float32_at_the_weights_of_that_step(
    data_dir, tmp_path, monkeypatch
):
    """On images of train that are held out, and traced once."""
    traced, kept = [], {}
    score = SimCLR.finetune_logits
    make_monitor, open_labelled = (
        finetuning.make_validation_monitor,
        finetune.open_labelled,
    )

    def logits(self, images, training=False):
        if not training and not tf.executing_eagerly():
            layers = self.backbone._flatten_layers(include_self=False)
            traced.append({layer.compute_dtype for layer in layers})
        return score(self, images, training=training)

    def noted_look(config, watched, model, strategy):
        kept.update(watched=watched, model=model, seen=[])
        look = make_monitor(config, watched, model, strategy)

        def note():
            kept["seen"].append(model.get_weights())
            return look()

        return note

    def opened(config):
        kept["labelled"] = open_labelled(config)
        return kept["labelled"]

    monkeypatch.setattr(SimCLR, "finetune_logits", logits)
    monkeypatch.setattr(finetuning, "make_validation_monitor", noted_look)
    monkeypatch.setattr(finetune, "open_labelled", opened)
    _, lines = run(
        tmp_path / "run",
        data_dir,
        mode="finetune",
        train_split="train",
        mixed_precision="bfloat16",
        monitor_epochs=0.01,  # every step
        finetune_validation=0.1,
    )
    found = [line["validation_top1"] for line in lines if "validation_top1" in line]
    assert len(found) == len(kept["seen"]) >= 2
    assert traced[0] == {"float32"} and len(traced) == 2  # of looks, of the result
    assert not np.array_equal(kept["seen"][0][0], kept["seen"][-1][0])
    labelled, watched = kept["labelled"], kept["watched"]
    assert watched is labelled.watched and watched.num_examples == 50
    assert labelled.train.num_examples == 450
    assert overlap.shared_images(labelled.whole, watched) == 50
    assert overlap.shared_images(labelled.train, watched) == 0
    assert (np.bincount(subset.labels_of(watched)) == 5).all()
    # The last look is at the last weights.
    model = export_copy(kept["model"])
    images = pipeline.make_eval_dataset(watched, batch_size=50, image_size=32)
    (element,) = images
    right = np.argmax(model.finetune_logits(element["image"]), 1) == element["label"]
    assert found[-1] == np.mean(right)


def test_a_look_on_two_replicas_is_that_of_one(data_dir, two_replicas, monkeypatch):
    config = tiny_config(mode="finetune", monitor_epochs=1.0, eval_batch_size=30)
    watched = sampling.sample(
        datasets.open_split("simclr_shapes/tiny", "test", data_dir=str(data_dir)), 71
    )
    with two_replicas.scope():
        model = build_simclr(config.model, image_size=32, num_classes=10)
    found = []
    for shared in (two_replicas, None):
        monkeypatch.setattr(extractor, "replicas", lambda config, s=shared: s)
        found.append(
            finetuning.make_validation_monitor(config, watched, model, two_replicas)()
        )
    assert found[0] == found[1] and set(found[0]) == {
        "validation_top1",
        "validation_top5",
    }


def test_without_a_held_out_part_nothing_but_training_is_watched(data_dir, tmp_path):
    _, lines = run(
        tmp_path / "run",
        data_dir,
        mode="finetune",
        train_split="train",
        monitor_epochs=0.01,
        train_steps=1,
    )
    assert not [key for line in lines for key in line if "top1" in key]
