"""The share of neighbours in common, beside Python's sets."""

import numpy as np
import pytest

from simclr_tf2.errors import ConfigError
from simclr_tf2.metrics.neighbours import overlap


def test_the_overlap_is_the_mean_share_of_common_neighbours():
    first = np.array([[1, 2], [0, 2], [3, 1]])
    second = np.array([[2, 1], [3, 2], [0, 2]])  # 2, 1 and 0 of two in common
    assert overlap(first, second) == pytest.approx((1 + 0.5 + 0) / 3)
    assert overlap(first, first) == 1


def test_the_overlap_equals_that_of_sets_in_any_order():
    random = np.random.default_rng(0)
    first, second = (
        np.stack([random.permutation(12)[:5] for _ in range(9)]) for _ in range(2)
    )
    common = [len({*a} & {*b}) / 5 for a, b in zip(first, second, strict=True)]
    assert overlap(first, second) == pytest.approx(np.mean(common))
    assert overlap(first[:, ::-1], second) == overlap(first, second)


def test_other_images_are_refused():
    with pytest.raises(ConfigError, match="same images"):
        overlap(np.zeros((3, 2), int), np.zeros((4, 2), int))
