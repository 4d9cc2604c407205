"""``--weights_ema``: averages are evaluated and exported, the weights are trained."""

import logging
import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import saved_model
from simclr_tf2.errors import Stopped
from simclr_tf2.evaluation import monitoring
from simclr_tf2.runs import checkpoints, logs
from tests.support.tiny_runs import measure, run

pytestmark = pytest.mark.usefixtures("short_networks")
DECAY, STEPS = 0.5, 4
SETTINGS = {
    "train_split": "train",
    "train_steps": STEPS,
    "checkpoint_steps": 1,
    "warmup_epochs": 0.0,
    "weights_ema": DECAY,
}


def values(folder, step, group):
    """Variables of a checkpoint whose keys begin with ``group``, by path."""
    reader = tf.train.load_checkpoint(str(folder / f"ckpt-{step}"))
    return {
        key.removeprefix(f"{group}/").split("/")[0].replace("|", "/"): (
            reader.get_tensor(key)
        )
        for key in reader.get_variable_to_shape_map()
        if key.startswith(f"{group}/")
    }


def everything(folder, step):
    reader = tf.train.load_checkpoint(str(folder / f"ckpt-{step}"))
    return {
        key: reader.get_tensor(key)
        for key in reader.get_variable_to_shape_map()
        if key.endswith("VARIABLE_VALUE")
    }


def assert_equal(found, expected):
    assert found.keys() == expected.keys() and found
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def differ(first, second):
    """Names of the variables that are not equal."""
    return {name for name in first if not np.array_equal(first[name], second[name])}


@pytest.fixture(scope="module")
def averaged(data_dir, tmp_path_factory):
    """(folder, results) of a finished run without online evaluations."""
    folder = tmp_path_factory.mktemp("averaged") / "run"
    results, _ = run(
        folder, data_dir, **SETTINGS, protocols="knn", export_formats="keras"
    )
    return folder, results


def test_averages_follow_the_weights_of_each_step(averaged):
    folder, _ = averaged
    mean = values(folder, 1, "averages")
    for t in range(2, STEPS + 1):
        weights, d = values(folder, t, "model"), min(DECAY, (1 + t) / (10 + t))
        assert weights.keys() == mean.keys()
        mean = {k: d * mean[k] + (1 - d) * weights[k] for k in mean}
        found = values(folder, t, "averages")
        for path, value in mean.items():
            scale = np.abs(value).max()
            np.testing.assert_allclose(found[path], value, rtol=0, atol=1e-6 * scale)


def test_the_averages_are_exported_measured_and_read(averaged):
    folder, results = averaged
    averages, trained = (values(folder, STEPS, name) for name in ("averages", "model"))
    encoder = saved_model.load_encoder(folder / "encoder.keras")
    exported = {variable.path: variable.numpy() for variable in encoder.variables}
    for path, value in exported.items():
        np.testing.assert_array_equal(value, averages[path], err_msg=path)
        assert not np.array_equal(value, trained[path]), path
    assert_equal(checkpoints.weights(f"{folder}/ckpt-{STEPS}"), averages)
    later = measure(folder, "--protocols=knn")
    assert later["checkpoint"] == results["checkpoint"]
    row = "SimCLR h/knn"
    assert later["results"][row]["value"] == results["results"][row]["value"]


@pytest.mark.slow
def test_a_stopped_run_that_is_watched_ends_as_one_that_is_left_alone(
    averaged, data_dir, tmp_path, monkeypatch, caplog
):
    """Bit by bit: weights, optimizer, averages. Online evaluations see the averages."""
    seen = []

    def make_run_monitor(conditions, model, strategy):
        def look():
            seen.append({v.path: v.numpy() for v in model.variables})
            return {"looked": 1.0}

        return look

    write = logs.MetricsLog.write

    def stop_at_2(log, now, scalars):
        write(log, now, scalars)
        if now == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(monitoring, "make_run_monitor", make_run_monitor)
    folder = tmp_path / "run"
    settings = {**SETTINGS, "monitor_epochs": 0.001}
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(logs.MetricsLog, "write", stop_at_2)
        run(folder, data_dir, **settings)
    with caplog.at_level(logging.INFO, "simclr_tf2"):
        run(folder, data_dir, **settings)
    line = "evaluations and exports use averages of the weights (--weights_ema=0.5)"
    assert caplog.messages.count(line) == 1
    assert_equal(everything(folder, STEPS), everything(averaged[0], STEPS))
    assert len(seen) == STEPS
    for step, found in enumerate(seen, 1):
        assert_equal(found, values(averaged[0], step, "averages"))


def test_without_the_flag_training_and_its_checkpoint_are_the_same(
    averaged, data_dir, tmp_path
):
    folder = tmp_path / "run"
    results, _ = run(folder, data_dir, **{**SETTINGS, "weights_ema": 0.0})
    found, expected = everything(folder, STEPS), everything(averaged[0], STEPS)
    more = {name for name in expected if name.startswith("average")}
    assert {name.split("/")[0] for name in more} == {"averages", "average_updates"}
    assert_equal(found, {k: v for k, v in expected.items() if k not in more})
    assert results["checkpoint"] != averaged[1]["checkpoint"]


@pytest.mark.slow
@pytest.mark.parametrize("block", [4, -1])
def test_fine_tuning_starts_from_averages_and_scores_its_own(
    averaged, data_dir, tmp_path, block
):
    """From the averages of pretraining, with frozen layers that stay at them."""
    folder = tmp_path / "tuned"
    results, _ = run(
        folder,
        data_dir,
        **SETTINGS,
        mode="finetune",
        checkpoint=str(averaged[0]),
        fine_tune_after_block=block,
        optimizer="momentum",
        learning_rate=0.5,
    )
    start = values(averaged[0], STEPS, "averages")
    trained, averages = (values(folder, STEPS, name) for name in ("model", "averages"))
    head = {name for name in averages if name.startswith("head_supervised")}
    assert head <= differ(averages, trained)
    moved = differ(averages, start) - head
    if block == 4:
        assert not moved and not differ(trained, start) - head
    else:
        assert len(moved) > len(start) / 2
    later = measure(folder, "--protocols=")
    assert later["checkpoint"] == results["checkpoint"]
    name = "Fine-tuned network/supervised"
    assert later["results"][name]["value"] == results["results"][name]["value"]
