"""What pretraining was worth: paired differences, and one sentence about them."""

import numpy as np
import pytest
from scipy.stats import multinomial

from simclr_tf2.metrics import significance
from simclr_tf2.results.worth import worth

LABELS = np.arange(200) % 4
ABOUT = "pretraining on your images"


def with_errors(count, start=0):
    predicted = LABELS.copy()
    wrong = np.arange(start, start + count)
    predicted[wrong] = (predicted[wrong] + 1) % 4
    return predicted


def found_of(**errors):
    predictions = {"SimCLR h/logreg": with_errors(20)}
    for name, count in errors.items():
        predictions[f"{name}/logreg"] = with_errors(count, start=10)
    return worth(predictions, LABELS, what=ABOUT)


def test_every_row_of_the_same_protocol_is_compared_and_the_best_is_named():
    predictions = {
        "SimCLR h/logreg": with_errors(20),
        "SimCLR h/knn": with_errors(100),
        "Random encoder h/logreg": with_errors(120),
        "Random encoder h/knn": with_errors(0),
        "PCA-256 of pixels/logreg": with_errors(90, start=10),
    }
    found = worth(predictions, LABELS, what=ABOUT)
    assert set(found["against"]) == {"Random encoder h", "PCA-256 of pixels"}
    assert found["best"] == "PCA-256 of pixels" and found["protocol"] == "logreg"
    pca = found["against"]["PCA-256 of pixels"]
    assert pca["difference"] == pytest.approx(0.35)  # 20 wrong against 90
    # 10 only PCA gets right, 80 only the network
    assert pca["interval"] == significance.paired_interval(80, 10, 200)
    low, high = pca["interval"]
    assert (
        f"is worth +35.0 points [{100 * low:+.1f}, {100 * high:+.1f}]"
        in (found["sentence"])
    )
    assert "over PCA-256 of pixels (LogReg, 200 test images" in found["sentence"]


@pytest.mark.parametrize(
    ("errors", "text"),
    [
        (60, "is worth +20.0 points"),
        (20, "is not distinguishable from other"),
        (0, "is worth -10.0 points"),
    ],
)
def test_the_sentence_follows_the_interval(errors, text):
    assert text in found_of(other=errors)["sentence"]


def test_nothing_to_compare_is_empty():
    alone = {"SimCLR h/logreg": with_errors(1)}
    precisions = {"SimCLR h/svm": np.ones(4), "Random encoder h/svm": np.zeros(4)}
    several = {name: np.zeros([200, 2], int) for name in ("a/low_shot", "b/low_shot")}
    for predictions in ({}, alone, precisions, several):
        assert worth(predictions, LABELS, what=ABOUT) == {}
    assert worth(alone, None, what=ABOUT) == {}


@pytest.mark.parametrize("shares", [(0.1, 0.2), (0.05, 0.05), (0.02, 0.3)])
def test_the_paired_interval_covers_the_difference_as_often_as_it_says(shares):
    n, covered = 40, 0.0
    rest = 1 - sum(shares)
    for a in range(n + 1):
        for b in range(n + 1 - a):
            low, high = significance.paired_interval(a, b, n)
            if low <= shares[0] - shares[1] <= high:
                covered += multinomial.pmf([a, b, n - a - b], n, [*shares, rest])
    assert 0.94 < covered < 0.99


def test_the_paired_interval_is_that_of_the_formula_and_narrows():
    # p12 = 8/23, p21 = 2/23, (6/23) +- 1.96 sqrt((10/23 - (6/23)^2) / 23)
    assert significance.paired_interval(7, 1, 21) == pytest.approx(
        (0.0134, 0.5084), abs=1e-4
    )
    wide, narrow = (significance.paired_interval(n, n // 2, 10 * n) for n in (20, 2000))
    assert narrow[1] - narrow[0] < (wide[1] - wide[0]) / 5
    with pytest.raises(ValueError, match="discordant counts"):
        significance.paired_interval(7, 7, 13)
