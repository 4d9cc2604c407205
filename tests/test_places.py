"""Defaults that follow from where the program is started."""

from pathlib import Path

import pytest

from simclr_tf2 import config as config_lib
from simclr_tf2 import places
from tests import command_line

CODE = (
    f"import os, sys; sys.path.insert(0, {str(command_line.ROOT)!r}); "
    "os.chdir(sys.argv[1]); from simclr_tf2 import command_help, config; "
    "print(config.DataConfig().data_dir, config.field_defaults()['data_dir'], "
    "command_help.PROGRAM)"
)


def test_in_a_checkout_data_sets_are_beside_the_code(monkeypatch):
    monkeypatch.chdir(command_line.ROOT)
    monkeypatch.setenv("TFDS_DATA_DIR", "/sets")
    assert places.in_checkout() and places.data_dir() == "data"
    assert places.program() == "python run.py"
    assert command_line.python(CODE, command_line.ROOT).split() == [
        "data", "data", "python", "run.py",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("variable", "folder"),
    [
        (None, "~/tensorflow_datasets"),
        ("", "~/tensorflow_datasets"),
        ("/sets", "/sets"),
        ("gs://bucket/sets", "gs://bucket/sets"),
    ],
)
def test_elsewhere_they_are_where_tensorflow_datasets_has_them(
    variable, folder, tmp_path
):
    out = command_line.python(CODE, tmp_path, TFDS_DATA_DIR=variable)
    assert out.split() == [folder, folder, "simclr-tf2"]


def test_a_folder_that_is_named_stays():
    assert config_lib.DataConfig(data_dir="here").data_dir == "here"


def test_what_can_be_made_again_is_in_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert places.cache_folder() == tmp_path / "cache" / "simclr_tf2"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert places.cache_folder() == tmp_path / ".cache" / "simclr_tf2"
    assert not list(tmp_path.iterdir())


def test_without_a_home_that_can_be_written_it_is_temporary(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(places.tempfile, "gettempdir", lambda: "/scratch")
    monkeypatch.setenv("USER", "ada")
    assert places.cache_folder() == Path("/scratch/simclr_tf2-ada")


def test_what_is_known_of_files_is_beside_the_data_if_they_are_local(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert places.image_index("data") == Path("data/image_index")
    remote = places.image_index("gs://bucket/sets")
    assert remote == tmp_path / "simclr_tf2" / "image_index"
    (tmp_path / "file").touch()  # in which no folder can be made
    assert places.image_index(str(tmp_path / "file/sets")) == remote
