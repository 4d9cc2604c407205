"""Two steps of pretraining under settings that take another path through the code."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import losses
from simclr_tf2.errors import ConfigError
from simclr_tf2.losses import view_pairs
from simclr_tf2.runs import checkpoints
from tests import command_line
from tests.support import loss_loops
from tests.support.tiny_runs import QUICK, run, tiny_config


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "lars", "learning_rate_scaling": "sqrt"},
        {"optimizer": "lamb", "proj_head_mode": "linear"},
        {"optimizer": "adam", "proj_head_mode": "none", "hidden_norm": False},
        {"mixed_precision": "bfloat16", "se_ratio": 0.25},
        {"jit_compile": True},
        {"use_blur": True, "image_size": 40, "stem": "auto", "sk_ratio": 0.0625},
        {"cache_dataset": True, "monitor_epochs": 0.01},
        {"resnet_d": True, "zero_init_residual": False},
        {"num_views": 3, "num_local_views": 2, "local_image_size": 12},
        {"loss": "nt_logistic", "semi_hard": True},
        {"augment_backend": "tf", "use_blur": True, "num_local_views": 1},
        {"augment_backend": "numba", "use_blur": True, "num_local_views": 1},
        {"loss": "margin", "margin": 0.4, "num_local_views": 1},
    ],
    ids=lambda changes: "-".join(map(str, changes)),
)
def test_two_steps_run_and_the_loss_is_that_of_the_projections(
    data_dir, tmp_path, monkeypatch, changes
):
    """By its definition, in float64, from what the network gave in the second step."""
    config = tiny_config(**{**QUICK, **changes, "protocols": (), "export_formats": ()})
    views = config.augmentation.num_views + config.augmentation.num_local_views
    width = 64 if config.model.proj_head_mode == "none" else 16
    seen = tf.Variable(tf.zeros([views * 16, width]))

    def over_view_pairs(loss, *, num_views):
        assert num_views == views
        of_all = view_pairs.over_view_pairs(loss, num_views=num_views)

        def seen_by(projections):
            seen.assign(tf.cast(projections, tf.float32))
            return of_all(projections)

        return seen_by

    monkeypatch.setattr(losses, "over_view_pairs", over_view_pairs)
    _, lines = run(tmp_path / "run", data_dir, **changes)
    found = [line["loss"] for line in lines if "loss" in line]
    assert len(found) == 2 and np.isfinite(found).all()
    expected = loss_loops.loss_of_config(seen.numpy(), config.loss, views=views)
    np.testing.assert_allclose(found[1], expected, rtol=1e-4)


def test_labels_train_a_probe_beside_that_is_scored_at_the_end(data_dir, tmp_path):
    results, lines = run(
        tmp_path / "run", data_dir, train_split="train", protocols="knn"
    )
    assert all("supervised_accuracy" in line for line in lines if "loss" in line)
    record = results["results"]["Online linear head/supervised"]
    assert record["test_examples"] == 500 and 0 <= record["value"] <= record["top5"]
    assert "SimCLR h/knn" in results["results"]


@pytest.mark.parametrize("changes", [{}, {"micro_batch_size": 4}])
def test_views_finished_by_the_device_train_alike(data_dir, tmp_path, changes):
    changes = {**changes, "use_blur": True, "image_size": 40, "learning_rate": 0.1}
    found = [
        run(tmp_path / place, data_dir, augment_on=place, **changes)[1]
        for place in ("host", "device")
    ]
    for one, other in zip(*found, strict=True):
        if "loss" in one:
            np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-3)


@pytest.mark.slow
def test_the_device_finishes_views_in_a_compiled_step_by_flag(data_dir, tmp_path):
    flags = ["--augment_on=device", "--jit_compile", "--use_blur", "--image_size=40"]
    flags += ["--strategy=one_device", "--num_local_views=1", "--train_steps=2"]
    flags += ["--protocols=", "--export_formats=", "--noreport"]
    done = command_line.run(
        *command_line.TINY,
        *flags,
        f"--data_dir={data_dir}",
        f"--model_dir={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "(flip, colours and blur on the device)" in done.stderr


def test_without_lineareval_there_is_no_probe(data_dir, tmp_path):
    results, lines = run(
        tmp_path / "run",
        data_dir,
        train_split="train",
        lineareval_while_pretraining=False,
    )
    assert all("supervised_accuracy" not in line for line in lines)
    assert results["results"] == {}


def test_pretraining_starts_from_the_weights_of_another_run(
    finished, data_dir, tmp_path
):
    """At rate 0 (the first step of a warm-up) nothing but batch norm moves."""
    folder = tmp_path / "run"
    run(
        folder,
        data_dir,
        train_steps=1,
        checkpoint=str(finished[0]),
        warmup_epochs=10.0,
        checkpoint_steps=1,
    )
    first, second = (
        checkpoints.weights(f"{path}/ckpt-{step}")
        for path, step in ((finished[0], 12), (folder, 1))
    )
    kernels = [name for name in first if name.endswith("kernel")]
    assert len(kernels) > 10
    for name in kernels:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.slow
def test_fashion_mnist_pretrains_by_name(tmp_path):
    """Real pixels, from Debian's package, through the command line."""
    if not Path("/usr/share/datasets/fashion-mnist").is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    subprocess.run(
        [sys.executable, "data/prepare_fashion_mnist.py", f"--data_dir={tmp_path}"],
        cwd=command_line.ROOT,
        env=command_line.environment(),
        check=True,
        capture_output=True,
    )
    done = command_line.run(
        "--flagfile=recipes/fashion_mnist.flags",
        f"--data_dir={tmp_path}",
        f"--model_dir={tmp_path / 'run'}",
        "--train_steps=3",
        "--train_batch_size=32",
        "--width_multiplier=0.125",
        "--probe_examples=300",
        "--eval_batch_size=100",
        "--eval_steps=2",
        "--nobaselines",
        "--monitor_epochs=0",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "run" / "results.json").read_text())["results"]
    assert results["SimCLR h/knn"]["test_examples"] == 200
    assert results["SimCLR h/knn"]["num_classes"] == 10


def test_micro_batches_train_as_the_whole_batch_does(data_dir, tmp_path):
    """With frozen batch norm nothing depends on the parts; LARS keeps steps small."""
    settings = {
        "train_split": "train",
        "optimizer": "lars",
        "learning_rate": 0.05,
        "train_steps": 3,
        "micro_batch_norm": "frozen",
    }
    found = []
    for size in (4, 16):
        _, lines = run(
            tmp_path / str(size), data_dir, micro_batch_size=size, **settings
        )
        found.append([line["loss"] for line in lines if "loss" in line])
    np.testing.assert_allclose(*found, rtol=1e-4)


@pytest.mark.parametrize(
    "changes", [{"micro_batch_size": 5}, {"micro_batch_size": 4, "num_local_views": 1}]
)
def test_parts_that_do_not_fit_are_refused(data_dir, tmp_path, changes):
    with pytest.raises(ConfigError, match="--micro_batch_size"):
        run(tmp_path / "run", data_dir, **changes)
    assert not (tmp_path / "run").exists()
