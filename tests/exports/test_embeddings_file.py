import builtins
import os
import stat

import numpy as np
import pandas as pd
import pytest

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation import write_embeddings
from simclr_tf2.exports import embeddings_file

RNG = np.random.default_rng(0)
FEATURES = (RNG.normal(size=[5, 3]) * 10.0 ** RNG.integers(-9, 9, [5, 3])).astype("f4")
NAMES = ["a.png", "with, comma.png", 'quo"te.png', "déjà vu.jpg", "dir/e.png"]
LABELS = np.array([4, 0, -1, 2, 2])


def read(path, labelled):
    if path.suffix == ".npz":
        with np.load(path) as data:  # allow_pickle stays off
            labels = data["labels"] if labelled else None
            assert set(data) == {"names", "features", *(["labels"] if labelled else [])}
            return data["names"].tolist(), data["features"], labels
    if path.suffix == ".csv":
        table = pd.read_csv(path)
        features = table[["f0", "f1", "f2"]].to_numpy(np.float32)
    else:
        table = pd.read_parquet(path)
        features = np.stack(table["embedding"])
    assert ("label" in table) == labelled
    return table["name"].tolist(), features, table.get("label")


@pytest.mark.parametrize("suffix", sorted(embeddings_file.WRITERS))
@pytest.mark.parametrize("labels", [LABELS, None])
def test_what_was_written_is_read_back_exactly(tmp_path, suffix, labels):
    path = tmp_path / "new" / f"h{suffix}"
    write_embeddings(path, names=NAMES, features=FEATURES, labels=labels)
    names, features, found = read(path, labels is not None)
    assert names == NAMES
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, FEATURES)
    if labels is not None:
        np.testing.assert_array_equal(found, LABELS)
    assert os.listdir(path.parent) == [path.name]  # no partial file is left


@pytest.mark.parametrize("suffix", sorted(embeddings_file.WRITERS))
def test_a_failure_leaves_the_previous_file_whole(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"h{suffix}"
    write_embeddings(path, names=NAMES, features=FEATURES)
    before = path.read_bytes()

    def full_disk(partial, *_):
        partial.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setitem(embeddings_file.WRITERS, suffix, full_disk)
    with pytest.raises(OSError, match="No space"):
        write_embeddings(path, names=NAMES, features=FEATURES * 2)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    write_embeddings(tmp_path / "h.npz", names=NAMES, features=FEATURES)
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert len(modes) == 1


def test_without_pyarrow_the_command_to_install_it_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def no_pyarrow(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_pyarrow)
    with pytest.raises(ConfigError, match="pip install pyarrow"):
        write_embeddings(tmp_path / "h.parquet", names=NAMES, features=FEATURES)
    assert not os.listdir(tmp_path)


def test_other_suffixes_and_unequal_lengths_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="must end in .npz, .csv, .parquet"):
        write_embeddings(tmp_path / "h.txt", names=NAMES, features=FEATURES)
    with pytest.raises(ConfigError, match="one length"):
        write_embeddings(tmp_path / "h.npz", names=NAMES[:3], features=FEATURES)
    with pytest.raises(ConfigError, match="one length"):
        write_embeddings(
            tmp_path / "h.npz", names=NAMES, features=FEATURES, labels=LABELS[:2]
        )


def test_suffixes_are_those_of_the_output_flag():
    from simclr_tf2.config import ExportConfig

    for suffix in embeddings_file.WRITERS:
        assert ExportConfig(output=f"h{suffix}").output == f"h{suffix}"
