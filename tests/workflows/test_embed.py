"""Which settings ``--mode=embed`` takes from the run, and which from the command."""

import dataclasses

import keras
import pytest

from simclr_tf2.config import DataConfig
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.workflows.embed import _as_trained
from tests.support.tiny_runs import tiny_config


@pytest.fixture
def run(tmp_path):
    """The folder of a run with its settings alone."""
    run_folder.create(tiny_config(model_dir=str(tmp_path / "run")))
    return tmp_path / "run"


def as_trained(run, **data):
    config = tiny_config(mode="embed", model_dir=str(run))
    config = dataclasses.replace(
        config, data=DataConfig(**data), given=frozenset(data) | {"model_dir"}
    )
    return _as_trained(
        config, keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten()])
    ).data


def test_where_images_are_and_how_they_are_checked_is_the_commands(run):
    asked = {"data_dir": "elsewhere", "check_files": "header", "max_image_pixels": 99}
    found = as_trained(run, **asked)
    assert {name: getattr(found, name) for name in asked} == asked
    assert found.image_size == 32
    assert as_trained(run).data_dir == DataConfig().data_dir


def test_another_size_than_the_runs_is_said_to_have_no_effect(run, caplog):
    assert as_trained(run, image_size=64).image_size == 32
    assert "--image_size has no effect" in caplog.text and "with 32" in caplog.text
    caplog.clear()
    as_trained(run, image_size=32, image_channels=3)
    assert not caplog.text
