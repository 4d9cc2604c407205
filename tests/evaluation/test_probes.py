import logging

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, top_k_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import (
    Features,
    logistic_regression,
    pca256,
    standardized_knn,
)
from simclr_tf2.evaluation.protocols import logistic
from simclr_tf2.evaluation.scoring import interval95
from simclr_tf2.protocols import PROTOCOLS, load, on_features
from tests.evaluation.clusters import clusters

EVALUATORS = {name: load(PROTOCOLS[name].measure) for name in on_features(PROTOCOLS)}

SKLEARN = {
    "logreg": lambda: LogisticRegression(C=1.0, max_iter=1200),
    "knn": lambda: KNeighborsClassifier(10),
}

TABLE = ("logreg", "knn")  # of the published STL-10 tables: on standardised h


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("protocol", TABLE)
def test_predictions_equal_a_scikit_learn_pipeline(protocol, classes):
    train = clusters(70, classes=classes, noise=1.5, seed=1)
    test = clusters(50, classes=classes, noise=1.5, seed=2)
    found = EVALUATORS[protocol](train, test, seed=0)
    oracle = make_pipeline(StandardScaler(), SKLEARN[protocol]())
    oracle.fit(train.features, train.labels)
    np.testing.assert_array_equal(found["predictions"], oracle.predict(test.features))
    assert found["top1"] == pytest.approx(oracle.score(test.features, test.labels))
    np.testing.assert_array_equal(
        found["confusion"], confusion_matrix(test.labels, found["predictions"])
    )
    if protocol == "logreg" and classes > 5:
        scores = oracle.decision_function(test.features)
        expected = top_k_accuracy_score(test.labels, scores, k=5)
        assert found["top5"] == pytest.approx(expected)
        assert found["top1"] < found["top5"] < 1
    else:
        assert "top5" not in found


@pytest.mark.parametrize("protocol", sorted(set(EVALUATORS) - {"low_shot"}))
def test_confusion_sums_to_the_test_size_and_agrees_with_top1(protocol):
    train, test = clusters(70, noise=2.0, seed=1), clusters(41, noise=2.0, seed=2)
    found = EVALUATORS[protocol](train, test, seed=0)
    confusion = np.array(found["confusion"])
    assert confusion.sum() == 41
    assert np.trace(confusion) / 41 == found["top1"]
    np.testing.assert_array_equal(confusion.sum(1), np.bincount(test.labels))
    np.testing.assert_allclose(
        found["per_class"], np.diag(confusion) / np.bincount(test.labels)
    )
    assert found["ci95"][0] < found["top1"] < found["ci95"][1]


@pytest.mark.parametrize("protocol", sorted(EVALUATORS))
def test_three_test_images_that_lack_a_class_are_scored(protocol):
    train = clusters(40, noise=0.01, seed=1)
    test = clusters(3, noise=0.01, seed=2, labels=[2, 0, 2])
    found = EVALUATORS[protocol](train, test, seed=0)
    assert found["top1"] == 1.0
    assert found["per_class"] == [1.0, None, 1.0]
    assert found["ci95"][0] < 0.5


@pytest.mark.parametrize("protocol", sorted(EVALUATORS))
def test_a_class_that_train_lacks_counts_as_an_error(protocol, caplog):
    train = clusters(70, classes=8, noise=0.01, seed=1, labels=np.arange(70) % 7)
    test = clusters(16, classes=8, noise=0.01, seed=2, labels=np.arange(16) % 8)
    found = EVALUATORS[protocol](train, test, seed=0)
    assert found["top1"] == 14 / 16
    assert found["per_class"][7] == 0.0
    assert found.get("top5", 14 / 16) == 14 / 16
    assert np.array(found["confusion"]).shape == (8, 8)
    assert "no training image" in caplog.text


@pytest.mark.parametrize("protocol", TABLE)
def test_the_scale_of_a_dimension_does_not_matter(protocol):
    train, test = clusters(60, seed=1), clusters(60, seed=2)
    scale = np.array([1e-3, 1, 1e3, 7, 1], np.float32)
    plain = EVALUATORS[protocol](train, test, seed=0)
    scaled = EVALUATORS[protocol](
        Features(train.features * scale, train.labels),
        Features(test.features * scale, test.labels),
        seed=0,
    )
    assert np.mean(plain["predictions"] == scaled["predictions"]) > 0.98


@pytest.mark.parametrize("protocol", sorted(EVALUATORS))
def test_dead_dimensions_do_no_harm(protocol):
    train, test = clusters(60, seed=1), clusters(60, seed=2)
    dead = [
        Features(np.pad(f.features, [(0, 0), (0, 2)]), f.labels) for f in (train, test)
    ]
    found = EVALUATORS[protocol](*dead, seed=0)
    assert found["top1"] == EVALUATORS[protocol](train, test, seed=0)["top1"]


def test_non_convergence_is_reported_and_logged(monkeypatch, caplog):
    monkeypatch.setattr(logistic, "MAX_ITER", 2)
    train, test = clusters(60, noise=2.0, seed=1), clusters(60, seed=2)
    with caplog.at_level(logging.WARNING):
        found = logistic_regression(train, test, seed=0)
    assert found["converged"] is False
    assert found["iterations"] == 2
    assert "did not converge in 2 iterations" in caplog.text


def test_convergence_is_reported():
    found = logistic_regression(clusters(60, seed=1), clusters(60, seed=2), seed=3)
    assert found["converged"] is True
    assert (found["C"], found["max_iter"], found["seed"]) == (1.0, 1200, 3)


def test_fewer_images_than_neighbours_are_clipped(caplog):
    found = standardized_knn(clusters(7, seed=1), clusters(5, seed=2), seed=0)
    assert found["k"] == 7
    assert "k=10 clipped" in caplog.text


@pytest.mark.parametrize("evaluate", [*EVALUATORS.values()])
def test_splits_that_cannot_be_scored_are_refused_in_one_line(evaluate):
    good = clusters(9, seed=1)
    empty = Features(np.zeros([0, 5]), np.zeros(0))
    one_class = clusters(9, labels=[2] * 9)
    unlabelled = Features(good.features, np.where(good.labels == 1, -1, good.labels))
    narrow = Features(good.features[:, :3], good.labels)
    for train, test, says in (
        (empty, good, "train split has no image"),
        (good, empty, "test split has no image"),
        (one_class, good, r"9 images of one class \(label 2\)"),
        (clusters(1), good, "1 images of one class"),
        (unlabelled, good, "of the train split have no label"),
        (good, unlabelled, "of the test split have no label"),
        (good, narrow, "5 and 3"),
    ):
        with pytest.raises(ConfigError, match=says) as caught:
            evaluate(train, test, seed=0)
        assert "\n" not in str(caught.value)


def images(n, seed):
    return clusters(n, dim=48, noise=1.5, seed=seed, name=f"split {seed}")


def test_pca_equals_scikit_learn_fitted_on_train():
    train, test = images(30, 1), images(20, 2)
    found_train, found_test = pca256(train, test, seed=5)
    scaler = StandardScaler().fit(train.features)
    oracle = PCA(30, svd_solver="randomized", random_state=5)
    oracle.fit(scaler.transform(train.features))
    for found, split in ((found_train, train), (found_test, test)):
        expected = oracle.transform(scaler.transform(split.features))
        np.testing.assert_allclose(found.features, expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(found.labels, split.labels)
        assert found.name == split.name


def test_pca_does_not_look_at_test():
    train, test = images(30, 1), images(20, 2)
    shifted = Features(test.features * 100 + 7, test.labels)
    first, _ = pca256(train, test, seed=0)
    again, _ = pca256(train, shifted, seed=0)
    np.testing.assert_array_equal(first.features, again.features)


def test_pca_leaves_the_pixels_as_they_were_and_is_seeded():
    train, test = images(30, 1), images(20, 2)
    before = train.features.copy()
    first = pca256(train, test, seed=3)
    np.testing.assert_array_equal(train.features, before)
    again = pca256(train, test, seed=3)
    np.testing.assert_array_equal(first[1].features, again[1].features)


@pytest.mark.parametrize(
    ("n", "dim", "count"), [(5, 48, 5), (30, 7, 7), (300, 270, 256)]
)
def test_pca_keeps_as_many_components_as_there_can_be(n, dim, count):
    train, test = clusters(n, dim=dim, seed=1), clusters(9, dim=dim, seed=2)
    assert pca256(train, test, 0)[1].features.shape == (9, count)


@pytest.mark.parametrize("protocol", TABLE)
def test_pca_features_are_not_standardised_again(protocol):
    train, test = pca256(images(60, 1), images(40, 2), seed=0)
    found = EVALUATORS[protocol](train, test, seed=0)
    oracle = SKLEARN[protocol]().fit(train.features, train.labels)
    np.testing.assert_array_equal(found["predictions"], oracle.predict(test.features))
    assert found["scaler"] == "StandardScaler on pixels, before PCA"
    plain = Features(train.features, train.labels)
    with pytest.raises(ConfigError, match="scaled alike"):
        EVALUATORS[protocol](plain, test, seed=0)


def test_interval_agrees_with_a_bootstrap_and_with_published_values():
    draws = np.random.default_rng(0).binomial(2000, 0.8, size=20_000) / 2000
    np.testing.assert_allclose(
        interval95(1600, 2000), np.quantile(draws, [0.025, 0.975]), atol=1.5e-3
    )
    # Wilson's interval of 81 of 263, Newcombe, Statistics in Medicine 17 (1998) 857.
    np.testing.assert_allclose(interval95(81, 263), [0.2553, 0.3662], atol=5e-5)
    assert interval95(0, 3)[0] == 0.0
    assert interval95(3, 3) == (pytest.approx(0.4385, abs=1e-4), 1.0)
