"""LAMB against tensorflow-addons, an independent oracle.

Both are LAMB with bias correction, without a bound on the weight's norm, ratio 1 where
a norm is 0. They differ in

- weight decay: theirs is part of the update whose norm scales the step, as in the
  paper of LAMB (arXiv 1904.00962, algorithm 2); Keras takes it off the weight first,
  outside of the ratio. Compared with vectors for which that was done by hand.
- exclusion from weight decay: theirs also switches off the ratio; ours does not. The
  vectors were made with the ratio on everywhere.
- epsilon: 1e-6 there, 1e-7 in Keras. Ours is given theirs.
"""

import pathlib

import keras
import numpy as np
import pytest

from simclr_tf2 import optimizers

pytestmark = pytest.mark.golden
FILE = pathlib.Path(__file__).parents[1] / "golden" / "addons.npz"
NAMES = ["kernel", "dense", "bias", "zero_weight", "zero_gradient"]
NAMES += ["late_gradient", "tiny_gradient"]
LEARNING_RATE, DECAY = 0.02, 0.3  # as in make_addons_vectors.py

# 1 - beta_2 is 0.001, which float32 holds to 3e-5 when it is taken from a rounded
# 0.999 (half a unit in the last place of 1, 3e-8, over 0.001); Keras rounds after the
# subtraction in one of two places. The update has the root of it: 1.5e-5, and the
# sums and roots add less than 1e-6.
RELATIVE = 2e-5


@pytest.fixture(scope="module")
def addons():
    return np.load(FILE)


def trajectory(addons, **options):
    """The weights after each step: name -> [steps, ...]."""
    variables = [keras.Variable(addons[f"initial_{n}"], name=n) for n in NAMES]
    optimizer = optimizers.Lamb(LEARNING_RATE, **options)
    optimizer.build(variables)
    after = []
    for step in range(5):
        optimizer.apply([addons[f"gradients_{n}"][step] for n in NAMES])
        after.append([v.numpy() for v in variables])
    return {
        n: np.stack(a) for n, a in zip(NAMES, zip(*after, strict=True), strict=True)
    }


def moves(weights, addons, name):
    return weights - addons[f"initial_{name}"]


def assert_moves_equal(actual, addons, case):
    for name in NAMES:
        ours = moves(actual[name], addons, name)
        theirs = moves(addons[f"lamb_{case}_{name}"], addons, name)
        # Beside RELATIVE: each step rounds the weight once, or twice with decay.
        rounding = 5 * 2 * 6e-8 * max(abs(addons[f"initial_{name}"]).max(), 1e-7)
        tolerance = RELATIVE * abs(theirs).max() + rounding
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance, err_msg=name)


def test_five_steps_equal_addons_without_weight_decay(addons):
    actual = trajectory(addons, epsilon=float(addons["lamb_epsilon"]))
    assert_moves_equal(actual, addons, "plain")
    np.testing.assert_array_equal(moves(actual["zero_gradient"], addons, NAMES[4]), 0)
    assert abs(actual["zero_weight"][0]).min() > 0.9 * LEARNING_RATE  # ratio 1


def test_five_steps_equal_addons_with_decay_taken_off_first(addons):
    actual = trajectory(
        addons,
        epsilon=float(addons["lamb_epsilon"]),
        weight_decay=DECAY,
        exclude=("^bias$",),
    )
    assert_moves_equal(actual, addons, "taken_off")
    np.testing.assert_array_equal(
        addons["lamb_taken_off_bias"], addons["lamb_plain_bias"]
    )


def test_decay_of_addons_is_another_definition(addons):
    # Were it the same, the difference at the top of this file would be wrong.
    for name in ("kernel", "dense", "late_gradient"):
        decay = moves(addons[f"lamb_decay_{name}"], addons, name)
        taken_off = moves(addons[f"lamb_taken_off_{name}"], addons, name)
        assert abs(decay - taken_off).max() > 0.05 * abs(decay).max()


def test_epsilon_matters_only_to_gradients_as_small_as_it(addons):
    # So Keras's 1e-7, which a run uses, is as good as 1e-6 where gradients are not.
    actual = trajectory(addons)
    for name in NAMES:
        change = abs(actual[name] - addons[f"lamb_plain_{name}"]).max()
        scale = abs(moves(actual[name], addons, name)).max()
        if name == "tiny_gradient":
            assert change > 100 * RELATIVE * scale
        elif name != "late_gradient":  # its first gradients are 0
            assert change <= 10 * RELATIVE * scale
