"""Blur, rotation and cutout against tensorflow-addons, an independent oracle."""

import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.augmentations import blur, erase, rotate

pytestmark = pytest.mark.golden
FILE = pathlib.Path(__file__).parents[1] / "golden" / "addons.npz"


@pytest.fixture(scope="module")
def addons():
    return np.load(FILE)


def matching(addons, pattern, count):
    found = [(name, re.fullmatch(pattern, name)) for name in addons.files]
    found = [(name, match.groups()) for name, match in found if match]
    assert len(found) == count
    return found


def test_blur_equals_addons_at_every_kernel_and_sigma(addons):
    # They filter once with the product of the two kernels, we filter columns and then
    # rows. Pixels are in [0, 1] and the K * K weights sum to 1, so each term and each
    # partial sum rounds by at most half a unit in the last place of 1, 6e-8; the signs
    # are random, so K * K of them add up to about K. Twice that, and the weights' own.
    for name, (size, taps, sigma) in matching(addons, r"blur_(\w+)_k(\d+)_s(.*)", 18):
        image = tf.constant(addons[f"image_{size}"])
        actual = blur.gaussian_blur(image, float(sigma), radius=int(taps) // 2)
        tolerance = (2 * int(taps) + 4) * 6e-8
        np.testing.assert_allclose(actual, addons[name], rtol=0, atol=tolerance)
        change = abs(addons[name] - image.numpy()).max()
        assert change > 0.1 or int(taps) == 1 or float(sigma) == 0.1


def test_rotation_equals_addons_bit_for_bit_in_the_same_direction(addons):
    # By right angles only; theirs turns by any angle and keeps the canvas of an image
    # that is not square, which ours refuses.
    cases = matching(addons, r"rotate_(\d+)_d(-?\d+)", 18)
    for name, (size, degrees) in cases:
        image = tf.constant(addons[f"square_{size}"])
        actual = rotate.rotate_quarters(image, int(degrees) // 90)
        np.testing.assert_array_equal(actual, addons[name])


@pytest.mark.parametrize("size", ["8x8", "8x12"])
def test_cutout_equals_addons_for_every_hole_that_both_can_cut(addons, draw_many, size):
    # Theirs is given the size and the centre of the hole, in pixels: even sizes only,
    # and a hole over the border is clipped. Ours draws the size (a share of both
    # sides, odd sizes too) and a place inside the image. So each of our holes of an
    # even size is compared with theirs at the same place. No arithmetic: equal bits.
    image = addons[f"uncut_{size}"].astype(np.float32)
    holes = [tuple(hole) for hole in addons[f"cutout_{size}_holes"]]
    theirs = dict(zip(holes, addons[f"cutout_{size}"], strict=True))
    compared = set()
    for result in draw_many(lambda s: erase.cutout(tf.constant(image), seed=s), 3000):
        zero = result[..., 0] == 0
        rows, columns = np.flatnonzero(zero.any(1)), np.flatnonzero(zero.any(0))
        hole = rows[0], columns[0], len(rows), len(columns)
        if hole in theirs:
            np.testing.assert_array_equal(result, theirs[hole])
            compared.add(hole)
    assert compared == set(theirs)
