"""describe_view says what pretrain_view does: rebuilt from it, the view is the same."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import augmentations
from simclr_tf2.augmentations import blur, color, crop

RANDOM = np.random.default_rng(0)


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
    view = view[:, ::-1] if drawn["flip"] else view
    if drawn["jitter"] is not None:
        order = [*drawn["jitter"]]
        names = ["brightness", "contrast", "saturation", "hue"]
        rest = [name for name in names if name not in order]
        index = color.ORDERS.index(tuple(names.index(n) for n in [*order, *rest]))
        amounts = {"saturation": 1.0, "hue": 0.0, **drawn["jitter"]}
        view = color.color_jitter(view, order=index, **amounts)
    view = color.to_grayscale(view) if drawn["grayscale"] else view
    view = tf.clip_by_value(view, 0, 1)
    if drawn["blur"] is not None:
        radius = blur.blur_radius(size[0])
        view = blur.gaussian_blur(view, drawn["blur"], radius=radius)
    return tf.clip_by_value(view, 0, 1)


@pytest.mark.parametrize(
    ("channels", "size", "kwargs"),
    [
        (3, (24, 24), {}),
        (3, (70, 61), {"strength": 0.5}),
        (3, (24, 24), {"use_blur": False}),
        (3, (15, 15), {"strength": 0.0}),  # too small for a blur
        (4, (24, 31), {}),
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
