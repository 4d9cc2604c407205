"""Semi-hard margin loss against tensorflow-addons' TripletSemiHardLoss.

Theirs has labels instead of views and distances instead of similarities:

- 1 - cosine ("angular") differs from a similarity by sign and constant: the same
  margin. Squared L2 of unit rows is 2 - 2 cosine: twice the margin, twice the loss.
- Its negatives are all rows of another label, in both views; ours are those of the
  other view. The vectors are made with a distance that is 4 inside a view ("one_view";
  across views it is at most 2), or from rows that are less similar inside a view than
  across ("apart").
- It takes the closest negative that is farther than the positive, however far; one
  beyond the margin costs 0, so that leaving it out is the same.
- Without such a negative it takes the farthest of all, ours skips the row. With
  "one_view" the farthest is at 4 and costs 0 up to a margin of 2: the same again.
- Mean over pairs of one label in order, which are our 2n rows.
"""

import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import losses

pytestmark = pytest.mark.golden
FILE = pathlib.Path(__file__).parents[1] / "golden" / "addons.npz"


@pytest.fixture(scope="module")
def addons():
    return np.load(FILE)


def loss_and_gradient(rows, margin):
    rows = tf.constant(rows)
    with tf.GradientTape() as tape:
        tape.watch(rows)
        loss = losses.margin_triplet(rows, margin=margin, semi_hard=True)
    return loss.numpy(), tape.gradient(loss, rows).numpy()


@pytest.mark.parametrize(("metric", "count"), [("one_view", 20), ("angular", 4)])
def test_loss_and_gradient_equal_addons_with_one_minus_cosine(addons, metric, count):
    cases = [
        re.fullmatch(rf"triplet_(\w+)_m(.*)_{metric}", name) for name in addons.files
    ]
    cases = [match for match in cases if match]
    assert len(cases) == count
    for match in cases:
        name, margin = match.groups()
        loss, gradient = loss_and_gradient(addons[f"projections_{name}"], float(margin))
        # Cosines round to 1e-7 or so on both sides; to find the closest negative they
        # take 4 off a distance and add it again, which rounds to 2.4e-7 twice.
        np.testing.assert_allclose(loss, addons[match[0]], rtol=0, atol=1e-6)
        expected = addons[f"grad_{match[0]}"]
        atol = 1e-5 * max(abs(expected).max(), 1e-30)
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=atol)


def test_loss_equals_half_of_addons_with_squared_distance_and_twice_the_margin(addons):
    rows = addons["projections_apart"]
    for margin in (0.05, 0.4, 0.8, 1.6):
        key = f"triplet_apart_m{margin}_squared"
        loss, gradient = loss_and_gradient(rows, margin / 2)
        # a^2 + b^2 - 2ab rounds to 1.2e-7 a few times
        np.testing.assert_allclose(2 * loss, addons[key], rtol=0, atol=2e-6)
        # Theirs does not normalise: the part along the row is ours to leave out.
        expected = addons[f"grad_{key}"]
        along = (expected * rows).sum(1, keepdims=True)
        expected = expected - along * rows
        atol = 1e-5 * abs(expected).max()
        np.testing.assert_allclose(2 * gradient, expected, rtol=0, atol=atol)


def test_vectors_hold_rows_with_and_without_a_semi_hard_negative(addons):
    values = [addons[name] for name in addons.files if name.startswith("triplet_")]
    assert min(values) == 0 < max(values)
    unit = addons["projections_opposite"]
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    similarity = unit[:4] @ unit[4:].T
    assert similarity[0].argmin() == 0  # nothing is less similar than the positive
