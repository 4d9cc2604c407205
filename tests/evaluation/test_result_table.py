import json

import numpy as np
import pytest

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import render
from simclr_tf2.evaluation.protocols import logistic
from simclr_tf2.evaluation.rows import evaluate_rows
from tests.evaluation.clusters import clusters


def rows(noise=1.0):
    return {
        "SimCLR h": (
            clusters(60, noise=noise, seed=1, name="train[:60]"),
            clusters(40, noise=noise, seed=2, name="test"),
        ),
        "Random encoder h": (
            clusters(60, noise=9 * noise, seed=3, name="train[:60]"),
            clusters(40, noise=9 * noise, seed=4, name="test"),
        ),
    }


def test_results_survive_json_and_say_what_they_rest_on():
    results = evaluate_rows(rows(), ("logreg", "knn"), seed=7)
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert list(results) == [
        "SimCLR h/logreg",
        "SimCLR h/knn",
        "Random encoder h/logreg",
        "Random encoder h/knn",
    ]
    record = results["SimCLR h/logreg"]
    expected = {
        "value": record["top1"],
        "measure": "top1",
        "protocol": "logreg",
        "row": "SimCLR h",
        "train_split": "train[:60]",
        "train_examples": 60,
        "test_split": "test",
        "test_examples": 40,
        "num_classes": 3,
        "feature_dim": 5,
        "C": 1.0,
        "seed": 7,
        "scaler": "StandardScaler",
    }
    assert {name: record[name] for name in expected} == expected
    assert results["SimCLR h/knn"]["k"] == 10
    assert "predictions" not in record


def test_predictions_are_kept_when_asked_for():
    results = evaluate_rows(rows(), ("knn",), 0, keep_predictions=True)
    assert len(results["SimCLR h/knn"]["predictions"]) == 40


@pytest.mark.parametrize(
    ("labels", "chance"),
    [([0, 1, 1, 1], 0.75), ([1, 2, 1, 2], 0.5), ([0, 1, 2], 1 / 3)],
)
def test_chance_is_the_share_of_the_most_frequent_class_of_the_test_images(
    labels, chance
):
    """Also where no test image has the most frequent class of the training images."""
    train = clusters(12, labels=[0] * 7 + [1] * 3 + [2] * 2)
    test = clusters(len(labels), labels=labels)
    results = evaluate_rows({"h": (train, test)}, ("knn",), 0)
    assert results["h/knn"]["chance"] == chance
    assert f"3 classes, commonest class {100 * chance:.1f} %;" in render(results)


def test_what_every_row_finds_of_the_images_is_said_once(caplog):
    few = clusters(9, seed=1), clusters(9, seed=2)
    evaluate_rows({"a": few, "b": few}, ("knn", "weighted_knn", "linear"), 0)
    said = [r.message for r in caplog.records if "clipped to the 9" in r.message]
    assert len(said) == len(set(said)) == 3


def test_the_same_seed_gives_the_same_results():
    first, again = (evaluate_rows(rows(), ("logreg", "knn"), 0) for _ in range(2))
    for results in (first, again):
        for record in results.values():
            record.pop("seconds")
    assert first == again


def test_an_unknown_protocol_is_refused_before_anything_runs():
    with pytest.raises(ConfigError, match="among knn, linear.*Received: 'magic'"):
        evaluate_rows({"h": (None, None)}, ("logreg", "magic"), 0)


def test_table_is_aligned_plain_text_in_the_order_of_the_rows():
    results = evaluate_rows(rows(), ("logreg", "knn"), seed=0)
    text = render(results)
    lines = text.splitlines()
    assert text.isascii()
    assert max(map(len, lines)) <= 110
    assert lines[0].split() == ["top-1", "%", "LogReg", "kNN"]
    assert lines[2].startswith("SimCLR h ")
    assert lines[3].startswith("Random encoder h ")
    assert len({len(line) for line in lines[:5]}) == 1
    assert f"{100 * results['SimCLR h/knn']['value']:.1f}" in lines[2]
    assert "60 labelled train images, 40 test images, 3 classes" in text
    assert "C 1" in text and "k 10" in text


def test_table_marks_what_did_not_converge(monkeypatch):
    monkeypatch.setattr(logistic, "MAX_ITER", 2)
    text = render(evaluate_rows(rows(), ("logreg",), 0))
    assert "* [" in text
    assert "did not converge" in text


def test_table_of_nothing_and_of_missing_cells():
    assert render({}) == "(no results)"
    results = evaluate_rows(rows(), ("logreg", "knn"), 0)
    del results["Random encoder h/knn"]
    assert render(results).splitlines()[3].rstrip().endswith("-")


def test_constant_predictions_are_at_chance():
    train, test = rows()["SimCLR h"]
    flat = [type(f)(np.zeros_like(f.features), f.labels) for f in (train, test)]
    results = evaluate_rows({"h": tuple(flat)}, ("logreg",), 0)
    assert results["h/logreg"]["value"] == results["h/logreg"]["chance"]


def test_what_every_row_and_protocol_finds_of_the_images_is_logged_once(caplog):
    train = clusters(12, labels=[0] * 7 + [1] * 5)
    test = clusters(6, labels=[0, 1, 2] * 2)
    both = {"SimCLR h": (train, test), "Random encoder h": (train, test)}
    for _ in range(2):
        caplog.clear()
        evaluate_rows(both, ("logreg", "knn", "weighted_knn"), 0)
        said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        unseen = [text for text in said if "no training image" in text]
        assert unseen == [
            "1 class(es) of the test split have no training image and count as errors "
            "(labels 2)"
        ]
        assert len(said) == len(set(said)) > 1
