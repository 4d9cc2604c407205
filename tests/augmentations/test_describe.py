"""describe_view says what pretrain_view does: rebuilt from it, the view is the same."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import augmentations
from simclr_tf2.augmentations import blur, color, crop
from simclr_tf2.augmentations import planes as layout

RANDOM = np.random.default_rng(0)
OPERATIONS = {
    "brightness": color.adjust_brightness,
    "added brightness": color.add_brightness,
    "contrast": color.adjust_contrast,
    "saturation": color.adjust_saturation,
    "hue": color.adjust_hue,
}
EVERYTHING = augmentations.ViewRules(
    crop_area=(0.3, 0.6),
    crop_aspect=(0.5, 1.0),
    vertical_flip_probability=0.5,
    quarter_turns=True,
    additive_brightness=True,
    blur_sigma=(0.5, 1.0),
    solarize_probability=0.5,
    solarize_threshold=0.6,
)
NOT_SQUARE = dataclasses.replace(EVERYTHING, quarter_turns=False)


def rebuild(image, drawn, size):
    """Do what a description says with the single operations, one after another."""
    y, x, height, width = drawn["crop"]
    view = crop.crop_and_resize(
        tf.constant(image),
        [y, x, 0],
        [height, width, -1],
        height=size[0],
        width=size[1],
    )
    view = view.numpy()
    view = np.fliplr(view) if drawn["flip"] else view
    view = np.flipud(view) if drawn["vertical_flip"] else view
    view = tf.constant(np.rot90(view, drawn["turn"] // 90))
    for name, amount in (drawn["jitter"] or {}).items():
        planes = OPERATIONS[name](layout.to_planes(view), amount)
        view = layout.to_image(planes, height=view.shape[0], width=view.shape[1])
        view = tf.clip_by_value(view, 0, 1)
    view = color.to_grayscale(view) if drawn["grayscale"] else view
    view = tf.clip_by_value(view, 0, 1)
    if drawn["blur"] is not None:
        radius = blur.blur_radius(size[0])
        view = blur.gaussian_blur(view, drawn["blur"], radius=radius)
    view = np.clip(view, 0, 1)
    if drawn["solarize"] is not None:
        view = np.where(view >= drawn["solarize"], 1 - view, view)
    return view


@pytest.mark.parametrize(
    ("channels", "size", "kwargs"),
    [
        (3, (24, 24), {}),
        (3, (70, 61), {"strength": 0.5}),
        (3, (24, 24), {"use_blur": False}),
        (3, (15, 15), {"strength": 0.0}),  # too small for a blur
        (4, (24, 31), {}),
        (3, (24, 24), {"rules": EVERYTHING}),
        (3, (70, 70), {"rules": EVERYTHING}),
        (1, (24, 24), {"rules": EVERYTHING}),
        (4, (70, 66), {"rules": NOT_SQUARE}),
    ],
)
def test_views_are_made_of_what_is_described(channels, size, kwargs, draw_many):
    image = RANDOM.integers(0, 256, (25, 37, channels), np.uint8)
    views = draw_many(
        lambda s: augmentations.pretrain_view(image, seed=s, image_size=size, **kwargs),
        14,
    )
    for i in range(14):
        drawn = augmentations.describe_view(
            image.shape, seed=[0, i], image_size=size, **kwargs
        )
        np.testing.assert_allclose(rebuild(image, drawn, size), views[i], atol=5e-6)


def test_view_seeds_describe_both_views_of_an_image():
    image = RANDOM.integers(0, 256, (25, 37, 3), np.uint8)
    for i in range(3):
        views = augmentations.two_views(image, seed=[7, i], image_size=24)
        seeds = augmentations.view_seeds([7, i])
        for view, seed in zip(views, seeds, strict=True):
            drawn = augmentations.describe_view(image.shape, seed=seed, image_size=24)
            np.testing.assert_allclose(rebuild(image, drawn, (24, 24)), view, atol=5e-6)


def test_descriptions_hold_plain_values_and_every_outcome_occurs():
    drawn = [
        augmentations.describe_view((25, 37, 3), seed=[1, i], image_size=24)
        for i in range(60)
    ]
    for name, kind in {"flip": bool, "grayscale": bool, "crop": tuple}.items():
        assert all(type(d[name]) is kind for d in drawn)
        assert len({d[name] for d in drawn}) > 1
    assert {type(d["blur"]) for d in drawn} == {float, type(None)}
    assert {type(d["jitter"]) for d in drawn} == {dict, type(None)}
    assert len({tuple(d["jitter"]) for d in drawn if d["jitter"]}) > 10  # orders
    amounts = [v for d in drawn if d["jitter"] for v in d["jitter"].values()]
    assert all(type(v) is float for v in amounts)
