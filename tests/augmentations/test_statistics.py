"""Distributions, against 20,000 draws of the reference code or a closed form.

Seeds are fixed, so a test passes always or never. Every comparison is made at a
two-sided level of ALPHA = 1e-4; there are about 300, so that a correct sampler would
fail at some seed in 3 % of choices.
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from simclr_tf2.augmentations import ViewRules, blur, color, crop, policy, sampling

ALPHA = 1e-4
Z = stats.norm.ppf(1 - ALPHA / 2)
REFERENCE_DRAWS = 20_000
DRAWS = 3000
LEVELS = np.array([1, 5, 25, 50, 75, 95, 99]) / 100


def assert_same_distribution(sample, expected):
    """Mean and seven quantiles agree; values that occur often are allowed for."""
    sample = np.asarray(sample, np.float64)
    share = 1 / len(sample) + 1 / REFERENCE_DRAWS
    error = abs(sample.mean() - expected["mean"])
    assert error < Z * expected["std"] * share**0.5
    quantiles = np.array(expected["quantiles_1_5_25_50_75_95_99"])
    margin = Z * np.sqrt(LEVELS * (1 - LEVELS) * share)
    slack = 1e-5
    up_to = [(sample <= q + slack).mean() for q in quantiles]
    below = [(sample < q - slack).mean() for q in quantiles]
    assert np.all(up_to > LEVELS - margin), (up_to, LEVELS)
    assert np.all(below < LEVELS + margin), (below, LEVELS)


def assert_share(events, probability):
    events = np.asarray(events, bool)
    test = stats.binomtest(int(events.sum()), events.size, probability)
    assert test.pvalue > ALPHA, (events.mean(), probability)


@pytest.fixture
def whole_image(monkeypatch):
    """Views without a random crop."""

    def window(image, *, seed, image_size, rules):
        return tf.cast(image, tf.float32)

    monkeypatch.setattr(policy, "_random_window", window)


@pytest.mark.golden
@pytest.mark.parametrize("shape", ["32x32", "28x28", "224x224", "375x500", "500x375"])
def test_crop_windows_are_distributed_like_the_reference(statistics, draw_many, shape):
    expected = statistics[f"crop_{shape}"]
    height, width = map(int, shape.split("x"))
    begin, size = draw_many(
        lambda seed: crop.sample_crop_window([height, width, 3], seed=seed), DRAWS
    )
    rows, columns = size[:, 0], size[:, 1]
    area = rows * columns / (height * width)
    assert area.min() >= 0.1
    assert np.all(begin[:, :2] >= 0) and np.all(begin + size <= [height, width, 3])
    assert_same_distribution(area, expected["area_fraction"])
    assert_same_distribution(columns / rows, expected["aspect_w_over_h"])
    assert_same_distribution(np.log(columns / rows), expected["log_aspect"])
    for axis, name in enumerate(["centre_y", "centre_x"]):
        centre = (begin[:, axis] + size[:, axis] / 2) / (height, width)[axis]
        assert_same_distribution(centre, expected[name])


def test_crop_aspect_follows_the_target_aspect(draw_many):
    _, size = draw_many(
        lambda seed: crop.sample_crop_window([90, 90, 3], seed=seed, aspect=2.0), 300
    )
    aspect = size[:, 1] / size[:, 0]
    assert aspect.min() > 1.45 and aspect.max() < 2.75
    assert aspect.mean() > 1.9


@pytest.mark.golden
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_colours_are_distributed_like_the_reference(
    golden, statistics, draw_many, whole_image, strength
):
    expected = statistics[f"color_strength{strength}"]
    image = golden["image_32x32"]
    views = draw_many(
        lambda seed: policy.pretrain_view(
            image, seed=seed, image_size=32, strength=strength, use_blur=False
        ),
        DRAWS,
    )
    assert_same_distribution(views.mean((1, 2, 3)), expected["image_mean"])
    assert_same_distribution(views.std((1, 2, 3)), expected["image_std"])
    gray = np.all(np.ptp(views, axis=-1) < 1e-6, axis=(1, 2))
    source = image / 255
    same = [
        np.all(abs(views - x) < 1e-6, axis=(1, 2, 3)) for x in (source, source[:, ::-1])
    ]
    assert_share(gray, 0.2)
    assert_share(same[0] | same[1], 0.2 * 0.8)


@pytest.mark.golden
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_views_are_distributed_like_the_reference(
    golden, statistics, draw_many, strength
):
    expected = statistics[f"full_train_preprocess_strength{strength}"]
    first, second = draw_many(
        lambda seed: policy.two_views(
            golden["image_32x32"],
            seed=seed,
            image_size=32,
            strength=strength,
            use_blur=False,
        ),
        DRAWS,
    )
    for views in (first, second):
        assert_same_distribution(views.mean((1, 2, 3)), expected["image_mean"])
        assert_same_distribution(views.std((1, 2, 3)), expected["image_std"])
    means = first.mean((1, 2, 3)), second.mean((1, 2, 3))
    assert abs(np.corrcoef(*means)[0, 1]) < Z / DRAWS**0.5


@pytest.mark.golden
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_amounts_are_uniform_over_their_ranges(statistics, draw_many, strength):
    def draw(seed):
        drawn = sampling.draw(seed, strength)._asdict()
        return {name: value for name, value in drawn.items() if value is not None}

    draws = draw_many(draw, DRAWS)
    amounts = draws["jitter_amounts"]
    expected = statistics[f"brightness_v2_factor_strength{strength}"]
    for factors in amounts.T[:3]:
        assert_same_distribution(factors, expected)
    hue = stats.uniform(-0.2 * strength, 0.4 * strength)
    assert stats.kstest(amounts[:, 3], hue.cdf).pvalue > ALPHA
    orders = np.bincount(draws["jitter_order"], minlength=26) / DRAWS
    assert_share(draws["jitter_order"] < 24, 0.8)
    assert_share(draws["jitter_order"] == color.GRAYSCALE_ONLY, 0.2 * 0.2)
    assert abs(orders[:24] - 0.8 / 24).max() < 5 * (0.8 / 24 / DRAWS) ** 0.5
    matrix = np.column_stack(
        [amounts, draws["flip"], draws["skip_blur"], draws["blur_sigma"]]
    )
    correlation = np.corrcoef(matrix, rowvar=False) - np.eye(7)
    assert abs(correlation).max() < Z / DRAWS**0.5


def test_factors_do_not_become_negative_at_great_strength():
    assert [low for low, _ in color.amount_ranges(2.0)[:3]] == [0, 0, 0]


def test_probabilities_of_flip_grayscale_and_blur(golden, draw_many, whole_image):
    image = golden["image_32x32"]
    views = draw_many(
        lambda seed: policy.pretrain_view(
            image, seed=seed, image_size=32, strength=0.0
        ),
        DRAWS,
    )
    gray = np.all(np.ptp(views, axis=-1) < 1e-6, axis=(1, 2))
    luma = (views @ [0.2989, 0.587, 0.114]).astype(np.float32)
    expected = image / 255 @ [0.2989, 0.587, 0.114]
    flipped = abs(luma - expected[:, ::-1]).mean((1, 2)) < abs(luma - expected).mean(
        (1, 2)
    )
    aligned = np.where(flipped[:, None, None], luma[:, :, ::-1], luma)
    blurred = abs(aligned - expected).max((1, 2)) > 1e-3
    # Of sigmas up to 0.2 the neighbour's weight is below 4e-6: they show no blur.
    visible = 1 - (0.2 - 0.1) / 1.9
    assert_share(gray, 0.2)
    assert_share(flipped, 0.5)
    assert 0.5 * visible - 0.06 < blurred.mean() < 0.53
    for one, other in [(gray, flipped), (gray, blurred), (flipped, blurred)]:
        assert abs(np.corrcoef(one, other)[0, 1]) < Z / DRAWS**0.5


def test_all_24_orders_occur_equally_often_across_examples(
    golden, draw_many, whole_image, monkeypatch
):
    ranges = [(x, x) for x in (1.4, 0.6, 1.5, 0.1)]
    monkeypatch.setattr(color, "amount_ranges", lambda strength: ranges)
    rules = ViewRules(
        grayscale_probability=0.0, jitter_probability=1.0, flip_probability=0.0
    )
    image = golden["image_float_32x32"]
    views = draw_many(
        lambda seed: policy.pretrain_view(
            image, seed=seed, image_size=32, use_blur=False, rules=rules
        ),
        1200,
    )
    names = ["".join(map(str, order)) for order in color.ORDERS]
    results = np.stack([golden[f"jitter_perm{name}"] for name in names])
    distance = np.stack([abs(views - x).max((1, 2, 3)) for x in results], axis=1)
    assert distance.min(1).max() < 1e-5  # every view is the reference's, in some order
    # Some orders give the same image: each is then counted at the first of them.
    equal = abs(results[:, None] - results[None]).max((2, 3, 4)) < 1e-5
    first = equal.argmax(1)
    observed = np.bincount(first[distance.argmin(1)], minlength=24)
    expected = np.bincount(first, minlength=24) * len(views) / 24
    some = expected > 0
    assert some.sum() > 12
    assert stats.chisquare(observed[some], expected[some]).pvalue > ALPHA


def test_blur_sigma_is_uniform_and_of_each_example_alone(draw_many, whole_image):
    rules = ViewRules(grayscale_probability=0.0)
    impulse = np.zeros((20, 20, 3), np.float32)
    impulse[10, 10] = 1
    views = draw_many(
        lambda seed: policy.pretrain_view(
            impulse, seed=seed, image_size=20, strength=0.0, rules=rules
        ),
        DRAWS,
    )
    centre = np.sqrt(views[:, 9:11, 9:11].max((1, 2, 3)).astype(np.float64))
    neighbour = (1 / centre - 1) / 2
    seen = neighbour > np.exp(-0.5 / 0.3**2)
    sigma = np.sqrt(-0.5 / np.log(neighbour[seen]))
    assert len(np.unique(np.round(sigma, 5))) > 0.95 * len(sigma)
    assert stats.kstest(sigma, stats.uniform(0.3, 1.7).cdf).pvalue > ALPHA
    assert_share(seen, blur.PROBABILITY * 1.7 / 1.9)
