import numpy as np
import pytest

from simclr_tf2.evaluation.neighbour_overlap import nearest_others
from simclr_tf2.metrics.neighbours import overlap

# Angles on a circle: 0 and 10 are near, and so are 90 and 100; 200 is near none.
ANGLES = np.deg2rad([0, 10, 90, 100, 200])
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)


def test_an_image_is_never_its_own_neighbour():
    found = nearest_others(CIRCLE, k=2)
    assert found.tolist() == [[1, 2], [0, 2], [3, 1], [2, 1], [3, 2]]
    assert found.dtype == np.int32


def test_equal_images_are_neighbours_of_each_other():
    rows = np.repeat(np.eye(3, dtype=np.float32), 3, axis=0)
    found = nearest_others(rows, k=2)
    for place, row in enumerate(found.tolist()):
        group = set(range(place // 3 * 3, place // 3 * 3 + 3))
        assert set(row) == group - {place}


def test_k_is_at_most_the_number_of_others():
    assert nearest_others(CIRCLE, k=99).shape == (5, 4)


def test_unrelated_representations_overlap_as_chance_says():
    a, b = np.random.default_rng(0).normal(size=(2, 400, 8)).astype(np.float32)
    found = overlap(nearest_others(a, k=20), nearest_others(b, k=20))
    assert found == pytest.approx(20 / 399, abs=0.01)


def test_a_rotation_and_a_scale_keep_every_neighbour():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 8)).astype(np.float32)
    turn, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    turned = (5 * rows @ turn).astype(np.float32)
    assert overlap(nearest_others(rows), nearest_others(turned)) == 1
