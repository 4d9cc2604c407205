import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import Features, extract, raw_pixels
from simclr_tf2.evaluation.features.extraction import make_runner

IMAGES = np.random.default_rng(0).uniform(size=[11, 3, 3, 2]).astype(np.float32)
LABELS = np.arange(11) % 3


def batches(size, pad_last=True):
    """Elements as the evaluation pipeline yields them: the last one padded."""
    for start in range(0, len(IMAGES), size):
        image, label = IMAGES[start : start + size], LABELS[start : start + size]
        mask = np.ones(len(label), bool)
        short = size - len(label) if pad_last else 0
        yield {
            # Padding that would be noticed: NaN pixels.
            "image": np.pad(image, [(0, short)] + [(0, 0)] * 3, constant_values=np.nan),
            "label": np.pad(label, (0, short), constant_values=2),
            "mask": np.pad(mask, (0, short)),
        }


def flat_sum(image):
    return tf.stack(
        [tf.reduce_sum(image, [1, 2, 3]), tf.reduce_max(image, [1, 2, 3])], axis=1
    )


EXPECTED = np.stack([IMAGES.sum((1, 2, 3)), IMAGES.max((1, 2, 3))], axis=1)
ROUNDING = 2 * 18 * np.finfo(np.float32).eps  # of two sums of 18 positive numbers


@pytest.mark.parametrize("size", [1, 3, 4, 11, 16])
@pytest.mark.parametrize("pad_last", [True, False])
def test_every_example_once_in_order_whatever_the_batch(size, pad_last):
    found = extract(flat_sum, batches(size, pad_last), name="test")
    np.testing.assert_allclose(found.features, EXPECTED, rtol=ROUNDING)
    np.testing.assert_array_equal(found.labels, LABELS)
    assert found.features.dtype == np.float32
    assert found.labels.dtype == np.int64
    assert found.name == "test"


@pytest.mark.parametrize("size", [1, 3, 4, 11])
def test_replicas_share_a_batch_and_change_nothing(two_replicas, size):
    found = extract(flat_sum, batches(size), strategy=two_replicas)
    np.testing.assert_allclose(found.features, EXPECTED, rtol=ROUNDING)
    np.testing.assert_array_equal(found.labels, LABELS)


def test_replicas_run_a_keras_model_with_half_of_each_batch(two_replicas):
    with two_replicas.scope():
        model = keras.Sequential(
            [
                keras.layers.Input([3, 3, 2]),
                keras.layers.Flatten(),
                keras.layers.Dense(5),
            ]
        )
    seen = []

    def encode(image):
        seen.append(image.shape[0])
        return model(image, training=False)

    one = extract(lambda x: model(x, training=False), batches(4))
    two = extract(encode, batches(4), strategy=two_replicas)
    # A feature is a sum of 18 products that may cancel: what it can lose is a share of
    # the sum of their sizes, not of the feature.
    sizes = IMAGES.reshape(len(IMAGES), -1) @ np.abs(model.get_weights()[0])
    limit = 2 * 18 * np.finfo(np.float32).eps * sizes.max()
    np.testing.assert_allclose(one.features, two.features, rtol=0, atol=limit)
    assert limit < 1e-4 * np.abs(one.features).max()  # it can tell another share apart
    assert set(seen) == {2}


def test_parts_of_a_batch_meet_on_the_host(two_replicas, monkeypatch):
    """TensorFlow would first copy all of them to one device."""

    def refuse(*_, **__):
        raise AssertionError("joined by TensorFlow")

    monkeypatch.setattr(tf, "concat", refuse)
    run = make_runner(lambda x: tf.cast(flat_sum(x), tf.bfloat16), two_replicas)
    found = run.encode(tf.constant(IMAGES[:10]))
    assert type(found) is np.ndarray and found.dtype == np.float32
    np.testing.assert_allclose(found, EXPECTED[:10], rtol=0.01)


def test_one_graph_is_traced_though_the_last_batch_is_short():
    shapes = []

    def encode(image):
        shapes.append(image.shape)
        return flat_sum(image)

    extract(encode, batches(4, pad_last=False))
    assert [tuple(s) for s in shapes] == [(4, 3, 3, 2)]


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 11, 99])
def test_limit_keeps_exactly_the_first_examples(limit):
    for found in (
        extract(flat_sum, batches(4), limit=limit),
        raw_pixels(batches(4), limit=limit),
    ):
        np.testing.assert_array_equal(found.labels, LABELS[:limit])


def test_limit_reads_no_batch_that_it_does_not_need():
    read = []
    source = (read.append(0) or element for element in batches(4))
    extract(flat_sum, source, limit=4)
    assert len(read) == 1


def test_limit_counts_examples_of_the_mask_only():
    element = {
        "image": IMAGES[:5],
        "label": np.arange(5),
        "mask": np.array([False, True, False, True, True]),
    }
    assert extract(flat_sum, [element], limit=2).labels.tolist() == [1, 3]


def test_tf_data_and_images_without_labels_are_read():
    dataset = tf.data.Dataset.from_tensor_slices({"image": IMAGES}).batch(4)
    found = extract(flat_sum, dataset)
    assert len(found) == 11
    assert set(found.labels) == {-1}


def test_half_precision_features_become_float32():
    found = extract(lambda x: tf.cast(flat_sum(x), tf.bfloat16), batches(4))
    assert found.features.dtype == np.float32


def test_raw_pixels_are_the_images():
    found = raw_pixels(batches(4), name="train")
    np.testing.assert_array_equal(found.features, IMAGES.reshape(11, -1))


def test_too_many_pixels_are_refused_before_they_fill_the_memory():
    with pytest.raises(ConfigError, match="train needs more than"):
        raw_pixels(batches(4), name="train", max_gib=1e-7)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused_with_their_row(bad):
    features = EXPECTED.copy()
    features[7, 1] = bad
    with pytest.raises(ConfigError, match=r"1 of 11 rows .* of test .*row 7"):
        Features(features, LABELS, "test")
    with pytest.raises(ConfigError, match="not finite"):
        extract(lambda x: flat_sum(x) / 0.0, batches(4))


def test_large_finite_features_are_accepted():
    Features(np.full([3, 2], np.finfo(np.float32).max), np.arange(3))


def test_nothing_to_read_is_an_error_that_says_so():
    with pytest.raises(ConfigError, match="no image to evaluate in test"):
        extract(flat_sum, [], name="test")
    with pytest.raises(ConfigError, match="limit must be 1 or more"):
        extract(flat_sum, batches(4), limit=0)


def test_shapes_that_do_not_fit_are_refused():
    for features, labels in ((np.ones([3, 2]), np.ones(4)), (np.ones(3), np.ones(3))):
        with pytest.raises(ConfigError, match=r"must be \[n, d\]"):
            Features(features, labels)
