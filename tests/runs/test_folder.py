"""The run folder at the start: created, checked, found complete."""

import dataclasses
import json

import pytest

from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config, EvaluationConfig, TrainingConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.results import document
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import flag_file
from simclr_tf2.runs import folder as run_folder


@pytest.fixture
def config(tmp_path):
    return Config(
        mode="pretrain",
        model_dir=str(tmp_path / "run"),
        evaluation=EvaluationConfig(eval_name="val"),
    )


def finish(folder, **more):
    document.write(folder.without_name().results, {"finished": True, **more})


def test_the_paths_are_those_of_the_run_and_of_its_evaluation(config, tmp_path):
    assert run_folder.of(config) == RunFolder(tmp_path / "run", "val")


def test_a_new_folder_holds_the_settings_twice(config):
    folder = run_folder.create(config)
    assert folder == run_folder.of(config)
    assert {p.name for p in folder.path.iterdir()} == {"config.json", "flags.txt"}
    assert folder.flags.read_text() == flag_file.text(config)
    assert run_folder.read_config(folder) == config


def test_flags_txt_is_of_what_was_asked_and_config_json_of_what_is_run(config):
    run = dataclasses.replace(config, training=TrainingConfig(train_batch_size=24))
    folder = run_folder.create(run, config)
    assert folder.flags.read_text() == flag_file.text(config, run)
    assert "\n# --train_batch_size=24\n" in folder.flags.read_text()
    assert json.loads(folder.config.read_text())["train_batch_size"] == 24


def test_other_settings_make_a_finished_run_unfinished(config):
    folder = run_folder.create(config)
    finish(folder, step=3)
    run_folder.create(config)
    assert document.read(folder.without_name().results)["finished"]
    run_folder.create(dataclasses.replace(config, seed=7))
    assert document.read(folder.without_name().results) == {"step": 3}


def test_only_a_run_that_ended_under_these_settings_is_complete(config):
    assert run_folder.completed_results(config) is None
    folder = run_folder.create(config)
    document.write(folder.results, {"finished": True})  # of an evaluation
    assert run_folder.completed_results(config) is None
    finish(folder)
    assert run_folder.completed_results(config) == {"finished": True}
    other = dataclasses.replace(config, seed=7)
    assert run_folder.completed_results(other) is None


@pytest.mark.parametrize(
    "name", ["checkpoint", "results.json", "encoder.keras", "saved_model"]
)
def test_settings_of_an_earlier_start_count_once_something_was_made(config, name):
    assert run_folder.earlier_config(config.model_dir) is None
    folder = run_folder.create(config)
    assert run_folder.earlier_config(folder) is None
    folder.metrics.touch()
    assert run_folder.earlier_config(folder) is None
    (folder.path / name).touch()
    assert run_folder.earlier_config(folder) == config


def test_a_folder_with_anything_but_a_scan_is_refused(config):
    folder = run_folder.of(config)
    folder.path.mkdir()
    folder.scan.touch()
    run_folder.check(config)
    (folder.path / "photo.png").touch()
    with pytest.raises(ConfigError, match="has files but no config.json"):
        run_folder.check(config)


def test_settings_of_a_checkpoint_are_its_own_or_the_folders(config):
    folder = run_folder.create(config)
    prefix = str(folder.checkpoint(4))
    assert run_folder.config_of_checkpoint(prefix) == config
    own = dataclasses.replace(config, seed=7)
    text = json.dumps(config_lib.to_flat(own))
    (folder.path / "ckpt-4.config.json").write_text(text)
    assert run_folder.config_of_checkpoint(prefix) == own
