import json
import logging

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import Features
from simclr_tf2.evaluation.protocols import logistic_sweep
from simclr_tf2.evaluation.protocols.logistic_sweep import logreg_sweep
from simclr_tf2.evaluation.solvers import lbfgs, penalty_sweep
from simclr_tf2.evaluation.solvers.lbfgs import Part, fit_logistic, loss_and_gradient
from simclr_tf2.evaluation.solvers.penalty_sweep import LAMBDAS, lbfgs_logistic
from tests.evaluation.clusters import clusters

FEW = (1e-4, 1e-2, 1.0)


def stretched(n, *, classes=3, seed=0, noise=1.5, **kwargs):
    """Clusters with a large mean and dimensions of very different size."""
    split = clusters(n, classes=classes, seed=seed, noise=noise, **kwargs)
    x = split.features * np.array([10, 1, 1, 0.1, 0.03], np.float32) + 20
    return Features(x, split.labels, split.name)


def exact(split, penalty):
    """scikit-learn's optimum, to 1e-9 of its gradient."""
    model = LogisticRegression(
        C=1 / (penalty * len(split)), tol=1e-9, max_iter=100_000, solver="newton-cg"
    )
    return model.fit(split.features.astype(np.float64), split.labels)


def test_two_classes_are_scikit_learns_single_vector_at_half_the_penalty():
    train, test = stretched(50, classes=2, seed=1), stretched(40, classes=2, seed=2)
    parts = [Part(train.features.astype(np.float64), train.labels)]
    ((weights, _, _),) = fit_logistic(parts, [0.02], 2)
    oracle = exact(train, 0.01)
    np.testing.assert_allclose(
        weights[:-1, 1] - weights[:-1, 0], oracle.coef_[0], rtol=1e-3, atol=1e-5
    )
    found = lbfgs_logistic(train, train, test, seed=0, lambdas=[0.02])
    np.testing.assert_array_equal(found["predictions"], oracle.predict(test.features))


def joined(*splits):
    return Features(
        np.concatenate([split.features for split in splits]),
        np.concatenate([split.labels for split in splits]),
    )


def test_lambdas_are_45_log_spaced_from_1e_minus_6_to_1e5():
    assert len(LAMBDAS) == 45
    assert (LAMBDAS[0], LAMBDAS[-1]) == (1e-6, 1e5)
    np.testing.assert_allclose(np.diff(np.log10(LAMBDAS)), 11 / 44)


@pytest.mark.parametrize("chunk_bytes", [300, 2**20])
def test_gradient_equals_finite_differences_whatever_the_blocks(
    chunk_bytes, monkeypatch
):
    monkeypatch.setattr(lbfgs, "CHUNK_BYTES", chunk_bytes)
    a, b = clusters(23, seed=1), clusters(11, seed=2)
    parts = [
        Part(a.features.astype(np.float64), a.labels),
        Part(b.features.astype(np.float64), b.labels[[0, 3, 7]], np.array([0, 3, 7])),
    ]
    flat = np.random.default_rng(0).normal(size=18)

    def loss(w):
        return loss_and_gradient(w.reshape(6, 3), parts, 0.7)[0]

    def gradient(w):
        return loss_and_gradient(w.reshape(6, 3), parts, 0.7)[1].ravel()

    assert check_grad(loss, gradient, flat) < 1e-5 * np.linalg.norm(gradient(flat))


@pytest.mark.parametrize("curvature", ["diagonal", "one for all", "of each class"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_lambda_of_the_sweep_reaches_scikit_learns_optimum(
    dtype, curvature, monkeypatch
):
    monkeypatch.setattr(lbfgs, "RENEW_AFTER", 2)
    if curvature == "diagonal":
        monkeypatch.setattr(lbfgs, "FULL_DIMENSIONS", 0)
    if curvature == "one for all":
        monkeypatch.setattr(lbfgs, "BLOCK_NUMBERS", 0)
    train = stretched(70)
    penalties = [1e5, 10.0, 0.1, 1e-3, 1e-6]
    double = [Part(train.features.astype(np.float64), train.labels)]
    parts = [Part(train.features.astype(dtype), train.labels)]
    fits = list(fit_logistic(parts, penalties, 3))
    for penalty, (weights, _, converged) in zip(penalties, fits, strict=True):
        oracle = exact(train, penalty)
        best = loss_and_gradient(
            np.vstack([oracle.coef_.T, oracle.intercept_]), double, penalty
        )[0]
        # 3e-6 of the loss for float32 products, 1e-7 for float64.
        excess = loss_and_gradient(weights, double, penalty)[0] - best
        assert abs(excess) < (3e-6 if dtype == np.float32 else 1e-7) * max(best, 0.01)
        assert converged


@pytest.mark.parametrize(("classes", "measure"), [(3, "mean_per_class"), (7, "top1")])
def test_choice_refit_and_report_equal_a_scikit_learn_loop(classes, measure):
    train, validation, test = (
        stretched(n, classes=classes, seed=seed)
        for n, seed in ((90, 1), (60, 2), (80, 3))
    )
    found = lbfgs_logistic(
        train, validation, test, seed=0, lambdas=FEW, measure=measure
    )
    score_linear = balanced_accuracy_score if measure == "mean_per_class" else np.equal
    scores = [
        float(
            np.mean(
                score_linear(
                    validation.labels, exact(train, p).predict(validation.features)
                )
            )
        )
        for p in FEW[::-1]
    ]
    assert found["validation_scores"] == pytest.approx(scores)
    assert found["lambdas"] == list(FEW[::-1])
    assert found["lambda"] == FEW[::-1][int(np.argmax(scores))]
    refit = exact(joined(train, validation), found["lambda"])
    np.testing.assert_array_equal(found["predictions"], refit.predict(test.features))
    assert found["top1"] == refit.score(test.features, test.labels) < 1
    if classes > 5:
        logits = refit.decision_function(test.features)
        expected = top_k_accuracy_score(test.labels, logits, k=5)
        assert found["top5"] == pytest.approx(expected)
    assert found["converged"] is True
    assert (found["train_only_examples"], found["validation_examples"]) == (90, 60)


def test_test_labels_change_neither_the_choice_nor_the_predictions():
    train, validation, test = (stretched(50, seed=seed) for seed in (1, 2, 3))
    shuffled = Features(test.features, np.roll(test.labels, 1))
    one, other = (
        lbfgs_logistic(train, validation, split, seed=0, lambdas=FEW)
        for split in (test, shuffled)
    )
    assert one["lambda"] == other["lambda"]
    np.testing.assert_array_equal(one["predictions"], other["predictions"])
    assert one["top1"] != other["top1"]


def test_the_largest_of_equally_good_lambdas_wins():
    train, validation, test = (clusters(30, noise=0.01, seed=s) for s in (1, 2, 3))
    found = lbfgs_logistic(train, validation, test, seed=0, lambdas=FEW)
    assert found["validation_scores"][1:] == [1.0, 1.0]
    first = found["validation_scores"].index(1.0)
    assert found["lambda"] == found["lambdas"][first]
    assert found["lambda_at_edge"] is (first == 0)


def test_hold_out_is_a_fifth_of_each_class_and_follows_the_seed(monkeypatch):
    monkeypatch.setattr(logistic_sweep, "LAMBDAS", FEW)
    labels = np.repeat([0, 1, 2, 3], [20, 10, 5, 1])
    train = clusters(36, classes=4, noise=3.0, seed=1, labels=labels)
    test = clusters(30, classes=4, noise=3.0, seed=2)
    held, parts = {}, penalty_sweep.part_of

    def spy(split, rows, known):
        held.setdefault("rows", []).append(split.labels[rows])
        return parts(split, rows, known)

    monkeypatch.setattr(logistic_sweep, "part_of", spy)
    found = logreg_sweep(train, test, seed=0)
    assert isinstance(json.dumps({**found, "predictions": None}), str)
    kept, out = held["rows"]
    assert np.bincount(out, minlength=4).tolist() == [4, 2, 1, 0]
    assert np.bincount(kept, minlength=4).tolist() == [16, 8, 4, 1]
    assert found["validation_examples"] == 7 and found["seed"] == 0
    again = logreg_sweep(train, test, seed=0)
    assert again["validation_scores"] == found["validation_scores"]
    others = [logreg_sweep(train, test, seed=s)["validation_scores"] for s in (1, 2, 3)]
    assert others != [found["validation_scores"]] * 3


def test_a_memory_map_read_by_rows_gives_what_copies_give(tmp_path, monkeypatch):
    monkeypatch.setattr(logistic_sweep, "LAMBDAS", FEW)
    train, test = stretched(61, seed=1), stretched(40, seed=2)
    expected = logreg_sweep(train, test, seed=0)
    np.save(tmp_path / "x.npy", train.features)
    mapped = Features(np.load(tmp_path / "x.npy", mmap_mode="r"), train.labels)
    monkeypatch.setattr(lbfgs, "COPY_BYTES", 0)
    monkeypatch.setattr(penalty_sweep, "COPY_BYTES", 0)
    monkeypatch.setattr(lbfgs, "CHUNK_BYTES", 300)
    found = logreg_sweep(mapped, test, seed=0)
    assert found["validation_scores"] == expected["validation_scores"]
    np.testing.assert_array_equal(found["predictions"], expected["predictions"])


def test_classes_that_a_split_lacks_are_errors_not_crashes():
    train = clusters(40, classes=8, noise=0.1, seed=1, labels=np.arange(40) % 6)
    validation = clusters(14, classes=8, noise=0.1, seed=2, labels=np.arange(14) % 7)
    test = clusters(16, classes=8, noise=0.1, seed=3, labels=np.arange(16) % 8)
    found = lbfgs_logistic(train, validation, test, seed=0, lambdas=[1e-3])
    assert found["validation_scores"] == [12 / 14]  # class 6 was not in train
    assert found["per_class"][:6] == [1.0] * 6 and found["per_class"][7] == 0.0
    assert found["per_class"][6] == 1.0  # but it is in the refit


def test_a_sweep_that_cannot_converge_says_so(monkeypatch, caplog):
    monkeypatch.setitem(fit_logistic.__kwdefaults__, "max_iter", 1)
    train, validation, test = (stretched(30, seed=s) for s in (1, 2, 3))
    with caplog.at_level(logging.WARNING):
        found = lbfgs_logistic(train, validation, test, seed=0, lambdas=[1e-6])
    assert found["converged"] is False
    assert "stopped short of the optimum" in caplog.text


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"measure": "top5"}, "top1, mean_per_class"),
        ({"lambdas": []}, "above 0"),
        ({"lambdas": [1.0, 0.0]}, "above 0"),
        ({"lambdas": [float("nan")]}, "above 0"),
    ],
)
def test_bad_settings_are_one_clear_line(kwargs, message):
    splits = (clusters(20, seed=s) for s in (1, 2, 3))
    with pytest.raises(ConfigError, match=message) as error:
        lbfgs_logistic(*splits, seed=0, **kwargs)
    assert "\n" not in str(error.value)


def test_one_image_per_class_leaves_nothing_to_validate_on():
    train = clusters(3, labels=[0, 1, 2])
    with pytest.raises(ConfigError, match="two images"):
        logreg_sweep(train, clusters(5, seed=1), seed=0)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_an_unlabelled_split_is_refused(index):
    splits = [clusters(20, seed=s) for s in (1, 2, 3)]
    splits[index] = Features(splits[index].features, np.full(20, -1))
    with pytest.raises(ConfigError, match="no label"):
        lbfgs_logistic(*splits, seed=0, lambdas=FEW)


def test_curvature_at_the_solution_saves_most_iterations_where_classes_separate(
    monkeypatch,
):
    """Small lambdas, dimensions of very different size: what real features are like."""
    rng = np.random.default_rng(0)
    split = clusters(200, dim=20, classes=5, noise=0.7, seed=1)
    x = split.features @ rng.normal(size=(20, 20)) * np.logspace(0, -3, 20)
    parts = [Part(x, split.labels)]
    penalties = np.logspace(-2, -4, 5)

    def iterations(renew_after):
        monkeypatch.setattr(lbfgs, "RENEW_AFTER", renew_after)
        fits = list(fit_logistic(parts, penalties, 5, max_iter=500))
        return sum(count for _, count, _ in fits), fits[-1][0]

    often, weights = iterations(30)
    never, same = iterations(10**9)
    assert often < 0.6 * never
    one, other = (loss_and_gradient(w, parts, 1e-4)[0] for w in (weights, same))
    assert one < other + 1e-6
