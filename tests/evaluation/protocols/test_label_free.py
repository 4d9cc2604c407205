import json
import math

import numpy as np
import pytest

from simclr_tf2 import metrics
from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.protocols import label_free as module
from simclr_tf2.evaluation.protocols.label_free import (
    chunked_std,
    chunked_uniformity,
    label_free,
)


def normal(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_values_are_those_of_the_metrics():
    h, z, other = normal(61, 7), normal(61, 5, seed=1), normal(61, 7, seed=2)
    found = label_free(h, z, h_other=other)
    for name, x in (("h", h), ("z", z)):
        assert found[f"{name}_std"] == pytest.approx(float(metrics.embedding_std(x)))
        assert found[f"{name}_std_if_even"] == 1 / math.sqrt(x.shape[1])
        expected = float(metrics.uniformity(x))
        assert found[f"{name}_uniformity"] == pytest.approx(expected, rel=1e-5)
        assert found[f"{name}_rankme"] == pytest.approx(float(metrics.rankme(x)))
        assert found[f"{name}_rankme_max"] == x.shape[1]
    assert found["h_alignment"] == pytest.approx(float(metrics.alignment(h, other)))
    assert "z_alignment" not in found
    assert found["images"] == found["images_for_pairs"] == 61
    assert len(found["caveats"]) >= 3
    json.dumps(found)


@pytest.mark.parametrize("chunk", [1, 7, 60, 61, 1000])
def test_chunks_change_nothing(chunk, monkeypatch):
    x = normal(61, 5) + 3  # far from 0: what a difference of large sums would lose
    x[3] = 0  # a row without direction
    x[4] = x[5]
    expected = float(metrics.uniformity(x))
    assert chunked_uniformity(x, chunk=chunk) == pytest.approx(expected, rel=1e-5)
    std = float(metrics.embedding_std(x))
    assert chunked_std(x, chunk=chunk) == pytest.approx(std, rel=1e-5)
    whole = label_free(x, x, z_other=x + 1)
    monkeypatch.setattr(module, "CHUNK", chunk)
    parts = label_free(x, x, z_other=x + 1)
    assert parts["z_alignment"] == pytest.approx(whole["z_alignment"], rel=1e-5)


def test_the_n_by_n_is_never_held_at_once(monkeypatch):
    seen = []
    exp = module.tf.exp
    monkeypatch.setattr(module.tf, "exp", lambda x: seen.append(x.shape) or exp(x))
    chunked_uniformity(normal(61, 5), chunk=7)
    assert len(seen) == 9 and max(shape[0] for shape in seen) == 7


def test_a_collapsed_encoder_looks_collapsed():
    h = np.ones((41, 7), np.float32) + 1e-4 * normal(41, 7)
    found = label_free(h, normal(41, 7), h_other=h)
    assert found["h_std"] < 1e-3 < found["z_std"]
    assert found["h_uniformity"] > -0.001 > found["z_uniformity"]
    assert found["h_rankme"] < 1.1 < 5 < found["z_rankme"]
    assert found["h_alignment"] == pytest.approx(0, abs=1e-6)


def test_only_pairs_and_rank_read_the_drawn_rows():
    h, z = normal(61, 7), normal(61, 5, seed=1)
    all_rows, some = label_free(h, z), label_free(h, z, rows=20)
    assert (some["images"], some["images_for_pairs"]) == (61, 20)
    assert some["h_std"] == all_rows["h_std"]
    assert some["h_uniformity"] != all_rows["h_uniformity"]
    assert some["h_rankme"] != all_rows["h_rankme"]
    assert label_free(h, z, rows=20) == some
    assert label_free(h, z, rows=20, seed=1)["h_rankme"] != some["h_rankme"]
    assert label_free(h, z, rows=5)["h_rankme_max"] == 5


def test_memory_mapped_features_are_read(tmp_path):
    h = normal(61, 7)
    np.save(tmp_path / "h.npy", h)
    mapped = np.load(tmp_path / "h.npy", mmap_mode="r")
    assert label_free(mapped, mapped, h_other=mapped) == label_free(h, h, h_other=h)


H = normal(7, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"h": H[:1], "z": H[:1]}, "h must be .n, d. with 2 images or more"),
        ({"z": H[0]}, "z must be .n, d. with 2 images or more"),
        ({"h": H[:, :0]}, "h must be .n, d."),
        ({"z": H[:3]}, "of the same images. Received: 7 and 3"),
        ({"h": np.where(H > 1, np.nan, H)}, "of 7 rows of h are not finite"),
        ({"z_other": H * np.inf}, "7 of 7 rows of the other view of z are not finite"),
        ({"h_other": H[:3]}, "both views of h must have one shape"),
        ({"rows": 1}, "rows must be 2 or more"),
    ],
)
def test_bad_input_is_one_clear_line(change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        label_free(**({"h": H, "z": H} | change))
    assert "\n" not in str(caught.value)
