"""The AvgPool column of the features benchmark, against its formulas in float64."""

import json
import math

import keras
import numpy as np
import pytest

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import Features
from simclr_tf2.evaluation.protocols.average_pool import average_pool_linear
from tests.evaluation.clusters import clusters


def by_hand(train, test, *, seed, epochs, batch, peak):
    """Softmax regression by LARS (arXiv 1708.03888) with a cosine, written out."""
    x, y = train.features.astype(np.float64), train.labels
    n, classes = len(y), int(y.max()) + 1
    draw = keras.initializers.RandomNormal(stddev=0.01, seed=seed)
    parts = [np.array(draw((x.shape[1], classes)), np.float64), np.zeros(classes)]
    speed = [np.zeros_like(part) for part in parts]
    rng, stream = np.random.default_rng(seed), np.empty(0, int)
    steps = n * epochs // batch + 1
    for step in range(steps):
        if len(stream) < batch:
            stream = np.concatenate([stream, rng.permutation(n)])
        rows, stream = stream[:batch], stream[batch:]
        logits = x[rows] @ parts[0] + parts[1]
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        loss = -np.log(p[np.arange(batch), y[rows]]).mean()
        p[np.arange(batch), y[rows]] -= 1
        rate = peak * (1 + math.cos(math.pi * step / steps)) / 2
        for i, gradient in enumerate((x[rows].T @ p / batch, p.mean(0))):
            norms = np.linalg.norm(parts[i]), np.linalg.norm(gradient)
            trust = 0.001 * norms[0] / norms[1] if min(norms) else 1.0
            speed[i] = 0.9 * speed[i] + rate * trust * gradient
            parts[i] = parts[i] - speed[i]
    return test.features @ parts[0] + parts[1], loss, steps


@pytest.mark.parametrize("epochs", [3, 60])
def test_it_is_lars_with_a_cosine(epochs):
    train, test = (clusters(n, seed=s, noise=2.0) for n, s in ((35, 1), (90, 2)))
    scores, loss, steps = by_hand(train, test, seed=4, epochs=epochs, batch=7, peak=1.6)
    found = average_pool_linear(train, test, seed=4, epochs=epochs, global_batch_size=7)
    assert found["loss"] == pytest.approx(loss, rel=1e-4) and found["steps"] == steps
    np.testing.assert_array_equal(found["predictions"], scores.argmax(1))
    assert 0.2 < found["top1"] < 1


def test_the_record_says_what_was_done(caplog):
    train, test = (clusters(n, seed=s, classes=7) for n, s in ((30, 1), (50, 2)))
    found = average_pool_linear(train, test, seed=0)
    assert found["optimizer"] == "lars" and found["weight_decay"] == 0
    assert (found["epochs"], found["learning_rate"]) == (90, 1.6)
    assert (found["global_batch_size"], found["global_batch_size_asked"]) == (30, 4096)
    assert found["top1"] <= found["top5"] and found["dim"] == 5
    assert "clipped to the 30 training images" in caplog.text
    del found["predictions"]
    json.dumps(found)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"epochs": 0}, "epochs"), ({"learning_rate": -1}, "rate")],
)
def test_bad_settings_are_one_clear_line(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        average_pool_linear(clusters(9), clusters(9), seed=0, **kwargs)


def test_one_class_is_refused():
    one = Features(np.ones((5, 2)), np.zeros(5, int))
    with pytest.raises(ConfigError, match="one class"):
        average_pool_linear(one, one, seed=0)
