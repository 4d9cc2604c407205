"""Which steps have which size of views, against values made by hand."""

import pytest
import tensorflow as tf

from simclr_tf2 import augmentations
from simclr_tf2.config import AugmentationConfig
from simclr_tf2.data import view_sizes
from simclr_tf2.errors import ConfigError


def stages(*lengths, early=(16, 24), share=0.5):
    """(side, steps before, last step) of each stage; lengths are (done, total)."""
    config = AugmentationConfig(early_image_sizes=early, early_share=share)
    found = view_sizes.size_stages(config, (32, 32), lengths=lengths)
    assert all(len(set(stage.height_width)) == 1 for stage in found)
    return [(stage.height_width[0], stage.start, stage.end) for stage in found]


@pytest.mark.parametrize(
    ("total", "settings", "expected"),
    [
        (781, {}, [(16, 0, 195), (24, 195, 390), (32, 390, None)]),
        (100, {"share": 0.3, "early": (20,)}, [(20, 0, 30), (32, 30, None)]),
        (
            10,
            {"share": 0.9, "early": (8, 16, 24)},
            [(8, 0, 3), (16, 3, 6), (24, 6, 9), (32, 9, None)],
        ),
        (100, {"early": ()}, [(32, 0, None)]),
        # Too few steps for each size; the last step has the full size.
        (2, {}, [(24, 0, 1), (32, 1, None)]),
        (1, {"share": 0.9}, [(32, 0, None)]),
    ],
    ids=str,
)
def test_each_early_size_has_an_equal_part_of_the_early_steps(
    total, settings, expected
):
    assert stages((0, total), **settings) == expected


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        # Finished, and made longer: views do not become small again.
        ([(100, 400)], [(16, 0, 25), (24, 25, 50), (32, 50, None)]),
        # Among the steps of 24 px: these go on up to half of the new length.
        ([(30, 400)], [(16, 0, 25), (24, 25, 200), (32, 200, None)]),
        # Among the steps of 16 px: both sizes follow the new length.
        ([(10, 400)], [(16, 0, 100), (24, 100, 200), (32, 200, None)]),
        # Shorter, because images are gone.
        ([(30, 40)], [(16, 0, 25), (24, 25, 30), (32, 30, None)]),
        ([(30, 400), (60, 800)], [(16, 0, 25), (24, 25, 400), (32, 400, None)]),
    ],
    ids=str,
)
def test_another_length_changes_the_steps_to_come_and_no_view_shrinks(
    lengths, expected
):
    assert stages((0, 100), *lengths) == expected


@pytest.mark.parametrize(
    ("settings", "size", "message"),
    [
        ({}, (32, 48), "square views, and --image_size is 32x48"),
        ({}, (24, 24), "smaller than --image_size=24"),
        ({"num_local_views": 2}, (40, 40), "local views of 16x16"),
        ({"num_local_views": 2, "local_image_size": 20}, (32, 32), "20x20"),
    ],
    ids=str,
)
def test_sizes_that_do_not_fit_are_refused_in_one_line(settings, size, message):
    config = AugmentationConfig(early_image_sizes=(16, 24), **settings)
    with pytest.raises(ConfigError, match=message) as caught:
        view_sizes.check(config, size)
    assert "\n" not in str(caught.value)
    assert "--early_image_sizes=16,24" in str(caught.value)


def test_what_is_drawn_for_a_view_does_not_depend_on_its_size():
    for seed in range(10):
        small, large = (
            augmentations.describe_view(
                [37, 50, 3], seed=tf.constant([seed, 1]), image_size=side
            )
            for side in (20, 32)
        )
        assert small == large and len(small) == 8


def test_sizes_that_fit_are_accepted():
    local = {"num_local_views": 2, "local_image_size": 12}
    config = AugmentationConfig(early_image_sizes=(16, 24), **local)
    view_sizes.check(config, (32, 32))
    view_sizes.check(AugmentationConfig(num_local_views=2), (32, 48))
