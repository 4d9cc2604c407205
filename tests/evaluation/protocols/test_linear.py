import json
import logging

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import Features
from simclr_tf2.evaluation.protocols.linear import linear_sgd
from simclr_tf2.evaluation.solvers.sgd_heads import read_batches
from tests.evaluation.clusters import clusters


def by_hand(train, test, *, seed, epochs, batch, base, momentum):
    """Nesterov SGD on softmax regression in float64, written out."""
    n, d = train.features.shape
    classes = np.unique(train.labels)
    y = np.searchsorted(classes, train.labels)
    w, b = np.zeros((d, len(classes))), np.zeros(len(classes))
    mw, mb = np.zeros_like(w), np.zeros_like(b)
    steps = round(n * epochs) // batch + 1
    rng, stream = np.random.default_rng(seed), np.empty(0, int)
    for step in range(steps):
        if len(stream) < batch:
            stream = np.concatenate([stream, rng.permutation(n)])
        rows, stream = stream[:batch], stream[batch:]
        x = train.features[rows].astype(np.float64)
        logits = x @ w + b
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        loss = -np.log(p[np.arange(batch), y[rows]]).mean()
        p[np.arange(batch), y[rows]] -= 1
        gw, gb = x.T @ p / batch, p.mean(0)
        rate = base * batch / 256 * 0.5 * (1 + np.cos(np.pi * step / steps))
        mw, mb = momentum * mw - rate * gw, momentum * mb - rate * gb
        w, b = w + momentum * mw - rate * gw, b + momentum * mb - rate * gb
    return test.features @ w + b, classes, loss


@pytest.mark.parametrize("classes", [2, 7])
def test_equals_nesterov_sgd_with_cosine_and_zero_start_written_out(classes):
    train = clusters(61, classes=classes, noise=1.5, seed=1)
    test = clusters(150, classes=classes, noise=1.5, seed=2)
    found = linear_sgd(train, test, seed=3, epochs=5, global_batch_size=7)
    scores, known, loss = by_hand(
        train, test, seed=3, epochs=5, batch=7, base=0.1, momentum=0.9
    )
    np.testing.assert_array_equal(found["predictions"], known[scores.argmax(1)])
    assert found["top1"] == (found["predictions"] == test.labels).mean() < 1
    assert found["loss"] == pytest.approx(loss, rel=2e-5)
    assert found["steps"] == 61 * 5 // 7 + 1
    assert found["learning_rate"] == pytest.approx(0.1 * 7 / 256)
    if classes > 5:
        expected = top_k_accuracy_score(test.labels, scores, k=5)
        assert found["top5"] == pytest.approx(expected)
    else:
        assert "top5" not in found


def test_same_seed_same_numbers_and_another_seed_another_order():
    train, test = clusters(40, noise=2.0, seed=1), clusters(30, noise=2.0, seed=2)
    once, again, other = (
        linear_sgd(train, test, seed=seed, epochs=3, global_batch_size=7)
        for seed in (0, 0, 1)
    )
    assert once["loss"] == again["loss"] != other["loss"]
    np.testing.assert_array_equal(once["predictions"], again["predictions"])


def test_batch_is_clipped_to_the_training_set_and_said(caplog):
    train, test = clusters(13, seed=1), clusters(5, seed=2)
    with caplog.at_level(logging.WARNING):
        found = linear_sgd(train, test, seed=0, epochs=2)
    assert "4096 clipped to the 13" in caplog.text
    assert isinstance(
        json.dumps({**found, "predictions": None, "classifier": None}), str
    )
    assert found["global_batch_size"] == 13
    assert found["global_batch_size_asked"] == 4096
    assert found["learning_rate"] == pytest.approx(0.1 * 13 / 256)


def test_batches_cover_each_epoch_once_before_the_next():
    x = np.arange(11, dtype=np.float32)[:, None]
    batches = list(read_batches([x, 2 * x], np.arange(11), 3, steps=11, seed=0))
    seen = np.concatenate([targets for _, targets in batches])
    counts = np.bincount(seen, minlength=11)
    assert len(seen) == 33 and counts.tolist() == [3] * 11
    for (first, second), targets in batches:
        np.testing.assert_array_equal(first[:, 0], targets)
        np.testing.assert_array_equal(second[:, 0], 2 * targets)
        assert (np.diff(targets) >= 0).all()


def test_a_memory_map_gives_what_the_array_gives(tmp_path):
    train, test = clusters(40, noise=2.0, seed=1), clusters(30, noise=2.0, seed=2)
    np.save(tmp_path / "x.npy", train.features)
    mapped = Features(np.load(tmp_path / "x.npy", mmap_mode="r"), train.labels)
    assert isinstance(mapped.features.base, np.memmap)  # not read into memory
    kwargs = {"seed": 0, "epochs": 3, "global_batch_size": 7}
    assert (
        linear_sgd(mapped, test, **kwargs)["loss"]
        == (linear_sgd(train, test, **kwargs)["loss"])
    )


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": 0},
        {"global_batch_size": 0},
        {"base_learning_rate": 0.0},
        {"base_learning_rate": float("nan")},
        {"momentum": 1.0},
    ],
)
def test_a_setting_out_of_range_is_refused_in_one_line(setting):
    with pytest.raises(ConfigError, match=r"^linear: [^\n]*Received") as error:
        linear_sgd(clusters(9), clusters(5, seed=1), seed=0, **setting)
    assert "\n" not in str(error.value)


def test_divergence_is_one_line():
    train, test = clusters(20, seed=1), clusters(5, seed=2)
    with pytest.raises(ConfigError, match="diverged"):
        linear_sgd(train, test, seed=0, epochs=20, base_learning_rate=1e38)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (clusters(9, labels=[1] * 9), clusters(5), "one class"),
        (clusters(9), Features(np.ones((3, 5)), np.full(3, -1)), "no label"),
        (clusters(9), clusters(5, dim=4), "one dimension"),
    ],
)
def test_splits_that_cannot_be_scored_are_refused(train, test, message):
    with pytest.raises(ConfigError, match=message):
        linear_sgd(train, test, seed=0, epochs=1)
