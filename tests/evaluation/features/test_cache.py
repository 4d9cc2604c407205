import builtins
import json
import logging
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from simclr_tf2.errors import ConfigError, RunFailed
from simclr_tf2.evaluation import Features
from simclr_tf2.evaluation.features import cache as feature_cache
from simclr_tf2.evaluation.features.cache import FeatureCache, digest_of_weights

KEY = {"weights": "abc", "data": ["shapes", "train"], "view": {"size": 32}}
X = np.random.default_rng(0).normal(size=(11, 5)).astype(np.float32)
Y = np.arange(11) % 3


def batches(*, size=4, x=X):
    for start in range(0, len(x), size):
        yield x[start : start + size], Y[start : start + size]


def refuse():
    raise AssertionError("computed again")


def only_entry(folder):
    (entry,) = folder.iterdir()
    return entry


@pytest.mark.parametrize("make", [batches, lambda: Features(X, Y)])
def test_made_once_then_read_as_a_memory_map(tmp_path, make, caplog):
    caplog.set_level(logging.INFO)
    cache = FeatureCache(tmp_path / "not" / "yet")
    made = cache.get(KEY, make, name="train")
    found = cache.get(dict(reversed(KEY.items())), refuse, name="train")
    for features in (made, found):
        np.testing.assert_array_equal(features.features, X)
        np.testing.assert_array_equal(features.labels, Y)
        assert features.name == "train"
        assert isinstance(features.features.base, np.memmap)
        assert not features.features.flags.writeable
    assert caplog.text.count("read from") == 1
    entry = only_entry(tmp_path / "not" / "yet")
    facts = json.loads((entry / "entry.json").read_text())
    assert facts["key"] == KEY and facts["features"]["shape"] == [11, 5]
    assert facts["finite"] is True
    assert set(facts["versions"]) == {"simclr_tf2", "tensorflow", "keras", "numpy"}
    np.testing.assert_array_equal(np.load(entry / "features.npy"), X)


SEVERAL = np.random.default_rng(1).integers(-1, 2, (11, 3))


def several(*, size=4):
    for start in range(0, len(X), size):
        yield X[start : start + size], SEVERAL[start : start + size]


@pytest.mark.parametrize("make", [several, lambda: Features(X, SEVERAL)])
def test_several_labels_an_image_are_kept_with_the_ignored_ones(tmp_path, make):
    cache = FeatureCache(tmp_path)
    cache.get(KEY, make)
    found = cache.get(KEY, refuse)
    assert set(SEVERAL.ravel()) == {-1, 0, 1}
    np.testing.assert_array_equal(found.labels, SEVERAL)
    np.testing.assert_array_equal(found.features, X)
    assert found.labels.dtype == np.int64 and isinstance(found.labels.base, np.memmap)
    facts = json.loads((only_entry(tmp_path) / "entry.json").read_text())
    assert facts["labels"]["shape"] == [11, 3]
    flip(only_entry(tmp_path) / "labels.npy")  # covered by the checksum
    np.testing.assert_array_equal(cache.get(KEY, several).labels, SEVERAL)
    with pytest.raises(AssertionError, match="computed again"):
        flip(only_entry(tmp_path) / "labels.npy")
        cache.get(KEY, refuse)


def test_an_interrupted_make_of_several_labels_leaves_nothing(tmp_path):
    def interrupted():
        yield X[:4], SEVERAL[:4]
        raise KeyboardInterrupt

    cache = FeatureCache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        cache.get(KEY, interrupted)
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(cache.get(KEY, several).labels, SEVERAL)


@pytest.mark.parametrize(
    "other", [{"weights": "abd"}, {"view": {"size": 33}}, {"data": ["shapes", "test"]}]
)
def test_another_key_is_another_entry(tmp_path, other):
    cache = FeatureCache(tmp_path)
    cache.get(KEY, batches)
    found = cache.get(KEY | other, lambda: batches(x=X + 1))
    np.testing.assert_array_equal(found.features, X + 1)
    np.testing.assert_array_equal(cache.get(KEY, refuse).features, X)


def test_batches_are_written_as_they_come(tmp_path):
    seen = []

    def watched():
        for batch in batches():
            partial = only_entry(tmp_path)
            seen.append((partial.name.endswith(".partial"), len(seen)))
            yield batch

    FeatureCache(tmp_path).get(KEY, watched)
    assert seen == [(True, 0), (True, 1), (True, 2)]
    assert not only_entry(tmp_path).name.endswith(".partial")


def flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def other_key(path):
    path.write_text(path.read_text().replace('"abc"', '"abd"'))


def other_format(path):
    path.write_text(path.read_text().replace('"format": 1', '"format": 0'))


@pytest.mark.parametrize(
    ("file", "damage"),
    [(f"{part}.npy", d) for part in ("features", "labels") for d in (flip, cut)]
    + [("entry.json", d) for d in (cut, other_key, other_format, os.remove)]
    + [("features.npy", os.remove), ("labels.npy", lambda p: p.write_bytes(b""))],
)
def test_a_damaged_entry_is_made_again_and_said(tmp_path, file, damage, caplog):
    cache = FeatureCache(tmp_path)
    cache.get(KEY, batches)
    damage(only_entry(tmp_path) / file)
    with caplog.at_level(logging.WARNING):
        found = cache.get(KEY, batches)
    assert "is damaged" in caplog.text and "\n" not in caplog.messages[0]
    np.testing.assert_array_equal(found.features, X)
    np.testing.assert_array_equal(cache.get(KEY, refuse).features, X)
    assert len(list(tmp_path.iterdir())) == 1


def test_an_interrupted_make_leaves_nothing(tmp_path):
    def interrupted():
        yield X[:4], Y[:4]
        raise KeyboardInterrupt

    cache = FeatureCache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        cache.get(KEY, interrupted)
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(cache.get(KEY, batches).features, X)


def test_what_a_killed_process_left_is_removed_what_a_living_one_writes_is_not(
    tmp_path,
):
    cache = FeatureCache(tmp_path)
    cache.get(KEY, batches)
    entry = only_entry(tmp_path)
    host = feature_cache.socket.gethostname()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f".{entry.name}.{host}.{ended.pid}.partial"
    living = tmp_path / f".{entry.name}.{host}.{os.getppid()}.partial"
    elsewhere = tmp_path / f".{entry.name}.another-host.{ended.pid}.partial"
    replaced = left.with_suffix(".old")
    for folder in (left, living, elsewhere, replaced):
        folder.mkdir()
    cut(entry / "features.npy")
    cache.get(KEY, batches)
    assert not left.exists() and not replaced.exists()
    assert living.exists() and elsewhere.exists()


def test_two_writers_of_one_key_end_with_one_entry(tmp_path):
    """The other process publishes while this one is still computing."""
    cache = FeatureCache(tmp_path)

    def slow():
        other = tmp_path / "elsewhere"
        FeatureCache(other).get(KEY, batches)
        finished = only_entry(other)
        os.rename(finished, tmp_path / finished.name)
        other.rmdir()
        yield from batches()

    np.testing.assert_array_equal(cache.get(KEY, slow).features, X)
    assert not only_entry(tmp_path).name.startswith(".")
    np.testing.assert_array_equal(cache.get(KEY, refuse).features, X)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("name", ["features.npy", "labels.npy", "entry.json"])
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path, monkeypatch, name):
    def on_full_disk(path, *args, **kwargs):
        full = os.path.basename(path) == name
        return builtins.open("/dev/full" if full else path, *args, **kwargs)

    monkeypatch.setattr(feature_cache, "open", on_full_disk, raising=False)
    with pytest.raises(RunFailed, match="the disk is full; free") as error:
        FeatureCache(tmp_path).get(KEY, batches)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailed, match="cannot be kept in"):
        FeatureCache(tmp_path / "file" / "features").get(KEY, batches)


NAN = np.where(np.arange(11)[:, None] == 6, np.nan, X)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: batches(x=NAN), "row 6 of the features is not finite"),
        (lambda: iter([]), "no image"),
        (lambda: iter([(X[:0], Y[:0])]), "no image"),
        (lambda: iter([(X, Y[:3])]), r"labels \[b\]"),
        (lambda: iter([(X, Y), (X[:, :3], Y)]), "of one d"),
        (lambda: iter([(X[0], Y)]), r"\[b, d\]"),
        (lambda: iter([(X, SEVERAL), (X, Y)]), "of one l"),
        (lambda: iter([(X, SEVERAL), (X, SEVERAL[:, :2])]), "of one l"),
        (lambda: iter([(X, SEVERAL[:3])]), "of one l"),
        (lambda: iter([(X, SEVERAL[..., None])]), "of one l"),
    ],
)
def test_features_that_cannot_be_kept_are_refused_and_leave_nothing(
    tmp_path, make, message
):
    with pytest.raises(ConfigError, match=message):
        FeatureCache(tmp_path).get(KEY, make)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", [{"x": {1, 2}}, {"x": float("nan")}])
def test_a_key_that_json_cannot_hold_is_refused(tmp_path, key):
    with pytest.raises(ConfigError, match="ready for JSON"):
        FeatureCache(tmp_path).get(key, batches)


def network(order=("a", "b")):
    images = keras.Input((3,))
    keras.utils.set_random_seed(0)
    heads = {name: keras.layers.Dense(2, name=name)(images) for name in order}
    out = keras.layers.BatchNormalization(name="norm")(
        keras.layers.add([heads["a"], heads["b"]], name="sum")
    )
    return keras.Model(images, out)


def test_digest_follows_every_weight_and_statistic_not_the_order_of_layers():
    model, other = network(), network(order=("b", "a"))
    for name in ("a", "b", "norm"):
        other.get_layer(name).set_weights(model.get_layer(name).get_weights())
    before = digest_of_weights(model)
    assert before == digest_of_weights(model) == digest_of_weights(other)
    seen = {before}
    for variable in model.weights:
        variable.assign(variable + 1)
        seen.add(digest_of_weights(model))
    assert len(seen) == 1 + len(model.weights)


def test_digest_tells_two_weights_that_were_exchanged():
    model = network()
    before = digest_of_weights(model)
    a, b = model.get_layer("a"), model.get_layer("b")
    first, second = a.get_weights(), b.get_weights()
    a.set_weights(second)
    b.set_weights(first)
    assert digest_of_weights(model) != before
