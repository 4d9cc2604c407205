import json
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import Features
from simclr_tf2.evaluation.protocols.low_shot import k_shot, low_shot, voc_low_shot
from simclr_tf2.evaluation.scoring import interval95
from simclr_tf2.metrics.average_precision import average_precision
from tests.evaluation.clusters import clusters, multi_label

COSTS = (1.0, 0.5**6)


def test_k_shot_fits_k_images_of_each_class_and_no_other(monkeypatch):
    train, test = clusters(90, seed=1, noise=1.5), clusters(41, seed=2, noise=1.5)
    fitted = []
    fit = LogisticRegression.fit
    monkeypatch.setattr(
        LogisticRegression, "fit", lambda s, x, y: fitted.append((x, y)) or fit(s, x, y)
    )
    found = k_shot(train, test, seed=0, ks=(3, 7), samples=2)
    counts = [np.bincount(y).tolist() for _, y in fitted]
    assert counts == [[3] * 3, [3] * 3, [7] * 3, [7] * 3]
    for x, _ in fitted:  # standardised by the chosen images alone
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-5)
    assert len({x.tobytes() for x, _ in fitted}) == 4  # all choices differ
    assert found["shots"] == [3, 7]


def test_k_shot_with_every_image_is_the_whole_pipeline():
    train = clusters(21, seed=1, noise=1.5, labels=np.arange(21) % 3)
    test = clusters(41, seed=2, noise=1.5)
    oracle = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1200))
    oracle.fit(train.features, train.labels)
    found = k_shot(train, test, seed=0, ks=(7,), samples=3)
    expected = oracle.score(test.features, test.labels)
    assert found["top1_values"] == [[pytest.approx(expected)] * 3]
    assert found["top1_std"] == [0.0]
    every = np.stack([oracle.predict(test.features)] * 3, axis=1)
    np.testing.assert_array_equal(found["predictions"], every)


def test_k_shot_means_belong_to_their_values_and_rise_with_k():
    train, test = clusters(300, seed=1, noise=2.0), clusters(101, seed=2, noise=2.0)
    found = k_shot(train, test, seed=0, ks=(64, 1, 8))
    assert found["shots"] == [1, 8, 64]
    np.testing.assert_allclose(found["top1_mean"], np.mean(found["top1_values"], 1))
    np.testing.assert_allclose(found["top1_std"], np.std(found["top1_values"], 1))
    assert found["top1_std"][0] > 0
    assert found["top1_mean"][0] < found["top1_mean"][2]
    assert found["top1"] == pytest.approx(found["top1_mean"][-1])
    assert found["k"] == 64
    assert np.sum(found["confusion"]) == 5 * 101
    assert found["ci95"] == list(interval95(round(found["top1"] * 101), 101))
    del found["predictions"]
    json.dumps(found)


def test_predictions_are_those_of_every_sample_at_the_largest_k():
    train, test = clusters(90, seed=1, noise=2.0), clusters(41, seed=2, noise=2.0)
    found = k_shot(train, test, seed=0, ks=(1,), samples=3)
    values = found["top1_values"][0]
    assert len(set(values)) == 3
    right = found["predictions"] == test.labels[:, None]
    np.testing.assert_allclose(right.mean(axis=0), values)
    low, high = found["mean_per_class_ci95"]
    assert low < found["mean_per_class"] < high
    # 41 images, not the 123 that the counts of three samples add up to.
    assert high - low > 0.8 * (found["ci95"][1] - found["ci95"][0])


def test_choices_depend_on_the_seed_alone_not_on_other_classes():
    train, test = clusters(90, seed=1, noise=2.0), clusters(41, seed=2, noise=2.0)
    once = k_shot(train, test, seed=4, ks=(5,))
    again = k_shot(train, test, seed=4, ks=(2, 5))
    other = k_shot(train, test, seed=5, ks=(5,))
    assert once["top1_values"][0] == again["top1_values"][1]
    assert once["top1_values"] != other["top1_values"]


def test_k_above_the_images_of_a_class_is_skipped_and_said(caplog):
    train = clusters(20, seed=1, labels=[0] * 10 + [1] * 7 + [2] * 3)
    found = k_shot(train, clusters(9, seed=2), seed=0)
    assert found["shots"] == [1, 2]
    assert list(found["skipped"]) == ["4", "8", "16", "32", "64", "96"]
    assert found["skipped"]["4"] == "class 2 has 3 training image(s)"
    assert "k=4 is skipped: class 2 has 3 training image(s)" in caplog.text
    with pytest.raises(ConfigError, match="no k of the low-shot.*class 2 has 3 train"):
        k_shot(train, clusters(9, seed=2), seed=0, ks=(4, 8))


def oracle_low_shot(train_x, train_y, test_x, test_y, *, k, sample, cost, column):
    """One class of one choice, with the rows drawn as documented."""
    rng = np.random.default_rng([0, sample, k, column])
    target = train_y[:, column]
    rows = np.r_[
        rng.permutation(np.flatnonzero(target == 1))[:k],
        rng.permutation(np.flatnonzero(target == 0))[: 19 * k],
    ]
    assert np.bincount(target[rows]).tolist() == [19 * k, k]
    unit = [
        x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-5) for x in (train_x, test_x)
    ]
    model = LinearSVC(
        C=cost, class_weight={1: 2, -1: 1}, tol=1e-6, max_iter=10**6, random_state=0
    ).fit(unit[0][rows], np.where(target[rows] == 1, 1, -1))
    return average_precision(
        model.decision_function(unit[1]), test_y[:, column], points="interpolated"
    )


def test_voc_low_shot_equals_svms_fitted_one_by_one():
    train_x, train_y = multi_label(140, seed=1)
    test_x, test_y = multi_label(31, seed=2)
    found = voc_low_shot(
        train_x, train_y, test_x, test_y, seed=0, ks=(1, 2), samples=2, costs=COSTS
    )
    table = np.array(
        [
            [
                [
                    np.mean(
                        [
                            oracle_low_shot(
                                train_x,
                                train_y,
                                test_x,
                                test_y,
                                k=k,
                                sample=sample,
                                cost=cost,
                                column=column,
                            )
                            for column in range(3)
                        ]
                    )
                    for cost in COSTS
                ]
                for sample in range(2)
            ]
            for k in (1, 2)
        ]
    )  # [k, sample, cost]
    means = table.mean(axis=1)
    np.testing.assert_allclose(found["map_by_cost"], means, atol=1e-3)
    best = means.argmax(axis=1)
    assert found["costs_chosen"] == [COSTS[b] for b in best]
    at_best = np.stack([table[i, :, b] for i, b in enumerate(best)])
    for name in ("mean", "std", "min", "max"):
        expected = getattr(np, name)(at_best, axis=1)
        np.testing.assert_allclose(found[f"map_{name}"], expected, atol=1e-3)
    assert "test split" in found["costs_chosen_on"]
    assert found["fits"] == 2 * 2 * 3 * 2
    values = found.pop("class_values")
    assert values.mean() == pytest.approx(found["map_mean"][-1])
    json.dumps(found)


def test_voc_low_shot_leaves_ignored_images_out_of_both_splits():
    train_x, train_y = multi_label(140, seed=1, ignored=0.3)
    test_x, test_y = multi_label(31, seed=2, ignored=0.3)
    settings = {"seed": 0, "ks": (2,), "samples": 2, "costs": COSTS}
    found = voc_low_shot(train_x, train_y, test_x, test_y, **settings)
    # What ignored images look like cannot matter if no class reads them: drown class
    # 1's in noise and read class 1 alone.
    noisy_train, noisy_test = train_x.copy(), test_x.copy()
    noisy_train[train_y[:, 1] < 0] = 1e3
    noisy_test[test_y[:, 1] < 0] = -1e3
    columns = slice(1, 2)
    before = voc_low_shot(
        train_x, train_y[:, columns], test_x, test_y[:, columns], **settings
    )
    after = voc_low_shot(
        noisy_train, train_y[:, columns], noisy_test, test_y[:, columns], **settings
    )
    assert before["map_by_cost"] == after["map_by_cost"]
    assert found["shots"] == [2]


def test_voc_low_shot_skips_ks_without_enough_positives_or_negatives(caplog):
    x, y = multi_label(80, seed=1, ignored=0.0)
    found = voc_low_shot(x, y, x, y, seed=0, samples=1, costs=COSTS)
    assert found["shots"] == [1]
    assert found["skipped"]["2"].endswith("2 and 38 are needed")
    assert "k=2 is skipped" in caplog.text
    with pytest.raises(ConfigError, match="no k of the low-shot protocol"):
        voc_low_shot(x, y, x, y, seed=0, ks=(64,))


def test_voc_low_shot_reads_single_labels_as_one_against_the_rest():
    train, test = clusters(150, seed=1), clusters(31, seed=2)
    settings = {"seed": 0, "ks": (2,), "samples": 2, "costs": COSTS}
    y = [(f.labels[:, None] == range(3)).astype(int) for f in (train, test)]
    found = [
        voc_low_shot(train.features, a, test.features, b, **settings)
        for a, b in ((train.labels, test.labels), y)
    ]
    assert found[0]["map_by_cost"] == found[1]["map_by_cost"]


def test_low_shot_takes_the_protocol_that_the_labels_ask_for():
    train, test = clusters(60, seed=1), clusters(20, seed=2)
    assert "top1_mean" in low_shot(train, test, seed=0)
    x, y = multi_label(80, seed=1, ignored=0.0)
    several = SimpleNamespace(features=x, labels=y)
    found = low_shot(several, several, seed=0)
    assert found["measure"] == "map" and found["value"] == found["map_mean"][-1]
    assert found["class_values"].mean() == pytest.approx(found["value"])
    low, high = found["ci95"]
    assert low < found["value"] <= high < low + 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, b: k_shot(a, b, seed=0, ks=()), "k and samples of 1 or more"),
        (lambda a, b: k_shot(a, b, seed=0, ks=(0, 1)), "k and samples of 1 or more"),
        (lambda a, b: k_shot(a, b, seed=0, samples=0), "k and samples of 1 or more"),
        (
            lambda a, b: k_shot(Features(a.features, a.labels * 0), b, seed=0),
            "one class",
        ),
        (
            lambda a, b: k_shot(a, Features(b.features, b.labels - 1), seed=0),
            "have no label",
        ),
        (
            lambda a, b: k_shot(
                SimpleNamespace(features=a.features, labels=np.ones((60, 3))), b, seed=0
            ),
            "multi-label splits have voc_low_shot",
        ),
        (
            lambda a, b: voc_low_shot(
                a.features, np.ones((60, 3), int), b.features, b.labels, seed=0
            ),
            "both be single-label",
        ),
        (
            lambda a, b: voc_low_shot(
                a.features * np.nan, a.labels, b.features, b.labels, seed=0
            ),
            "60 of 60 rows of the train features are not finite",
        ),
        (
            lambda a, b: voc_low_shot(
                a.features, a.labels, b.features, b.labels + 7, seed=0, ks=(1,)
            ),
            "no class of the train split occurs",
        ),
        (
            lambda a, b: voc_low_shot(
                a.features, a.labels, b.features, b.labels, seed=0, costs=(-1.0,)
            ),
            "costs must be",
        ),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(ConfigError, match=message) as caught:
        call(clusters(60, seed=1), clusters(20, seed=2))
    assert "\n" not in str(caught.value)
