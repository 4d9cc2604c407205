"""A run folder made by the commit before the rebuild goes on, and is measured, now."""

import json
import tarfile

import numpy as np
import pytest

from tests import command_line
from tests.support.results_page import undocumented

ARCHIVE = command_line.ROOT / "tests/golden/run_before_rebuild.tar.xz"


@pytest.fixture(scope="module")
def resumed(tmp_path_factory, data_dir):
    """(What the old program wrote, the folder after going on from step 2)."""
    place = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(place, filter="data")
    folder = place / "run"
    before = {
        "metrics": (folder / "metrics.jsonl").read_text(),
        "results": json.loads((folder / "results.json").read_text()),
    }
    done = command_line.run(
        f"--flagfile={folder}/flags.txt",
        f"--model_dir={folder}",
        f"--data_dir={data_dir}",
        "--train_steps=4",
        "--checkpoint_steps=2",
        "--log_steps=1",
        "--noreport",
        "--keep_checkpoint_max=3",
        "--protocols=knn,label_free",
        "--eval_split=test",
        "--probe_split=train",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "resuming from" in done.stderr and "at step 2" in done.stderr
    return before, folder


def lines(text):
    return {x["step"]: x for x in map(json.loads, text.splitlines()) if "loss" in x}


def test_it_resumes_with_the_same_losses(resumed):
    before, folder = resumed
    old, new = lines(before["metrics"]), lines((folder / "metrics.jsonl").read_text())
    assert list(new) == [1, 2, 3, 4]
    for step in (3, 4):  # rounding on other CPUs
        assert new[step]["loss"] == pytest.approx(old[step]["loss"], rel=1e-3)


def test_its_results_are_the_same(resumed):
    """Names, settings and sizes exactly; numbers up to rounding on other CPUs."""
    before, folder = resumed
    old, new = before["results"], json.loads((folder / "results.json").read_text())
    assert set(new) - set(old) == {"schema", "worth"} and not set(old) - set(new)
    assert undocumented(new) == set()  # docs/results.md
    assert new["results"].keys() == old["results"].keys()
    for name, record in old["results"].items():
        again = new["results"][name]
        assert again.keys() == record.keys()
        for key in ("row", "protocol", "measure", "train_examples", "test_examples"):
            assert again[key] == record[key]
        assert again["value"] == pytest.approx(record["value"], abs=0.03)
    for key in ("dataset", "view", "preprocessing", "seed", "step"):
        assert new[key] == old[key]
    for key in ("h_rankme", "z_uniformity"):
        close = pytest.approx(old["label_free"][key], rel=1e-2)
        assert new["label_free"][key] == close


def test_it_is_evaluated_and_exported(resumed, tmp_path):
    import keras

    _, folder = resumed
    done = command_line.run(
        "--mode=eval", f"--model_dir={folder}", "--protocols=logreg", "--eval_name=now"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (folder / "results_now.json").exists()
    done = command_line.run("--mode=export", f"--model_dir={folder}")
    assert done.returncode == 0, done.stderr[-3000:]
    h = keras.models.load_model(folder / "encoder.keras")(np.zeros([1, 32, 32, 3]))
    assert h.shape == (1, 32)
