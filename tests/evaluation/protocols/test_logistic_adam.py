"""Logistic regression by Adam: against its formulas, and against the optimum."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import Features
from simclr_tf2.evaluation.protocols import logistic_adam
from simclr_tf2.evaluation.protocols.logistic_adam import logreg_adam
from simclr_tf2.evaluation.solvers.penalty_sweep import hold_out
from tests.evaluation.clusters import clusters

DECAYS = (1e-6, 0.3, 1e3)


def by_hand(x, y, decay, *, epochs, batch, rate, seed):
    """Softmax regression by Adam (arXiv 1412.6980) in float64, l2 in the gradient."""
    n, classes = len(y), int(y.max()) + 1
    parts = [np.zeros((x.shape[1], classes)), np.zeros(classes)]
    first, second = ([np.zeros_like(p) for p in parts] for _ in range(2))
    rng, stream = np.random.default_rng(seed), np.empty(0, int)
    for step in range(1, n * epochs // batch + 2):
        if len(stream) < batch:
            stream = np.concatenate([stream, rng.permutation(n)])
        rows, stream = stream[:batch], stream[batch:]
        p = np.exp(x[rows] @ parts[0] + parts[1])
        p /= p.sum(1, keepdims=True)
        p[np.arange(batch), y[rows]] -= 1
        for i, gradient in enumerate((x[rows].T @ p / batch, p.mean(0))):
            gradient = gradient + decay * parts[i]
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            mean, square = first[i] / (1 - 0.9**step), second[i] / (1 - 0.999**step)
            parts[i] = parts[i] - rate * mean / (np.sqrt(square) + 1e-8)
    return parts


def scaled(train, *others):
    x = train.features.astype(np.float64)
    return [(s.features - x.mean(0)) / x.std(0) for s in (train, *others)]


@pytest.mark.parametrize("together", [2**22, 40])
def test_each_decay_is_trained_as_if_alone_and_one_is_chosen_on_train(
    together, monkeypatch
):
    """Also where not all decays fit in memory side by side."""
    monkeypatch.setattr(logistic_adam, "COLUMNS", together)
    train, test = (
        clusters(n, classes=7, seed=s, noise=1.5) for n, s in ((155, 1), (90, 2))
    )
    training = {"epochs": 7, "rate": 0.02, "seed": 4}
    found = logreg_adam(
        train,
        test,
        seed=4,
        weight_decays=DECAYS,
        epochs=7,
        global_batch_size=9,
        learning_rate=0.02,
    )
    x, test_x = scaled(train, test)
    kept, held = hold_out(train.labels, seed=4)
    expected = []
    for decay in found["weight_decays"]:
        w, b = by_hand(x[kept], train.labels[kept], decay, batch=9, **training)
        expected.append(((x[held] @ w + b).argmax(1) == train.labels[held]).mean())
    assert found["weight_decays"] == sorted(DECAYS, reverse=True)
    assert found["validation_scores"] == pytest.approx(expected)
    assert len(set(expected)) > 1
    assert found["weight_decay"] == found["weight_decays"][int(np.argmax(expected))]
    w, b = by_hand(x, train.labels, found["weight_decay"], batch=9, **training)
    np.testing.assert_array_equal(found["predictions"], (test_x @ w + b).argmax(1))
    assert found["reported"] == "last epoch" and 0.3 < found["top1"] < 1


def test_long_enough_it_is_scikit_learns_optimum():
    train, test = (clusters(n, seed=s, noise=2.0) for n, s in ((60, 1), (200, 2)))
    decay = 0.05
    found = logreg_adam(
        train, test, seed=0, weight_decays=[decay], epochs=1500, learning_rate=0.01
    )
    x, test_x = (np.c_[part, np.ones(len(part))] for part in scaled(train, test))
    oracle = LogisticRegression(  # the bias as a column, so that it is decayed too
        C=1 / (decay * len(x)), fit_intercept=False, tol=1e-9, max_iter=5000
    ).fit(x, train.labels)
    np.testing.assert_array_equal(found["predictions"], oracle.predict(test_x))


def test_the_test_split_chooses_nothing():
    train = clusters(40, seed=1, noise=2.0)
    settings = {"seed": 0, "epochs": 5, "weight_decays": DECAYS}
    one, other = (
        logreg_adam(train, clusters(30, seed=s, noise=3.0), **settings) for s in (2, 3)
    )
    for key in ("weight_decay", "validation_scores"):
        assert one[key] == other[key]
    assert one["top1"] != other["top1"]


def test_defaults_top5_and_a_class_that_only_test_has():
    train = clusters(70, seed=1, classes=7, labels=np.arange(70) % 7)
    test = clusters(14, seed=2, classes=8, labels=np.arange(14) % 8)
    found = logreg_adam(train, test, seed=0)
    assert (found["epochs"], found["learning_rate"]) == (200, 3e-4)
    assert (found["global_batch_size"], found["global_batch_size_asked"]) == (70, 396)
    assert len(found["weight_decays"]) == 45 and found["scaler"] == "StandardScaler"
    assert found["validation_examples"] == 14 and found["top1"] <= found["top5"] < 1
    del found["predictions"]
    json.dumps(found)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"weight_decays": ()}, "weight decays"),
        ({"weight_decays": (0.0,)}, "weight decays"),
        ({"epochs": 0}, "epochs"),
        ({"learning_rate": 1e30, "epochs": 30}, "diverged"),
    ],
)
def test_bad_settings_are_one_clear_line(kwargs, message):
    with pytest.raises(ConfigError, match=message) as error:
        logreg_adam(clusters(20), clusters(9), seed=0, **kwargs)
    assert "\n" not in str(error.value)


def test_no_class_with_two_images_is_refused():
    few = Features(np.eye(3), np.arange(3))
    with pytest.raises(ConfigError, match="two images"):
        logreg_adam(few, few, seed=0)
