import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import LinearSVC

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.protocols.svm import svm, voc_svm
from simclr_tf2.evaluation.solvers import linear_svm
from simclr_tf2.evaluation.solvers.linear_svm import COSTS
from simclr_tf2.metrics.average_precision import average_precision
from tests.evaluation.clusters import clusters, multi_label

FEW = (1.0, 0.5**4, 0.5**9)


def grid_search(train_x, positive, costs):
    """The protocol as the libraries say it, in the dual and with cross_val_score."""
    x = train_x.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True) + 1e-5
    search = GridSearchCV(
        LinearSVC(
            class_weight={1: 2, -1: 1}, tol=1e-4, max_iter=100_000, random_state=0
        ),
        {"C": list(costs)},
        scoring="average_precision",
        cv=StratifiedKFold(3),
    )
    return search.fit(x, np.where(positive, 1, -1))


def test_costs_are_the_nineteen_of_the_benchmark():
    assert len(COSTS) == 19
    assert COSTS[:4] == (1.0, 10.0, 100.0, 0.0625)
    assert COSTS[-1] == 0.5**19


@pytest.mark.parametrize("ignored", [0.0, 0.2])
def test_multi_label_equals_a_scikit_learn_grid_search(ignored):
    train_x, train_y = multi_label(61, seed=1, ignored=ignored)
    test_x, test_y = multi_label(41, seed=2, ignored=ignored)
    found = voc_svm(train_x, train_y, test_x, test_y, seed=0, costs=FEW)
    unit = test_x / (np.linalg.norm(test_x, axis=1, keepdims=True) + 1e-5)
    expected = []
    for column in range(3):
        oracle = grid_search(train_x, train_y[:, column] == 1, FEW)
        scores = oracle.decision_function(unit)
        assert found["costs_chosen"][column] == oracle.best_params_["C"]
        assert found["cross_validated"][column] == pytest.approx(oracle.best_score_)
        np.testing.assert_allclose(found["scores"][:, column], scores, atol=2e-3)
        kept = test_y[:, column] >= 0
        expected.append(average_precision_score(test_y[kept, column], scores[kept]))
        assert found["average_precision"][column] == pytest.approx(
            average_precision(scores, test_y[:, column], points="interpolated")
        )
    assert found["map_not_interpolated"] == pytest.approx(np.mean(expected))
    assert found["map"] == pytest.approx(np.mean(found["average_precision"]))
    assert 0.5 < found["map_not_interpolated"] <= found["map"] < 1
    assert len(set(found["costs_chosen"])) > 1  # the costs matter here


def test_ignored_labels_are_negatives_in_training_and_left_out_of_the_test():
    train_x, train_y = multi_label(61, seed=1, ignored=0.2)
    test_x, test_y = multi_label(41, seed=2, ignored=0.2)
    found = voc_svm(train_x, train_y, test_x, test_y, seed=0, costs=FEW)
    negatives = np.where(train_y < 0, 0, train_y)
    same = voc_svm(train_x, negatives, test_x, test_y, seed=0, costs=FEW)
    np.testing.assert_array_equal(found["scores"], same["scores"])
    counted = voc_svm(
        train_x, train_y, test_x, np.where(test_y < 0, 0, test_y), seed=0, costs=FEW
    )
    assert counted["map"] != found["map"]


def test_cost_is_never_chosen_on_test():
    train_x, train_y = multi_label(61, seed=1)
    test_x, test_y = multi_label(41, seed=2)
    found = voc_svm(train_x, train_y, test_x, test_y, seed=0)
    upside_down = np.where(test_y < 0, -1, 1 - test_y)
    other = voc_svm(train_x, train_y, test_x, upside_down, seed=0)
    assert found["costs_chosen"] == other["costs_chosen"]
    assert found["map"] != other["map"]


def test_threads_do_not_change_the_result():
    train_x, train_y = multi_label(61, seed=1, classes=5)
    test_x, test_y = multi_label(41, seed=2, classes=5)
    one = voc_svm(train_x, train_y, test_x, test_y, seed=0, costs=FEW, threads=1)
    three = voc_svm(train_x, train_y, test_x, test_y, seed=7, costs=FEW, threads=3)
    np.testing.assert_array_equal(one.pop("scores"), three.pop("scores"))
    for found in (one, three):
        del found["seconds"], found["seed"], found["map_ci95"]
    assert one == three


def test_single_label_evaluator_gives_top1_of_one_against_the_rest():
    train, test = clusters(70, seed=1, noise=1.5), clusters(41, seed=2, noise=1.5)
    found = svm(train, test, seed=3)
    predictions = found.pop("predictions")
    assert found["top1"] == (predictions == test.labels).mean()
    assert found["ci95"][0] < found["top1"] < found["ci95"][1]
    assert 0.5 < found["top1"] < 1 and 0.5 < found["map"] < 1
    assert found["seed"] == 3 and found["classes"] == [0, 1, 2]
    json.dumps(found)
    both = [
        (f.features, (f.labels[:, None] == range(3)).astype(int)) for f in (train, test)
    ]
    leaf = voc_svm(*both[0], *both[1], seed=3)
    assert leaf["map"] == found["map"]
    np.testing.assert_array_equal(leaf["scores"].argmax(axis=1), predictions)


def test_labels_of_single_label_classes_need_not_start_at_zero():
    train = clusters(70, seed=1, noise=0.1, classes=10, labels=[4, 9] * 35)
    test = clusters(10, seed=2, noise=0.1, classes=10, labels=[4, 9] * 5)
    found = svm(train, test, seed=0)
    assert found["top1"] == found["map"] == 1.0
    assert found["classes"] == [4, 9]


def test_a_class_that_train_lacks_counts_as_an_error(caplog):
    train = clusters(60, seed=1, noise=0.1, classes=4, labels=np.arange(60) % 3)
    test = clusters(16, seed=2, noise=0.1, classes=4, labels=np.arange(16) % 4)
    found = svm(train, test, seed=0)
    assert found["top1"] == 0.75
    assert "no training image" in caplog.text


def test_a_class_that_test_lacks_is_left_out_and_counted(caplog):
    train = clusters(60, seed=1, noise=1.0)
    test = clusters(20, seed=2, noise=1.0, labels=[0, 2] * 10)
    found = svm(train, test, seed=0)
    assert found["classes_without_test_positives"] == 1
    assert found["average_precision"][1] is None
    known = [found["average_precision"][i] for i in (0, 2)]
    assert found["map"] == pytest.approx(np.mean(known))
    assert "no positive in the test split" in caplog.text


def test_multi_label_evaluator_reports_map_and_decisions_per_class():
    train, test = (
        SimpleNamespace(features=x, labels=y)
        for x, y in (multi_label(61, seed=1), multi_label(41, seed=2))
    )
    found = svm(train, test, seed=0)
    assert found["measure"] == "map" and found["value"] == found["map"]
    assert found["ci95"][0] < found["map"] < found["ci95"][1]
    assert found.pop("class_values").mean() == pytest.approx(found["map"])
    assert "top1" not in found
    json.dumps(found)


def test_fits_that_stop_early_are_counted_once_and_not_told_one_by_one(
    monkeypatch, caplog
):
    monkeypatch.setattr(linear_svm, "MAX_ITER", 1)
    train, test = clusters(70, seed=1), clusters(20, seed=2)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = voc_svm(
            train.features, train.labels, test.features, test.labels, seed=0, costs=FEW
        )
    assert found["fits"] == 3 * (3 * 3 + 1)
    assert 0 < found["fits_not_converged"] <= found["fits"]
    assert not found["converged"]
    assert told == []
    assert len(caplog.records) == 1 and "stopped at 1 iterations" in caplog.text


X, Y = multi_label(30, seed=1, ignored=0.0)
SINGLE = np.arange(30) % 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": SINGLE * 0}, "one class .label 0."),
        ({"train_labels": SINGLE - 1}, "10 of 30 images of the train split have no"),
        ({"test_labels": np.full(30, -1)}, "30 of 30 images of the test split have no"),
        ({"train_labels": np.full((30, 3), -1)}, "30 of 30 images of the train split"),
        ({"train_labels": Y}, "both be single-label"),
        ({"test_labels": Y}, "both be single-label"),
        ({"train_labels": 2 * Y, "test_labels": Y}, "1 .present., 0 .absent. or -1"),
        ({"train_labels": Y, "test_labels": Y[:, :2]}, "same classes. Received: 3 and"),
        ({"train_labels": Y[:7]}, "must be whole numbers"),
        ({"train_labels": SINGLE + 0.5}, "must be whole numbers"),
        ({"train_features": np.where(X > 3, np.nan, X)}, "train features are not fin"),
        ({"test_features": np.full_like(X, np.inf)}, "30 of 30 rows of the test feat"),
        ({"test_features": X[:, :2]}, "one dimension. Received: 7 and 2"),
        ({"test_features": X[:0], "test_labels": SINGLE[:0]}, "n of 1 or more"),
        ({"train_features": X[0]}, "must be .n, d. with n"),
        ({"test_labels": SINGLE + 5}, "no class of the train split occurs in the test"),
        (
            {"train_labels": np.where(np.arange(30) < 2, 1, 0)},
            "class 1 has 2 positive training image.s., fewer than the 3",
        ),
        (
            {"train_labels": np.ones((30, 3), int), "test_labels": Y},
            "class 0 has 0 negative",
        ),
        ({"costs": ()}, "costs must be"),
        ({"costs": (1.0, 0.0)}, "costs must be"),
    ],
)
def test_bad_input_is_one_clear_line(change, message):
    good = {
        "train_features": X,
        "train_labels": SINGLE,
        "test_features": X,
        "test_labels": SINGLE,
    }
    assert voc_svm(**good, seed=0, costs=(1.0,))["map"] > 0
    with pytest.raises(ConfigError, match=message) as caught:
        voc_svm(**(good | change), seed=0)
    assert "\n" not in str(caught.value)
