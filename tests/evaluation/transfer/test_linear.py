import json
import logging

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from simclr_tf2.data.transfer_sets import METRICS, PUBLISHED, TRANSFER_SETS, TransferSet
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import Features
from simclr_tf2.evaluation.solvers.binary_lbfgs import fit_binary
from simclr_tf2.evaluation.transfer.linear import binary_sweep, run_linear
from simclr_tf2.metrics.average_precision import mean_average_precision
from simclr_tf2.results.transfer_table import render_transfer
from tests.evaluation.clusters import clusters

GRID = (1e-3, 1e-1, 10.0)


def sklearn_weights(x, y, penalty):
    """Mean cross-entropy + penalty / 2 |w|^2: C = 1 / (penalty n)."""
    model = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-9, max_iter=5000)
    return model.fit(x.astype(np.float64), y)


def presence(n, seed, *, ignore=0.1, classes=3, dim=5, noise=1.5):
    """Features that show several classes, some of them uncertain."""
    directions = np.random.default_rng(7).normal(size=(classes, dim))
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, classes)) < 0.4).astype(np.int64)
    x = 2 * labels @ directions + noise * rng.normal(size=(n, dim)) + 1
    labels[rng.random((n, classes)) < ignore] = -1
    return Features(x.astype(np.float32), labels, f"part {seed}")


def by_hand(train, validation, test, grid):
    """One scikit-learn model per class; one lambda for all by validation mAP."""

    def scores(fit, penalty, score):
        x = np.concatenate([split.features for split in fit])
        y = np.concatenate([split.labels for split in fit])
        columns = []
        for c in range(y.shape[1]):
            kept = y[:, c] >= 0
            model = sklearn_weights(x[kept], y[kept, c], penalty)
            columns.append(model.decision_function(score.features.astype(np.float64)))
        columns = np.stack(columns, axis=1)
        return mean_average_precision(columns, score.labels, points=11)

    chosen = [scores([train], penalty, validation)[0] for penalty in grid]
    best = max(range(len(grid)), key=lambda i: (chosen[i], grid[i]))
    mean, each, _ = scores([train, validation], grid[best], test)
    return grid[best], chosen, mean, each


def test_the_twelve_sets_with_the_metrics_and_numbers_of_the_paper():
    assert len(TRANSFER_SETS) == 12
    per_class = {"aircraft", "pets", "caltech101", "flowers102"}
    for name, found in TRANSFER_SETS.items():
        assert found.name == name and found.metric in METRICS
        assert found.metric == (
            "map11"
            if name == "voc2007"
            else "mean_per_class"
            if name in per_class
            else "top1"
        )
    # SimCLR, table 8, in its order.
    linear = [76.9, 95.3, 80.2, 48.4, 65.9, 60.0, 61.2, 84.2, 78.9, 89.2, 93.9, 95.0]
    tuned = [89.4, 98.6, 89.0, 78.2, 68.1, 92.1, 87.0, 86.6, 77.8, 92.1, 94.1, 97.6]
    for method, row in (("linear", linear), ("finetune", tuned)):
        found = [100 * PUBLISHED[method][name] for name in TRANSFER_SETS]
        np.testing.assert_allclose(found, row)
    assert set(PUBLISHED) == {"linear", "finetune"}
    missing = [n for n, found in TRANSFER_SETS.items() if found.dataset is None]
    assert missing == ["birdsnap", "aircraft"]
    with pytest.raises(AttributeError):
        TRANSFER_SETS["cars"].metric = "top1"
    assert isinstance(TRANSFER_SETS["cars"], TransferSet)


def test_no_set_chooses_on_what_it_reports():
    for found in TRANSFER_SETS.values():
        assert found.test.split("[")[0] not in (
            found.train.split("[")[0],
            found.validation.split("[")[0],
        )
        assert found.train != found.validation


# Few images of the third class: the two metrics choose different lambdas.
@pytest.mark.parametrize(("metric", "chosen"), [("top1", 10), ("mean_per_class", 0.3)])
def test_choice_refit_and_test_equal_scikit_learn(metric, chosen):
    sizes = {"train": (31, 29, 6), "validation": (30, 30, 6), "test": (23, 22, 21)}
    train, validation, test = (
        clusters(
            sum(counts),
            seed=21 + seed,
            noise=1.4,
            labels=np.repeat(range(3), counts),
            name=name,
        )
        for seed, (name, counts) in enumerate(sizes.items())
    )
    grid = (1e-4, 0.3, 10.0)
    found = run_linear(train, validation, test, metric=metric, seed=0, lambdas=grid)

    def score(model, split):
        right = model.predict(split.features) == split.labels
        if metric == "top1":
            return right.mean()
        return np.mean([right[split.labels == c].mean() for c in range(3)])

    scores = [
        score(sklearn_weights(train.features, train.labels, penalty), validation)
        for penalty in grid
    ]
    best = max(range(3), key=lambda i: (scores[i], grid[i]))
    both = np.concatenate([train.features, validation.features])
    labels = np.concatenate([train.labels, validation.labels])
    expected = score(sklearn_weights(both, labels, grid[best]), test)
    np.testing.assert_allclose(found["validation_scores"][::-1], scores)
    assert found["lambda"] == grid[best] == chosen and found["measure"] == metric
    assert found["value"] == pytest.approx(expected)
    assert found["validation_measure"] == metric
    assert found["value"] == found[metric]
    json.dumps(found)


@pytest.mark.parametrize("ignore", [0.0, 0.2])
def test_binary_problems_equal_one_scikit_learn_model_per_class(ignore):
    train, validation, test = (
        presence(n, seed, ignore=ignore) for seed, n in enumerate((61, 43, 57))
    )
    found = run_linear(train, validation, test, metric="map11", seed=3, lambdas=GRID)
    penalty, scores, mean, each = by_hand(train, validation, test, GRID)
    np.testing.assert_allclose(found["validation_scores"][::-1], scores, atol=1e-6)
    assert found["lambda"] == penalty
    assert found["value"] == pytest.approx(mean, abs=1e-6)
    np.testing.assert_allclose(found["average_precision"], each, atol=1e-6)
    assert found["converged"] and found["validation_examples"] == 43
    assert 0.5 < found["value"] < 1 and found["measure"] == "map11"
    json.dumps(found)


def test_the_penalty_of_a_binary_problem_is_lambda_half_w_squared():
    train = presence(51, 1)
    fits = fit_binary(train.features, train.labels, GRID[::-1])
    for penalty, (weights, _, converged) in zip(GRID[::-1], fits, strict=True):
        assert converged
        for c in range(3):
            kept = train.labels[:, c] >= 0
            x, y = train.features[kept], train.labels[kept, c]
            model = sklearn_weights(x, y, penalty)
            expected = [*model.coef_[0], *model.intercept_]
            np.testing.assert_allclose(weights[:, c], expected, rtol=2e-3, atol=2e-4)


def test_where_a_fit_starts_does_not_matter():
    train = presence(51, 1)
    rng = np.random.default_rng(3)
    starts = (None, rng.normal(size=(6, 3)))
    (cold, steps, _), (warm, _, _) = (
        next(fit_binary(train.features, train.labels, [0.1], start=start))
        for start in starts
    )
    np.testing.assert_allclose(cold, warm, rtol=2e-3, atol=2e-4)
    again = next(fit_binary(train.features, train.labels, [0.1], start=cold))
    assert again[1] <= 3 < steps  # already there


def test_ignored_labels_change_neither_fit_nor_score():
    train, validation, test = (presence(n, s) for s, n in enumerate((61, 43, 57)))
    moved = []
    for split in (train, validation, test):
        # An image with no certain label counts nowhere, however far away it is.
        features = np.concatenate([split.features, np.full((2, 5), 1e3, np.float32)])
        labels = np.concatenate([split.labels, np.full((2, 3), -1)])
        moved.append(Features(features, labels))
    plain = binary_sweep(train, validation, test, seed=0, lambdas=GRID)
    padded = binary_sweep(*moved, seed=0, lambdas=GRID)
    assert padded["value"] == plain["value"]
    assert padded["validation_scores"] == plain["validation_scores"]


def test_test_labels_do_not_move_the_choice():
    train, validation, test = (presence(n, s) for s, n in enumerate((61, 43, 57)))
    swapped = Features(test.features, np.where(test.labels == 1, 0, 1))
    first = binary_sweep(train, validation, test, seed=0, lambdas=GRID)
    second = binary_sweep(train, validation, swapped, seed=0, lambdas=GRID)
    assert first["lambda"] == second["lambda"] and first["value"] != second["value"]


def test_equal_validation_scores_take_the_largest_lambda():
    train, validation, test = (
        presence(n, s, ignore=0, noise=0.01, dim=7) for s, n in enumerate((61, 43, 57))
    )
    found = binary_sweep(train, validation, test, seed=0, lambdas=(1e-4, 1e-3, 1e-2))
    assert len(set(found["validation_scores"])) == 1  # all perfect
    assert found["lambda"] == 1e-2 and found["lambda_at_edge"]


def test_the_default_grid_is_that_of_the_paper():
    train, validation, test = (clusters(15, seed=s) for s in range(3))
    found = run_linear(train, validation, test, metric="top1", seed=0)
    grid = np.array(found["lambdas"][::-1])
    assert len(grid) == 45 and grid[0] == pytest.approx(1e-6)
    assert grid[-1] == pytest.approx(1e5)
    np.testing.assert_allclose(np.diff(np.log10(grid)), 11 / 44)


def one_class_missing(split, column, value):
    labels = split.labels.copy()
    labels[:, column] = value
    return Features(split.features, labels)


def test_what_cannot_be_fitted_is_refused_in_one_line():
    train, validation, test = (presence(n, s) for s, n in enumerate((21, 13, 17)))
    single = clusters(21)
    cases = [
        ((train, validation, test), "top7", "scored by one of"),
        ((single, single, single), "map11", "yes-or-no"),
        ((train, validation, test), "top1", "yes-or-no"),
        ((one_class_missing(train, 1, 0), validation, test), "map11", "no positive"),
        ((one_class_missing(train, 2, 1), validation, test), "map11", "no negative"),
        (
            (train, Features(validation.features, validation.labels[:, :2]), test),
            "map11",
            "2 classes",
        ),
        (
            (train, validation, Features(test.features[:, :3], test.labels)),
            "map11",
            "dimension 3",
        ),
        (
            (train, validation, Features(test.features, np.zeros_like(test.labels))),
            "map11",
            "the test split has no image",
        ),
    ]
    for splits, metric, words in cases:
        with pytest.raises(ConfigError, match=words) as error:
            run_linear(*splits, metric=metric, seed=0, lambdas=GRID)
        assert "\n" not in str(error.value)
    for grid in ((), (0.0, 1.0)):
        with pytest.raises(ConfigError, match="above 0"):
            run_linear(train, validation, test, metric="map11", seed=0, lambdas=grid)


def test_a_class_that_only_test_lacks_is_left_out_of_the_mean():
    train, validation, test = (presence(n, s) for s, n in enumerate((61, 43, 57)))
    test = one_class_missing(test, 1, 0)
    found = binary_sweep(train, validation, test, seed=0, lambdas=GRID)
    assert found["average_precision"][1] is None
    assert found["classes_without_test_positives"] == 1
    known = [ap for ap in found["average_precision"] if ap is not None]
    assert found["value"] == pytest.approx(np.mean(known))


def test_fits_that_do_not_converge_are_told(monkeypatch, caplog):
    train, validation, test = (presence(n, s) for s, n in enumerate((61, 43, 57)))
    few = {"start": None, "tolerance": 1e-9, "max_iter": 1}
    monkeypatch.setattr(fit_binary, "__kwdefaults__", few)
    with caplog.at_level(logging.WARNING):
        found = binary_sweep(train, validation, test, seed=0, lambdas=GRID)
    assert not found["converged"] and "did not converge" in caplog.text


def record(value, measure="top1", published=None, **extra):
    return {"value": value, "measure": measure, "published": published, **extra}


def test_the_table_means_only_what_was_measured():
    linear = {
        "cifar10": record(0.5, published=0.953, ci95=[0.4, 0.625]),
        "pets": record(0.25, "mean_per_class", 0.892),
        "birdsnap": record(None, published=0.484, not_measured="pass birdsnap=F"),
    }
    tuned = {
        "cifar10": record(0.75, published=0.986),
        "pets": record(0.5, "mean_per_class", 0.921),
        "birdsnap": record(None, published=0.782, not_measured="pass birdsnap=F"),
    }
    text = render_transfer({"linear": linear, "finetune": tuned})
    head, rule, first, second, third, _, mean, source, note = text.splitlines()
    assert head.split() == ["transfer,", "%", "linear", "paper", "fine-tuned", "paper"]
    assert set(rule) == {"-"}
    assert first.split() == (
        ["CIFAR-10", "top-1", "50.0", "[40.0,", "62.5]", "95.3", "75.0", "98.6"]
    )
    assert second.split() == ["Pets", "mean/class", "25.0", "89.2", "50.0", "92.1"]
    assert third.split() == ["Birdsnap", "top-1", "-", "48.4", "-", "78.2"]
    assert mean.split() == ["mean", "of", "2", "37.5", "92.2", "62.5", "95.3"]
    assert "table 8" in source and "95 % interval" in source
    assert note == "Birdsnap not measured: pass birdsnap=F"


def test_the_paper_has_no_mean_where_it_has_no_value():
    text = render_transfer(
        {"linear": {"cars": record(0.5, published=0.6), "mine": record(0.7)}}
    )
    cars, mine, _, mean = text.splitlines()[2:6]
    assert cars.split()[-2:] == ["50.0", "60.0"] and mine.split()[-2:] == ["70.0", "-"]
    assert mean.split() == ["mean", "of", "2", "60.0", "-"]
    assert render_transfer({}) == render_transfer({"linear": {}}) == "(no results)"
