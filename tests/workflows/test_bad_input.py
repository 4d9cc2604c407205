"""Wrong input: one clear line, exit code 2, nothing written."""

import os

import pytest

from simclr_tf2 import workflows
from simclr_tf2.errors import ConfigError
from tests import command_line
from tests.command_line import TINY
from tests.support.tiny_runs import tiny_config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode=prune"], "mode"),
        (["--resnet_depth=7"], "--resnet_depth must be one of"),
        (["--image_size=big"], "image_size"),
        (["pretrain"], "unexpected argument"),
        (["--mode=pretrian"], "did you mean pretrain?"),
        (["--mode=pretrain"], "--model_dir is required"),
        (["--mode=embed", "--model_dir=x"], "--input is required"),
        (["--mode=eval", "--model_dir=/no/such"], "not a run folder"),
    ],
)
def test_command_line_says_it_in_one_line_and_exits_2(arguments, message):
    code, stderr = command_line.main(*arguments)
    assert code == 2, stderr[-2000:]
    is_one_error(stderr, message)


@pytest.mark.parametrize(
    ("arguments", "extra", "message"),
    [
        (["--no_such_flag=1"], {}, "no_such_flag"),
        (["--mode=pretrain"], {"KERAS_BACKEND": "torch"}, "KERAS_BACKEND must be"),
        (["--mode=pretrain"], {"TF_USE_LEGACY_KERAS": "1"}, "TF_USE_LEGACY_KERAS"),
        (["--mode=eval", "--model_dir=/no/such"], {}, "not a run folder"),
    ],
)
def test_a_process_does_so_too_whatever_its_environment(arguments, extra, message):
    done = command_line.run(*arguments, **extra)
    assert done.returncode == 2, done.stderr[-2000:]
    is_one_error(done.stderr, message)


def is_one_error(stderr, message):
    last = stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert stderr.count("error: ") == 1 and "Traceback" not in stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "simclr_shape"}, "simclr_shapes"),
        ({"dataset": "simclr_shapes/huge"}, "tiny"),
        ({"train_split": "validation"}, "unlabeled.*; name one with --train_split"),
        ({"eval_split": "validation"}, "test.*; name one with --eval_split"),
        ({"probe_split": ""}, "need labels"),
        ({"train_batch_size": 100_000}, "images"),
        ({"dataset": "cifar10", "train_split": "train"}, "--download"),
    ],
)
def test_data_that_cannot_be_is_refused_and_nothing_is_written(
    changes, message, data_dir, tmp_path
):
    folder = tmp_path / "run"
    config = tiny_config(model_dir=str(folder), data_dir=str(data_dir), **changes)
    with pytest.raises(ConfigError, match=message) as caught:
        workflows.run(config)
    assert "\n" not in str(caught.value) and not folder.exists()


def test_batch_that_replicas_do_not_divide_is_refused(data_dir, tmp_path):
    config = tiny_config(
        model_dir=str(tmp_path / "run"),
        data_dir=str(data_dir),
        train_batch_size=63,
        strategy="mirrored",
    )
    with pytest.raises(ConfigError, match="divisible by the 2 replicas; use 62 or 64"):
        workflows.run(config)
    assert not (tmp_path / "run").exists()


def test_an_odd_batch_that_would_crash_tensorflow_is_refused(data_dir, tmp_path):
    settings = {"train_split": "train", "train_batch_size": 25}
    with pytest.raises(ConfigError, match="odd number.*even --train_batch_size"):
        workflows.run(
            tiny_config(
                mode="finetune",
                model_dir=str(tmp_path / "run"),
                data_dir=str(data_dir),
                strategy="one_device",
                **settings,
            )
        )
    assert not (tmp_path / "run").exists()


def test_folder_with_foreign_files_is_refused(data_dir, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    config = tiny_config(model_dir=str(tmp_path), data_dir=str(data_dir))
    with pytest.raises(ConfigError, match="has files but no config.json"):
        workflows.run(config)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_model_dir_below_a_file_is_refused(data_dir, tmp_path):
    (tmp_path / "file").write_text("")
    config = tiny_config(model_dir=str(tmp_path / "file/run"), data_dir=str(data_dir))
    with pytest.raises(ConfigError, match="is not a folder"):
        workflows.run(config)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_missing_write_permission_is_refused(data_dir, tmp_path):
    tmp_path.chmod(0o500)
    config = tiny_config(model_dir=str(tmp_path / "run"), data_dir=str(data_dir))
    with pytest.raises(ConfigError, match="no permission to write"):
        workflows.run(config)


def test_missing_write_permission_as_the_system_reports_it(
    data_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "access", lambda *_: False)
    config = tiny_config(model_dir=str(tmp_path / "run"), data_dir=str(data_dir))
    with pytest.raises(ConfigError, match="no permission to write"):
        workflows.run(config)


def test_a_diverging_run_exits_3_and_says_what_to_try(data_dir, tmp_path):
    done = command_line.run(
        *TINY,
        f"--model_dir={tmp_path / 'run'}",
        f"--data_dir={data_dir}",
        "--optimizer=momentum",
        "--learning_rate=1e30",
        "--warmup_epochs=0",
    )
    assert done.returncode == 3, done.stderr[-2000:]
    assert "not finite" in done.stderr and "--learning_rate" in done.stderr
    assert "Traceback" not in done.stderr
