"""Evaluations on 1, 2, 4 and 8 devices find the same, also with uneven last batches."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.command_line import ROOT, environment
from tests.support import equal_evaluations
from tests.support.equal_evaluations import BATCH, HELD, PROBE, TEST

pytestmark = pytest.mark.slow


def measured(folder, devices):
    """What a process with so many devices finds, and its features."""
    out, features = folder / f"{devices}.json", folder / f"{devices}.npy"
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "tests.support.equal_evaluations", out, features),
            f"--devices={devices}",
        ],
        cwd=ROOT,
        env=environment(TF_CONFIG=None),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text()), np.load(features)


def equal(found, expected):
    """Counts and shares of counts as they are; other numbers up to rounding."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            exact = "top1" in key or "accuracy" in key
            if exact:
                assert found[key] == expected[key], key
            else:
                equal(found[key], expected[key])
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-7)
    else:
        assert found == expected


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    return measured(tmp_path_factory.mktemp("one"), 1)


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_every_measure_is_that_of_one_device(tmp_path, one_device, devices):
    assert all(count % BATCH and count % devices for count in (PROBE, TEST, HELD))
    found, features = measured(tmp_path, devices)
    equal(found, one_device[0])
    np.testing.assert_allclose(features, one_device[1], rtol=1e-5, atol=1e-6)


def test_the_measures_are_of_every_image_once_and_not_of_a_collapsed_network(
    one_device,
):
    found, features = one_device
    labels = equal_evaluations.images(TEST, 1).pixels[1].numpy().tolist()
    assert found["labels"] == found["classifier"]["labels"] == labels
    assert len(features) == np.sum(found["classifier"]["confusion"]) == TEST
    assert len({*found["classifier"]["predictions"]}) > 1
    assert 0.3 < found["monitor"]["knn_top1_k20"] < 1
    assert found["monitor"]["std_z"] > 0.05
    assert {"valid_loss", "alignment", "rankme"} <= found["monitor"].keys()
    assert found["label_free"]["random_encoder"]["h_rankme"] > 2
