"""``--mode=eval`` on several devices writes the results of one."""

import json
import shutil

import pytest

from tests import command_line

# What differs by nature
ABOUT_THE_RUN = {"seconds", "timings", "environment", "compute", "replicas"}


def evaluated(folder, data_dir, devices):
    done = command_line.run(
        "--mode=eval",
        f"--model_dir={folder}",
        f"--data_dir={data_dir}",
        f"--eval_name=on_{devices}",
        "--strategy=mirrored",
        f"--num_virtual_devices={devices}",
        "--protocols=knn,logreg,label_free",
        "--eval_batch_size=30",
        "--eval_split=test[:101]",  # 3 batches and 11 images; 4 devices divide neither
        "--probe_examples=130",
        "--noreport",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((folder / f"results_on_{devices}.json").read_text())
    assert found["compute"]["replicas"] == devices
    return found


def equal(found, expected, path):
    """Counts and shares of counts as they are; other numbers up to rounding."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), path
        for key in expected.keys() - ABOUT_THE_RUN:
            equal(found[key], expected[key], f"{path}/{key}")
    elif isinstance(expected, float) and "top1" not in path and "value" not in path:
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-7), path
    else:
        assert found == expected, path


@pytest.mark.slow
def test_four_devices_write_the_results_of_one(finished, data_dir, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    one, four = (evaluated(folder, data_dir, devices) for devices in (1, 4))
    assert len(one["results"]) >= 4
    for name, record in one["results"].items():
        assert record["test_examples"] == 101, name
        equal(four["results"][name], record, name)
    equal(four["label_free"], one["label_free"], "label_free")
