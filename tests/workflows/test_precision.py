"""--mixed_precision=auto and float16, --remat and --steps_per_loop in whole runs."""

import itertools
import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import workflows
from simclr_tf2.errors import ConfigError
from simclr_tf2.training import length, precision, session
from tests import command_line
from tests.command_line import TINY
from tests.support.tiny_runs import run, tiny_config

ONE = tf.distribute.OneDeviceStrategy("/cpu:0")
FEW = "--train_steps=4 --protocols= --export_formats= --noreport".split()


def decided(folder, **times):
    """What auto becomes where steps take so many seconds."""
    config = tiny_config(model_dir=str(folder), mixed_precision="auto")
    return precision.resolve(config, ONE).training.mixed_precision


def pretend(monkeypatch, flags, **seconds):
    """A CPU with these flags on which steps take so long."""
    names = {policy: name for name, policy in precision.POLICIES.items()}
    names[None] = "off"
    monkeypatch.setattr(precision, "_cpu_flags", lambda: set(flags))
    monkeypatch.setattr(
        precision,
        "seconds_per_step",
        lambda config, policy, views: seconds[names[policy]],
    )


@pytest.mark.parametrize(
    ("flags", "bfloat16", "expected"),
    [
        (["avx512_bf16"], 0.9, "bfloat16"),
        (["amx_bf16"], 1.1, "off"),
        (["avx2", "avx512f"], 0.1, "off"),  # not even tried
    ],
)
def test_auto_is_bfloat16_where_it_is_faster(
    tmp_path, monkeypatch, caplog, flags, bfloat16, expected
):
    pretend(monkeypatch, flags, off=1.0, bfloat16=bfloat16)
    with caplog.at_level("INFO", "simclr_tf2"):
        assert decided(tmp_path / "run") == expected
    assert f"--mixed_precision=auto: {expected} (" in caplog.text


@pytest.mark.parametrize(
    ("policy", "dtype"), [(None, "float32"), ("mixed_bfloat16", "bfloat16")]
)
def test_the_probe_times_three_steps_of_the_network_after_one(
    monkeypatch, policy, dtype
):
    """Each pair of looks at the clock has one step between, which moves statistics."""
    built, means = [], []
    readings = iter([0, 0.5, 1, 4, 10, 12, 20, 27])  # the first step does not count
    build = precision.models.build_simclr

    def spied(*args, **settings):
        built.append(build(*args, **settings))
        return built[-1]

    def clock():
        norm = next(w for w in built[0].backbone.weights if "moving_mean" in w.path)
        means.append(norm.numpy())
        return next(readings)

    monkeypatch.setattr(precision.models, "build_simclr", spied)
    monkeypatch.setattr(precision, "time", types.SimpleNamespace(perf_counter=clock))
    assert precision.seconds_per_step(tiny_config(), policy, 2) == 2
    (model,) = built
    layers = model.backbone._flatten_layers(include_self=False)
    convolutions = [x for x in layers if isinstance(x, keras.layers.Conv2D)]
    assert {x.compute_dtype for x in convolutions} == {dtype}
    moved = [not np.array_equal(a, b) for a, b in itertools.pairwise(means)]
    assert moved == [True, False, True, False, True, False, True]


@pytest.mark.parametrize(
    ("settings", "replicas", "expected"),
    [
        ({"train_batch_size": 64, "num_views": 4, "image_size": 32}, 1, 256),
        ({"train_batch_size": 64, "num_views": 4, "image_size": 32}, 2, 128),
        ({"train_batch_size": 512, "num_views": 2, "image_size": 224}, 1, 32),
        ({"train_batch_size": 4096, "num_views": 2, "image_size": 32}, 1, 1568),
        ({"train_batch_size": 2, "num_views": 2, "image_size": 1024}, 1, 2),
        (
            {"train_batch_size": 8, "image_size": 32, "mode": "finetune"},
            1,
            8,
        ),
    ],
)
def test_the_timed_step_has_the_views_of_the_run_within_a_limit(
    settings, replicas, expected
):
    assert precision.views_of_step(tiny_config(**settings), replicas) == expected


def test_a_run_keeps_what_auto_chose(tmp_path, data_dir, monkeypatch):
    """Even where the other one would be faster now; a finished run stays finished."""
    folder = tmp_path / "run"
    pretend(monkeypatch, ["avx512_bf16"], off=1.0, bfloat16=0.5)
    first, _ = run(folder, data_dir, mixed_precision="auto", checkpoint_steps=1)
    assert json.loads((folder / "config.json").read_text())["mixed_precision"] == (
        "bfloat16"
    )
    pretend(monkeypatch, ["avx512_bf16"], off=0.5, bfloat16=1.0)
    again, _ = run(folder, data_dir, mixed_precision="auto", checkpoint_steps=1)
    assert again == first  # read, not made
    (folder / "results.json").unlink()
    (folder / "ckpt-2.index").unlink()
    run(folder, data_dir, mixed_precision="auto", checkpoint_steps=1)
    assert json.loads((folder / "config.json").read_text())["mixed_precision"] == (
        "bfloat16"
    )
    with pytest.raises(ConfigError, match="mixed_precision .there bfloat16, now off"):
        run(folder, data_dir, mixed_precision="off", checkpoint_steps=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"mixed_precision": "float16", "optimizer": "lars"},
        pytest.param(
            {"mixed_precision": "float16", "mode": "finetune", "train_split": "train"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["pretrain", "finetune"],
)
def test_float16_logs_its_scale_and_resumes_with_it(data_dir, tmp_path, changes):
    folder = tmp_path / "run"
    settings = {"train_steps": 4, "checkpoint_steps": 2, **changes}
    _, lines = run(folder, data_dir, **settings)
    scales = [line["loss_scale"] for line in lines if "loss" in line]
    assert len(scales) == 4
    assert all(s <= 2.0**15 and np.log2(s).is_integer() for s in scales)
    skipped = [line["skipped_steps"] for line in lines if "loss" in line]
    assert skipped == sorted(skipped) and scales[-1] == 2.0 ** (15 - skipped[-1])

    names = dict(tf.train.list_variables(str(folder / "ckpt-4")))
    assert any("dynamic_scale" in name for name in names)
    for name in ("results.json", "ckpt-4.index"):
        (folder / name).unlink()
    _, again = run(folder, data_dir, **settings)
    for a, b in zip(lines, again, strict=True):
        times = {"images_per_second": 0, "input_wait": 0}
        assert {**a, **times} == {**b, **times}


def test_what_compiles_one_device_is_refused_on_several(two_replicas):
    config = tiny_config(jit_compile=True)
    length.check_compile(config.training, ONE)
    with pytest.raises(ConfigError, match="there are 2 replicas; drop it or pass"):
        length.check_compile(config.training, two_replicas)


def test_auto_is_one_step_per_loop_on_a_cpu():
    assert session._steps_per_loop("auto", ONE) == 1
    assert session._steps_per_loop(30, ONE) == 30


def test_the_command_line_takes_them_together(tmp_path, data_dir):
    folder = tmp_path / "run"
    arguments = [*TINY, *FEW, f"--model_dir={folder}", f"--data_dir={data_dir}"]
    arguments += ["--mixed_precision=auto", "--remat=blocks", "--steps_per_loop=4"]
    done = command_line.run(*arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "--mixed_precision=auto: " in done.stderr
    chosen = json.loads((folder / "config.json").read_text())["mixed_precision"]
    assert chosen in ("off", "bfloat16")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [2, 4]


@pytest.mark.slow
def test_recomputing_and_chunks_give_the_same_run(data_dir, tmp_path):
    settings = {"train_steps": 4, "checkpoint_steps": 4, "train_batch_size": 16}
    losses = []
    for number, changes in enumerate([{}, {"remat": "groups", "steps_per_loop": 4}]):
        _, lines = run(tmp_path / str(number), data_dir, **settings, **changes)
        losses.append([line["loss"] for line in lines])
    assert len(losses[0]) == 4 and losses[0][0] != losses[0][3]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


def test_workflows_other_than_training_take_auto_for_float32(finished, data_dir):
    config = tiny_config(
        mode="eval",
        model_dir=str(finished[0]),
        data_dir=str(data_dir),
        mixed_precision="auto",
        protocols=("knn",),
        baselines=False,
        eval_name="auto",  # the run is shared: its own results stay
    )
    assert "SimCLR h/knn" in workflows.run(config)["results"]
