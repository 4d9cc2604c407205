"""What a ViewSpec takes from the settings, and what it draws."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import augmentations
from simclr_tf2.config import AugmentationConfig
from simclr_tf2.data.views import ViewSpec

SEED = tf.constant([3, 4])
IMAGE = np.random.default_rng(0).integers(0, 256, [9, 11, 3], np.uint8)
SETTINGS = AugmentationConfig(
    color_jitter_strength=0.25,
    use_blur=False,
    num_views=3,
    num_local_views=2,
    local_image_size=(4, 6),
    augment_on="device",
)


def test_training_views_are_those_of_the_settings():
    assert ViewSpec.for_training(SETTINGS, (8, 10), backend="numba") == ViewSpec(
        image_size=(8, 10),
        strength=0.25,
        use_blur=False,
        num_views=3,
        num_local_views=2,
        local_image_size=(4, 6),
        backend="numba",
        on_device=True,
    )


def test_pairs_are_two_whole_views_whatever_training_draws():
    found = ViewSpec.for_pairs(SETTINGS, 8)
    assert found == ViewSpec(image_size=8, strength=0.25, use_blur=False)
    assert set(found.draw(IMAGE, SEED)) == {"views"}
    assert len(found.draw(IMAGE, SEED)["views"]) == 2


def test_local_views_are_small_and_drawn_with_a_seed_of_their_own():
    local = {"num_local_views": 1, "local_image_size": 8}
    spec = ViewSpec(image_size=8, strength=0.5, use_blur=False, **local)
    drawn = spec.draw(IMAGE, SEED)
    views = augmentations.views(
        IMAGE, seed=SEED, num_views=2, image_size=8, strength=0.5, use_blur=False
    )
    for view, expected in zip(drawn["views"], views, strict=True):
        np.testing.assert_array_equal(view, expected)
    (small,) = drawn["local_views"]
    assert not any(np.array_equal(small, view) for view in views)


@pytest.mark.parametrize(("on_device", "keys"), [(True, 4), (False, 2)])
def test_a_device_that_finishes_views_gets_what_was_drawn(on_device, keys):
    spec = ViewSpec(
        image_size=8,
        strength=0.5,
        use_blur=False,
        num_local_views=1,
        local_image_size=5,
        on_device=on_device,
    )
    found = spec.draw(IMAGE, SEED)
    assert len(found) == keys
    assert ("draws" in found) == ("local_draws" in found) == on_device


def test_numba_alone_draws_many_images_at_once():
    spec = {"image_size": 8, "strength": 0.5, "use_blur": False}
    assert ViewSpec(**spec, backend="numba").can_draw_at_once
    assert not ViewSpec(**spec, backend="tf").can_draw_at_once
