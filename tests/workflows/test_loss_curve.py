"""A refactor shows the same losses, and so does any number of devices.

``tests/golden/make_loss_curve.py`` made the curve and derives the tolerance of each
step from runs that differ in rounding only.
"""

import json

import numpy as np
import pytest

from tests.golden import make_loss_curve
from tests.golden.make_loss_curve import curve, distance


def slow(devices):  # tracing as many replicas takes its time
    return pytest.param(devices, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def stored():
    document = json.loads(make_loss_curve.PATH.read_text())
    lists = {k: np.array(v) for k, v in document.items() if k in ("loss", "tolerance")}
    return {**document, **lists}


def test_the_tolerance_is_that_of_rounding_and_would_show_a_change(stored):
    rounding = np.max([*stored["rounding"].values()], axis=0)
    assert stored["tolerance"][:10].max() < 1e-4 and stored["tolerance"].max() < 0.02
    assert (stored["tolerance"] >= make_loss_curve.SAFETY * rounding).all()
    changed = np.array(stored["changed"]["distance"])  # learning rate + 1 %
    assert (changed > 10 * stored["tolerance"]).any()
    assert stored["arguments"] == make_loss_curve.ARGUMENTS


@pytest.mark.parametrize("devices", [1, slow(2), slow(4)])
def test_twenty_steps_give_the_stored_losses_on_any_number_of_devices(
    data_dir, tmp_path, stored, devices
):
    """The global batch, its negatives and its statistics are one, however split."""
    extra = ["--strategy=mirrored", f"--num_virtual_devices={devices}"]
    losses, versions = curve(tmp_path / "run", data_dir, *extra)
    found = distance(losses, stored["loss"])
    made = f"made with {stored['versions']}, now {versions}"
    assert (found <= stored["tolerance"]).all(), (found, losses, made)
