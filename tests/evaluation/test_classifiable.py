"""Which pairs of splits a classifier can be fitted on, and how they are scaled."""

import logging

import numpy as np
import pytest

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import classifiable
from simclr_tf2.evaluation.features.extraction import Features


def features(labels, *, dim=3, scaler="", name=""):
    labels = np.asarray(labels)
    rows = np.random.default_rng(len(labels)).normal(2, 5, (len(labels), dim))
    return Features(rows.astype(np.float32), labels, name, scaler)


GOOD = features([0, 1, 1, 2])


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (features([0, 0]), GOOD, "2 images of one class \\(label 0\\)"),
        (GOOD, features(np.zeros(0, int)), "the test split has no image"),
        (features([0, 1, -1]), GOOD, "1 of 3 images of the train split have no label"),
        (GOOD, features([0, 1], dim=4), "one dimension. Received: 3 and 4"),
        (features([[0, 1]]), GOOD, "2 yes-or-no labels an image"),
        (features([0], name="train[:1]"), GOOD, "the train split has 1 images of one"),
    ],
)
def test_splits_that_no_classifier_can_use_are_refused(train, test, message):
    with pytest.raises(ConfigError, match=message):
        classifiable.require_classifiable(train, test)


def test_a_class_that_only_test_has_is_said_and_one_that_it_lacks_is_not(caplog):
    with caplog.at_level(logging.WARNING):
        classifiable.require_classifiable(GOOD, features([0, 1]))
        assert not caplog.records
        classifiable.require_classifiable(GOOD, features([0, 5, 7]))
    assert "2 class(es) of the test split" in caplog.text and "5, 7" in caplog.text


def test_all_classes_are_those_of_both_splits():
    found = classifiable.all_classes(GOOD, features([5, 1]))
    assert found.tolist() == [0, 1, 2, 5]


def test_the_scaler_learns_mean_and_deviation_from_train_alone():
    test = features([0, 1, 2])
    found = classifiable.standardize(GOOD, test)
    mean, deviation = GOOD.features.mean(axis=0), GOOD.features.std(axis=0)
    for scaled, split in zip(found, (GOOD, test), strict=False):
        expected = (split.features - mean) / deviation
        np.testing.assert_allclose(scaled, expected, rtol=1e-5, atol=1e-5)
    assert found[2] == "StandardScaler"


def test_scaled_features_are_not_scaled_again():
    train, test = (features([0, 1, 2], scaler="before") for _ in range(2))
    found = classifiable.standardize(train, test)
    assert found == (train.features, test.features, "before")
    with pytest.raises(ConfigError, match="scaled alike"):
        classifiable.standardize(train, GOOD)
