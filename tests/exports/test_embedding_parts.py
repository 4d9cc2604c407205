"""Parquet files of a fixed number of rows: what is held, what is there, what is not."""

import numpy as np
import pandas as pd
import pytest

from simclr_tf2.errors import ConfigError
from simclr_tf2.exports import embedding_parts
from simclr_tf2.exports.embedding_parts import Parts

FEATURES = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)
LABELS = np.arange(11)
NAMES = [f"{i}.png" for i in range(11)]


def batches(start=0, size=3):
    for i in range(start, 11, size):
        yield FEATURES[i : i + size], LABELS[i : i + size]


def write(parts, first=0, **options):
    rows = batches(first * parts.rows)
    options = {"labelled": True, **options}
    return list(parts.write(rows, NAMES, first=first, **options))


@pytest.mark.parametrize("rows", [1, 3, 4, 11, 20])
def test_all_rows_are_written_in_order(tmp_path, rows):
    parts = Parts(tmp_path / "new" / "h.parquet", rows, 11, {"weights": "a"})
    assert parts.written() == 0
    paths = write(parts)
    assert len(paths) == parts.count == parts.written() == -(-11 // rows)
    table = pd.concat(pd.read_parquet(path) for path in paths)
    assert table["name"].tolist() == NAMES and table["label"].tolist() == [*LABELS]
    np.testing.assert_array_equal(np.stack(table["embedding"]), FEATURES)


def test_a_gap_is_filled_from_its_start_on(tmp_path):
    parts = Parts(tmp_path / "h.parquet", 3, 11, {})
    paths = write(parts)
    before = [path.read_bytes() for path in paths]
    paths[1].unlink()
    assert parts.written() == 1
    assert write(parts, first=1) == paths[1:]
    assert [path.read_bytes() for path in paths] == before


@pytest.mark.parametrize("change", ["key", "rows", "total", "damage"])
def test_files_of_something_else_are_kept_and_named(tmp_path, change):
    parts = Parts(tmp_path / "h.parquet", 3, 11, {"weights": "a"})
    write(parts)
    settings = {"rows": 3, "total": 11, "key": {"weights": "a"}}
    if change == "damage":
        parts.path(0).write_bytes(b"PAR1")
    else:
        settings[change] = {"key": {"weights": "b"}, "rows": 2, "total": 12}[change]
    with pytest.raises(ConfigError, match="h-00000.parquet is there and holds other"):
        Parts(tmp_path / "h.parquet", **settings).written()


def test_memory_holds_the_rows_of_one_file():
    """Rows are taken from the batches only as they are written."""
    taken = []

    def batches():
        for i in range(1000):
            taken.append(i)
            yield np.full((8, 2), i, np.float32), np.full(8, i)

    groups = embedding_parts._regrouped(batches(), 20)
    sizes = []
    for number, (features, _) in enumerate(groups, 1):
        sizes.append(len(features))
        assert len(taken) <= 20 * number / 8 + 1
    assert sizes == [20] * 400
