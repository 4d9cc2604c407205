"""``--mode=eval``: which of the data flags count beside the run's own."""

import importlib
import json
import shutil

from simclr_tf2.config import DataConfig
from tests import command_line
from tests.workflows import stand_ins

evaluate = importlib.import_module("simclr_tf2.workflows.evaluate")
TRAINED = DataConfig(dataset="mnist", data_dir="/a", image_size=28)


def test_the_folder_and_downloading_are_asked_for_the_images_are_the_runs():
    data = evaluate._data_of(DataConfig(data_dir="/b", download=True), TRAINED)
    assert (data.data_dir, data.download) == ("/b", True)
    assert (data.dataset, data.image_size) == ("mnist", 28)
    assert evaluate._data_of(DataConfig(dataset="cifar10"), TRAINED) == TRAINED


def test_what_is_left_out_stays_as_the_run_had_it():
    trained = DataConfig(data_dir="/a", download=True, labels_per_class=3)
    assert evaluate._data_of(DataConfig(), trained) == trained
    data = evaluate._data_of(DataConfig(label_fraction=0.1), trained)
    assert (data.label_fraction, data.labels_per_class, data.download) == (0.1, 0, True)


def test_transfer_finds_its_sets_in_the_folder_that_eval_names(
    finished, data_dir, tmp_path
):
    """The run was trained from another folder, in which MNIST is not."""
    folder, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(finished[0], folder)
    shutil.copytree(data_dir, other)
    stand_ins.prepare("mnist", other, {"train": 20, "test": 5})
    done = command_line.run(
        "--mode=eval",
        f"--model_dir={folder}",
        f"--data_dir={other}",
        "--protocols=transfer",
        "--transfer_datasets=mnist",
        "--nobaselines",
        "--noreport",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((folder / "results.json").read_text())["transfer"]["mnist"]
    assert "not_measured" not in record and 0 <= record["value"] <= 1
