"""Features on all replicas: the same numbers, each image once, kept under one key."""

import keras
import numpy as np
import pytest

from simclr_tf2 import config as config_lib
from simclr_tf2 import distribution, models
from simclr_tf2.config import ModelConfig
from simclr_tf2.data import datasets
from simclr_tf2.evaluation.features import depths, extractor
from tests.support.subjects import conditions_of


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(3)
    model = models.build_simclr(
        ModelConfig(resnet_depth=10, width_multiplier=0.125, stem="stride2"),
        image_size=32,
        export=True,
    )
    for weight in model.backbone.weights:  # statistics that are not 0 and 1
        if "moving_variance" in weight.path:
            weight.assign(np.random.default_rng(0).uniform(0.5, 1.5, weight.shape))
    return model.backbone


@pytest.fixture
def split(data_dir):
    return datasets.open_split("simclr_shapes/tiny", "test", data_dir=str(data_dir))


def features(encoder, split, strategy, monkeypatch, *, folder=None, limit=37):
    monkeypatch.setattr(distribution, "local_strategy", lambda _: strategy)
    config = config_lib.from_flat({"image_size": 32, "eval_batch_size": 8})
    make = conditions_of(config).features_of(folder)
    return make(encoder, split, limit)


class OneDevice:
    num_replicas_in_sync = 1


@pytest.mark.parametrize("kept", [False, True])
def test_two_replicas_give_what_one_device_gives(
    encoder, split, two_replicas, monkeypatch, tmp_path, kept
):
    one, two = (
        features(
            models.build_encoder(encoder),
            split,
            strategy,
            monkeypatch,
            folder=tmp_path / name if kept else None,
        )
        for name, strategy in (("one", OneDevice()), ("two", two_replicas))
    )
    assert len(one) == len(two) == 37  # 4 batches of 8 and one of 5
    np.testing.assert_array_equal(one.labels, two.labels)
    assert one.features.std() > 0.01
    np.testing.assert_allclose(one.features, two.features, rtol=1e-5, atol=1e-6)
    if kept:  # one key: features of two replicas are found by one, and the reverse
        names = [
            [p.name for p in (tmp_path / n / "features").iterdir()]
            for n in ("one", "two")
        ]
        assert names[0] == names[1]


@pytest.mark.slow
def test_the_network_of_five_depths_is_copied_to_replicas_too(
    encoder, split, two_replicas, monkeypatch
):
    stages = depths.stage_model(encoder)
    joined = keras.Model(
        stages.input, keras.ops.concatenate(stages.outputs, axis=-1), name="stages"
    )
    one, two = (
        features(joined, split, strategy, monkeypatch, limit=11)
        for strategy in (OneDevice(), two_replicas)
    )
    np.testing.assert_allclose(one.features, two.features, rtol=1e-5, atol=1e-6)


def test_the_original_is_not_moved_and_the_copy_is_its_own(encoder, two_replicas):
    copy = extractor.replicated(encoder, two_replicas)
    before = [w.numpy() for w in encoder.weights]
    for mine, theirs in zip(copy.weights, encoder.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    copy.weights[0].assign(0 * copy.weights[0])
    for old, weight in zip(before, encoder.weights, strict=True):
        np.testing.assert_array_equal(old, weight.numpy())
