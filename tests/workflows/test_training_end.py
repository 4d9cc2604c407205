"""How a fine-tuning ended: its loss beside chance, in the log, record and table."""

import json
import math
import shutil

import numpy as np
import pytest

from simclr_tf2.models import SimCLR
from simclr_tf2.workflows import classifier_run, training_end
from tests import command_line
from tests.workflows.test_finetune import FINETUNE
from tests.workflows.test_variants import run


def record_of(folder, name="results.json"):
    document = json.loads((folder / name).read_text())
    return document["results"]["Fine-tuned network/supervised"]


def write(folder, *lines):
    text = "".join(json.dumps(dict(line)) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)


def test_the_last_loss_is_the_mean_of_the_last_tenth_of_the_steps():
    logged = [(40, 9.0), (80, 5.0), (93, 3.0), (99, 2.0), (100, 1.0)]
    lines = [{"step": step, "loss": loss} for step, loss in logged]
    lines.insert(3, {"step": 93, "eval_top1": 0.5})
    found = training_end.last_loss(lines, step=100)
    assert found == pytest.approx((13 * 3 + 6 * 2 + 1) / 20)  # steps 81 to 100
    assert training_end.last_loss(lines, step=80) == 5  # as it was then
    assert training_end.last_loss(lines, step=101) is None
    assert training_end.last_loss(lines[:1], step=40) == 9
    assert training_end.last_loss([], step=1) is None


@pytest.mark.parametrize(
    ("loss", "bad"),
    [(math.log(7) - 0.01, False), (math.log(7) + 1e-6, True), (1e30, True)],
)
def test_chance_is_the_logarithm_of_the_classes(tmp_path, caplog, loss, bad):
    assert training_end.facts(tmp_path, step=5, classes=7) == {}
    write(tmp_path, {"step": 5, "loss": loss})
    found = training_end.facts(tmp_path, step=5, classes=7)
    assert found["no_better_than_chance"] is bad
    assert found["train_loss"] == pytest.approx(loss)
    assert found["chance_loss"] == pytest.approx(math.log(7))
    training_end.warn("the row", found)
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
    seen = []
    score = classifier_run.classify

    def classify(config, split, model: SimCLR, **settings):
        layers = model.backbone._flatten_layers(include_self=False)
        seen.append(({x.compute_dtype for x in layers}, model.get_weights()))
        return score(config, split, model, **settings)

    monkeypatch.setattr(classifier_run, "classify", classify)
    results, lines = run(
        tmp_path / "run",
        data_dir,
        mode="finetune",
        train_split="train",
        mixed_precision="bfloat16",
        monitor_epochs=0.01,  # every step
    )
    found = [line["eval_top1"] for line in lines if "eval_top1" in line]
    assert len(found) == len(seen) - 1 >= 2  # and the results
    assert all(dtypes == {"float32"} for dtypes, _ in seen)
    assert found[-1] == results["results"]["Fine-tuned network/supervised"]["value"]
    kernels = [weights[0] for _, weights in seen]
    assert not np.array_equal(kernels[0], kernels[-2])
    for last, final in zip(seen[-2][1], seen[-1][1], strict=True):
        np.testing.assert_array_equal(last, final)
