"""The command lines of the reference's READMEs run, chained as its users chain them.

Only folders, size (batch, epochs, network, pixels) and TPU flags are changed; the data
are noise under the real names. Arguments that only the reference's TensorFlow 1 program
reads stay in.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.runs.checkpoints import weights
from tests import command_line
from tests.support.reference_commands import COMMANDS, arguments
from tests.workflows import stand_ins

pytestmark = pytest.mark.slow
TRAIN, TEST, BATCH = 48, 15, 16
SMALL = {
    "train_batch_size": BATCH,
    "train_epochs": 1,
    "resnet_depth": 10,
    "width_multiplier": 0.125,
    "use_tpu": False,
}
STEPS = TRAIN // BATCH + 1  # the reference's examples * epochs // batch + 1


def run(name, folder, *, checkpoint=None, **changes):
    """Run a README command; its last checkpoint's weights and results.json."""
    command = {**COMMANDS[name], **SMALL, **changes}
    command.pop("tpu_name", None)
    command |= {"model_dir": folder / name, "data_dir": folder / "data"}
    assert ("checkpoint" in command) == (checkpoint is not None)
    if checkpoint is not None:
        command["checkpoint"] = folder / checkpoint
    done = command_line.run(*arguments(command, leftovers=True))
    assert done.returncode == 0, done.stderr[-3000:]
    for left in ("train_summary_steps", "variable_schema"):
        told = f"note: --{left} has no effect" in done.stderr
        assert told == (left in command)
    document = json.loads((folder / name / "results.json").read_text())
    assert document["finished"] and document["step"] == STEPS
    assert (folder / name / "encoder.keras").exists()
    return weights(f"{folder / name}/ckpt-{STEPS}"), document["results"]


def check_pretrained(pretrained, results):
    assert all(np.isfinite(value).all() for value in pretrained.values())
    assert results["SimCLR h/logreg"]["test_examples"] == TEST
    assert "head_supervised/kernel" in pretrained  # trained beside, as there


def check_linear(pretrained, linear, results, *, classes):
    """Everything below the classifier is the checkpoint's, bit for bit."""
    assert set(linear) == set(pretrained)
    assert sum("moving_" in name for name in linear) > 20
    changed = {n for n in linear if not np.array_equal(linear[n], pretrained[n])}
    assert changed == {"head_supervised/kernel", "head_supervised/bias"}
    assert linear["head_supervised/kernel"].shape[1] == classes
    check_classifier(linear, results)


def check_classifier(values, results):
    """It has learned from zero, and was scored on every image."""
    assert values["head_supervised/kernel"].any()
    record = results["Fine-tuned network/supervised"]
    assert record["test_examples"] == TEST
    assert 0 <= record["value"] <= record["top5"] <= 1


def check_finetuned(pretrained, tuned, results, exported):
    """All of the network below the classifier's place moved, the rest did not."""
    assert set(tuned) == set(pretrained)
    above = ("projection_head_nl_1", "projection_head_nl_2")
    same = {n for n in tuned if np.array_equal(tuned[n], pretrained[n])}
    assert same == {n for n in tuned if n.startswith(above)}
    assert sum("moving_" in name for name in set(tuned) - same) > 20
    check_classifier(tuned, results)
    check_reads_layer_1(tuned, exported)


def check_reads_layer_1(values, exported):
    """Logits of the export, by hand from h and the first layer of the head."""
    images = np.random.default_rng(0).random((3, 40, 40, 3), np.float32)
    found = tf.saved_model.load(str(exported))(images, trainable=False)
    layer = "projection_head_nl_0_"
    x = found["proj_head_input"].numpy() @ values[f"{layer}dense/kernel"]
    norm = {
        key: values[f"{layer}batch_normalization/{key}"]
        for key in ("moving_mean", "moving_variance", "gamma", "beta")
    }
    x = (x - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 1e-5)
    x = np.maximum(x * norm["gamma"] + norm["beta"], 0)
    logits = x @ values["head_supervised/kernel"] + values["head_supervised/bias"]
    assert abs(logits).max() > 1e-3
    np.testing.assert_allclose(found["logits_sup"], logits, rtol=1e-3, atol=1e-5)


def test_cifar10_pretraining_and_linear_evaluation(tmp_path):
    stand_ins.prepare("cifar10", tmp_path / "data", {"train": TRAIN, "test": TEST})
    pretrained, results = run("pretrain_cifar10", tmp_path)
    check_pretrained(pretrained, results)
    linear, results = run("linear_cifar10", tmp_path, checkpoint="pretrain_cifar10")
    check_linear(pretrained, linear, results, classes=10)


def test_imagenet_pretraining_linear_evaluation_and_one_percent(tmp_path):
    sizes = {"train": TRAIN, "validation": TEST}
    for name in ("imagenet2012", "imagenet2012_subset/1pct"):
        stand_ins.prepare(name, tmp_path / "data", sizes)
    pretrained, results = run("pretrain_imagenet", tmp_path, image_size=40)
    check_pretrained(pretrained, results)
    source = {"checkpoint": "pretrain_imagenet", "image_size": 40}
    linear, results = run("linear_imagenet", tmp_path, **source)
    check_linear(pretrained, linear, results, classes=1000)
    tuned, results = run("finetune_1pct", tmp_path, **source)
    exported = tmp_path / "finetune_1pct" / "saved_model" / str(STEPS)
    check_finetuned(pretrained, tuned, results, exported)
