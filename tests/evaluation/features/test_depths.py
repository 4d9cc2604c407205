import json

import keras
import numpy as np
import pytest

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import Features
from simclr_tf2.evaluation.features.depths import (
    GRIDS,
    STAGES,
    feature5_model,
    pool_to,
    split_stages,
    stage_grids,
    stage_model,
)
from simclr_tf2.evaluation.protocols.depths import five_linear
from simclr_tf2.models.resnet import build_encoder, build_resnet
from tests.evaluation.clusters import clusters

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("size", "grid", "kernel", "stride", "padding"),
    [
        (112, 12, 10, 10, 4),
        (56, 6, 16, 8, 0),
        (28, 4, 13, 5, 0),
        (14, 3, 8, 3, 0),
        (7, 2, 6, 1, 0),
    ],
)
def test_maps_of_224_pixels_are_pooled_as_the_benchmark_does(
    size, grid, kernel, stride, padding
):
    x = RNG.normal(size=(2, size, size, 3)).astype(np.float32)
    sides = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    expected = keras.ops.average_pool(np.pad(x, sides), kernel, stride, padding="valid")
    assert expected.shape == (2, grid, grid, 3)
    np.testing.assert_allclose(pool_to(x, (grid, grid)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "grid"),
    [(13, 8, (5, 3)), (12, 12, (12, 12)), (32, 16, (12, 6)), (7, 7, (3, 7))],
)
def test_other_maps_are_pooled_adaptively_over_all_rows(height, width, grid):
    x = RNG.normal(size=(2, height, width, 3)).astype(np.float32)
    expected = np.zeros((2, *grid, 3))
    for i in range(grid[0]):
        for j in range(grid[1]):
            rows = slice(i * height // grid[0], -(-(i + 1) * height // grid[0]))
            columns = slice(j * width // grid[1], -(-(j + 1) * width // grid[1]))
            expected[:, i, j] = x[:, rows, columns].mean((1, 2))
    np.testing.assert_allclose(pool_to(x, grid), expected, atol=1e-6)


def test_grids_are_those_of_the_benchmark_or_the_map():
    assert GRIDS == (12, 6, 4, 3, 2)
    large = [(s, s, 1) for s in (112, 56, 28, 14, 7)]
    assert stage_grids(large) == [(g, g) for g in GRIDS]
    small = [(32, 10, 1), (32, 32, 1), (16, 16, 1), (2, 2, 1), (1, 1, 1)]
    assert stage_grids(small) == [(12, 10), (6, 6), (4, 4), (2, 2), (1, 1)]


def test_stages_of_a_224_pixel_network_have_the_benchmarks_sizes():
    """With basic blocks; bottlenecks have four times the channels from feature2 on."""
    model = stage_model(build_resnet(10, image_size=224))
    dims = [out.shape[1] for out in model.outputs]
    assert dims == [9216, 9216 // 4, 8192 // 4, 9216 // 4, 8192 // 4]


@pytest.mark.parametrize(
    "settings",
    [
        {"stem": "imagenet"},
        {"stem": "cifar"},
        {"sk_ratio": 0.0625},
        {"stem": "imagenet", "dtype": "mixed_bfloat16"},
    ],
)
def test_stages_are_the_stem_after_relu_and_the_four_groups(settings):
    backbone = build_resnet(10, width_multiplier=0.05, image_size=33, **settings)
    for variable in backbone.non_trainable_variables:  # moving means and variances
        if "moving_mean" in variable.path:
            variable.assign(RNG.normal(0, 0.1, variable.shape))
    images = RNG.uniform(size=(3, 33, 33, 3)).astype(np.float32)
    stages = stage_model(backbone)(images, training=False)
    last = 3 if "sk_ratio" in settings else 1
    stem = keras.Model(
        backbone.input,
        backbone.get_layer(f"stem_batch_normalization_{last}").output,
    )
    out = backbone(images, training=False)
    maps = [keras.ops.relu(stem(images, training=False))]
    maps += [out[f"block_group{group}"] for group in range(1, 5)]
    grids = stage_grids([x.shape[1:] for x in maps])
    for found, x, grid in zip(stages, maps, grids, strict=True):
        expected = np.asarray(pool_to(x, grid)).reshape(3, -1)
        assert found.dtype == "float32" and np.ptp(expected) > 0
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len({tuple(np.ravel(x)[:4].tolist()) for x in stages}) == 5


@pytest.mark.parametrize("size", [None, (32, None)])
def test_a_network_of_any_image_size_is_refused(size):
    with pytest.raises(ConfigError, match="fixed image size"):
        stage_model(build_resnet(10, width_multiplier=0.05, image_size=size))


def test_a_network_that_is_no_resnet_is_refused():
    images = keras.Input((8, 8, 3))
    other = keras.Model(images, keras.layers.Flatten()(images), name="flat")
    with pytest.raises(ConfigError, match="block groups.*'flat'"):
        stage_model(other)
    groups = {f"block_group{group}": images for group in range(1, 5)}
    with pytest.raises(ConfigError, match="the stem.*stem_batch_normalization_1_relu"):
        stage_model(keras.Model(images, groups))


def test_a_grid_larger_than_the_map_is_refused():
    with pytest.raises(ConfigError, match="cannot be pooled to 5"):
        pool_to(np.zeros((1, 4, 4, 1), np.float32), (4, 5))


def stages(n, *, seed, classes=3, noise=1.5):
    """Five sets of features of the same examples; each depth of another size."""
    first = clusters(n, classes=classes, seed=seed, noise=noise)
    return [
        Features(first.features[:, : 1 + depth] * 3.0**depth + depth, first.labels)
        for depth in range(5)
    ]


def alone(train, test, number, *, seed, epochs, batch, marks):
    """One head in float64, written out: batch norm, softmax, Nesterov SGD with l2."""
    x, y = train.features.astype(np.float64), train.labels
    n, classes = len(y), int(y.max()) + 1
    draw = keras.initializers.RandomNormal(stddev=0.01, seed=5 * seed + number)
    w = np.array(draw((x.shape[1], classes)), np.float64)
    b = np.zeros(classes)
    mw, mb, mean, variance = np.zeros_like(w), np.zeros(classes), 0.0, 1.0
    rng, stream = np.random.default_rng(seed), np.empty(0, int)
    for step in range(n * epochs // batch + 1):
        if len(stream) < batch:
            stream = np.concatenate([stream, rng.permutation(n)])
        rows, stream = stream[:batch], stream[batch:]
        part = x[rows]
        mean = 0.9 * mean + 0.1 * part.mean(0)
        variance = 0.9 * variance + 0.1 * part.var(0)
        part = (part - part.mean(0)) / np.sqrt(part.var(0) + 1e-5)
        p = np.exp(part @ w + b)
        p /= p.sum(1, keepdims=True)
        loss = -np.log(p[np.arange(batch), y[rows]]).mean()
        p[np.arange(batch), y[rows]] -= 1
        gw, gb = part.T @ p / batch + 1e-2 * w, p.mean(0) + 1e-2 * b
        rate = 0.05 * 0.1 ** sum(step >= mark for mark in marks)
        mw, mb = 0.9 * mw - rate * gw, 0.9 * mb - rate * gb
        w, b = w + 0.9 * mw - rate * gw, b + 0.9 * mb - rate * gb
    return (test.features - mean) / np.sqrt(variance + 1e-5) @ w + b, loss


def test_each_of_five_heads_trains_as_if_alone():
    train, test = stages(35, seed=1), stages(90, seed=2)
    found = five_linear(
        train,
        test,
        seed=4,
        epochs=6,
        milestones=(2, 4),
        global_batch_size=7,
        learning_rate=0.05,
        weight_decay=1e-2,
    )
    assert list(found["stages"]) == list(STAGES) and found["steps"] == 31
    losses = []
    for number, (name, one) in enumerate(found["stages"].items()):
        scores, loss = alone(
            train[number],
            test[number],
            number,
            seed=4,
            epochs=6,
            batch=7,
            marks=(10, 20),
        )
        np.testing.assert_array_equal(one["predictions"], scores.argmax(1), name)
        assert one["top1"] == (one["predictions"] == test[0].labels).mean()
        assert one["dim"] == number + 1
        losses.append(loss)
    assert found["loss"] == pytest.approx(sum(losses), rel=2e-5)
    tops = [one["top1"] for one in found["stages"].values()]
    assert 0.3 < min(tops) < max(tops)


def test_same_seed_same_loss_another_seed_another():
    train, test = stages(20, seed=1), stages(9, seed=2)
    losses = [five_linear(train, test, seed=s, epochs=2)["loss"] for s in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_top5_counts_the_five_best_of_seven_classes():
    train = stages(70, seed=1, classes=7, noise=0.5)
    test = stages(50, seed=2, classes=7, noise=0.5)
    found = five_linear(train, test, seed=0, epochs=5, global_batch_size=10)
    for one in found["stages"].values():
        assert one["top1"] < one["top5"] <= 1
        assert one.pop("predictions").shape == (50,)
    assert isinstance(json.dumps(found), str)


def test_stages_stored_side_by_side_are_split_without_a_copy(tmp_path):
    one = stages(9, seed=1)
    joined = np.concatenate([split.features for split in one], axis=1)
    np.save(tmp_path / "x.npy", joined)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    found = split_stages(Features(mapped, one[0].labels), [1, 2, 3, 4, 5])
    for part, expected in zip(found, one, strict=True):
        np.testing.assert_array_equal(part.features, expected.features)
        assert np.shares_memory(part.features, mapped)
    with pytest.raises(ConfigError, match="side by side"):
        split_stages(Features(mapped, one[0].labels), [1, 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda train, test: (train[:4], test), "5 depths"),
        (
            lambda train, test: ([*train[:4], stages(20, seed=3)[4]], test),
            "feature5 of",
        ),
        (lambda train, test: (train, [*test[:4], test[0]]), "one dimension"),
        (
            lambda train, test: (
                [Features(x.features, 0 * x.labels) for x in train],
                test,
            ),
            "one class",
        ),
    ],
)
def test_stages_that_do_not_fit_together_are_one_clear_line(change, message):
    with pytest.raises(ConfigError, match=message) as error:
        five_linear(*change(stages(20, seed=1), stages(9, seed=2)), seed=0, epochs=1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"milestones": (2, 1)}, "ascend"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"epochs": 0}, "epochs"),
        ({"global_batch_size": 0}, "batch"),
    ],
)
def test_bad_settings_are_one_clear_line(kwargs, message):
    settings = {"seed": 0, "epochs": 1} | kwargs
    with pytest.raises(ConfigError, match=message):
        five_linear(stages(20, seed=1), stages(9, seed=2), **settings)


@pytest.mark.parametrize("known_size", [True, False])
def test_feature5_is_the_fifth_of_the_stages(known_size):
    backbone = build_resnet(10, width_multiplier=0.125, stem="stride2", image_size=96)
    encoder = backbone
    if not known_size:
        encoder = build_resnet(
            10, width_multiplier=0.125, stem="stride2", image_size=None
        )
        encoder.set_weights(backbone.get_weights())
    images = RNG.random((3, 96, 96, 3)).astype(np.float32)
    expected = stage_model(backbone)(images, training=False)[4]
    found = feature5_model(build_encoder(encoder), 96)(images, training=False)
    assert found.shape == (3, 4 * 64)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_feature5_of_resnet50_at_224_pixels_has_8192_numbers_in_2x2_windows_of_6():
    backbone = build_resnet(50, image_size=224)
    model = feature5_model(build_encoder(backbone), 224)
    assert model.output_shape == (None, 8192)
    assert backbone.output["block_group4"].shape == (None, 7, 7, 2048)


def test_feature5_of_a_foreign_network_is_one_clear_line():
    images = keras.Input((8, 8, 3))
    foreign = keras.Model(images, keras.layers.Flatten()(images))
    with pytest.raises(ConfigError, match="final_avg_pool.*--svm_features=h") as caught:
        feature5_model(foreign, 8)
    assert "\n" not in str(caught.value)
