"""Settings fitted to a user's images: the smallest cases by hand, the rest by rule."""

import pytest

from simclr_tf2.data import fitting


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (500, 375, 224),
        (224, 300, 224),
        (223, 300, 96),
        (95, 400, 64),
        (32, 32, 32),
        (20, 28, 32),
    ],
)
def test_an_image_size_is_the_largest_that_enlarges_no_typical_image(
    height, width, expected
):
    assert fitting.image_size(height, width) == expected


@pytest.mark.parametrize("replicas", [1, 2, 3, 8])
def test_a_batch_leaves_four_steps_and_is_a_multiple_of_the_replicas(replicas):
    for images in (1, 15, 63, 64, 65, 127, 1000, 2047, 2048, 10**6):
        batch = fitting.batch_size(images, replicas=replicas)
        assert 1 <= batch <= min(images, 512)
        assert images < 64 or 4 * batch <= images
        assert batch % replicas == 0 or batch < replicas or images < replicas
        if (
            images >= 64 and batch + replicas <= 512
        ):  # the next power of two would leave fewer
            assert 4 * 2 * (batch + replicas) > images


def test_images_are_held_out_where_there_are_enough_of_them_without_labels():
    assert fitting.valid_size(400, labelled=False) == 0.05
    assert fitting.valid_size(399, labelled=False) == 0
    assert fitting.valid_size(10**6, labelled=True) == 0
    assert fitting.left_to_train_on(400, 0.05) == 380
    assert fitting.left_to_train_on(401, 0) == 401


def test_views_are_blurred_if_a_side_is_above_32_pixels():
    found = [fitting.use_blur(*size) for size in ((32, 32), (32, 33), (40, 20))]
    assert found == [False, True, True]
