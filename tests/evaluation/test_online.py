import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import metrics
from simclr_tf2.evaluation import make_monitor, monitor, weighted_knn
from tests.evaluation.clusters import clusters

BANK, QUERIES = clusters(50, dim=6, seed=1), clusters(23, dim=6, seed=2)
SCALARS = {
    "knn_top1_k20",
    "knn_top1_k200",
    "std_h",
    "std_z",
    "uniformity",
    "rankme",
}


def dataset(split, size=7):
    images = split.features.reshape(-1, 1, 2, 3)
    elements = {"image": images, "label": split.labels}
    return tf.data.Dataset.from_tensor_slices(elements).batch(size)


def encode(image):
    h = tf.reshape(image, [-1, 6])
    return h, h[:, :4] * 2.0


def test_scalars_are_those_of_the_features():
    found = monitor(encode, dataset(BANK), dataset(QUERIES))
    assert set(found) == SCALARS
    knn = weighted_knn(BANK, QUERIES, ks=(20, 200))
    z = QUERIES.features[:, :4] * 2
    expected = {
        "knn_top1_k20": knn["top1_k20"],
        "knn_top1_k200": knn["top1_k200"],
        "std_h": float(metrics.embedding_std(QUERIES.features)),
        "std_z": float(metrics.embedding_std(z)),
        "uniformity": float(metrics.uniformity(z)),
        "rankme": float(metrics.rankme(z)),
    }
    assert found == pytest.approx(expected, rel=1e-5)
    assert all(isinstance(value, float) for value in found.values())


def test_two_views_give_alignment_of_z():
    first, second = (
        tf.constant(clusters(5, dim=6, seed=s).features.reshape(5, 1, 2, 3))
        for s in (3, 4)
    )
    found = monitor(encode, dataset(BANK), dataset(QUERIES), views=(first, second))
    expected = metrics.alignment(encode(first)[1], encode(second)[1])
    assert found["alignment"] == pytest.approx(float(expected), rel=1e-5)
    same = monitor(encode, dataset(BANK), dataset(QUERIES), views=(first, first))
    assert same["alignment"] == pytest.approx(0.0, abs=1e-6)


def test_a_collapsed_encoder_shows():
    found = monitor(
        lambda x: (tf.ones([len(x), 6]), tf.ones([len(x), 4])),
        dataset(BANK),
        dataset(QUERIES),
    )
    assert found["std_h"] == pytest.approx(0.0, abs=1e-4)
    assert found["rankme"] == pytest.approx(1.0, abs=1e-2)
    assert found["uniformity"] == pytest.approx(0.0, abs=1e-4)
    assert all(math.isfinite(value) for value in found.values())


def test_without_labels_there_is_everything_but_knn():
    def bare(split):
        return dataset(split).map(lambda element: {"image": element["image"]})

    found = monitor(encode, bare(BANK), bare(QUERIES))
    assert set(found) == {s for s in SCALARS if not s.startswith("knn")}


def test_a_small_bank_is_no_news_at_any_look(caplog):
    caplog.set_level("INFO")
    measure = make_monitor(encode, dataset(BANK), dataset(QUERIES))  # 50 of 200
    found = measure()
    assert measure() == found and not caplog.records
    (line,) = log_of(lambda: weighted_knn(BANK, QUERIES, ks=(20, 200)), caplog)
    assert "k=200 clipped to the 50 training images" in line


def test_what_looks_find_of_the_images_is_said_once(caplog):
    bank = clusters(50, dim=6, seed=1, labels=[0, 1] * 25)
    queries = clusters(20, dim=6, seed=2, labels=[0, 2] * 10)
    measure = make_monitor(encode, dataset(bank), dataset(queries))
    (line,) = log_of(lambda: [measure() for _ in range(3)], caplog)
    assert "1 class(es) of the test split have no training image" in line


def test_a_bank_known_to_have_no_labels_is_not_encoded_nor_spoken_of(caplog):
    caplog.set_level("INFO")
    found = make_monitor(encode, None, dataset(QUERIES), knn=False)()
    assert set(found) == {s for s in SCALARS if not s.startswith("knn")}
    assert not caplog.records


def log_of(run, caplog):
    """What is logged while ``run`` runs."""
    caplog.clear()
    run()
    return [record.message for record in caplog.records]


def test_each_call_sees_the_weights_of_the_moment_and_traces_nothing():
    dense = keras.layers.Dense(3)
    traces = []

    def encode_dense(image):
        traces.append(1)
        h = tf.reshape(image, [-1, 6])
        return h, dense(h)

    views = (tf.ones([5, 1, 2, 3]), tf.zeros([5, 1, 2, 3]))
    measure = make_monitor(encode_dense, dataset(BANK), dataset(QUERIES), views=views)
    before = measure()
    count = len(traces)
    dense.kernel.assign(tf.ones([6, 3]))
    after = measure()
    assert len(traces) == count
    assert after["rankme"] < before["rankme"]


def test_replicas_measure_the_same_and_trace_once(two_replicas):
    traces = []

    def counted(image):
        traces.append(1)
        return encode(image)

    measure = make_monitor(
        counted, dataset(BANK), dataset(QUERIES), strategy=two_replicas
    )
    found = measure()
    count = len(traces)
    assert found == pytest.approx(monitor(encode, dataset(BANK), dataset(QUERIES)))
    measure()
    assert len(traces) == count


def test_a_diverged_encoder_does_not_stop_the_run(caplog):
    nan = np.float32("nan")
    measure = make_monitor(
        lambda x: (tf.fill([len(x), 6], nan), tf.fill([len(x), 4], nan)),
        dataset(BANK),
        dataset(QUERIES),
    )
    assert measure() == {}
    assert "not finite" in caplog.text
