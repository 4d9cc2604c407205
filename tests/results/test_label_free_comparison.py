"""What another run keeps for a comparison without labels, read and refused."""

import numpy as np
import pytest

from simclr_tf2.errors import ConfigError
from simclr_tf2.results import document, label_free_comparison
from simclr_tf2.run_paths import RunFolder

IMAGES = {"dataset": "photos", "split": "train", "count": 3, "digest": "ab"}


@pytest.fixture
def kept(tmp_path):
    folder = RunFolder(tmp_path)
    neighbours = np.array([[1], [2], [0]], np.int32)
    label_free_comparison.save(folder.neighbours, neighbours, IMAGES)
    document.write(folder.results, {"label_free": {"h_rankme": 2.0}})
    return folder


def load(folder):
    return label_free_comparison.load(str(folder), name=None)


def test_what_is_kept_is_read(kept):
    found = load(kept)
    assert found.record == {"h_rankme": 2.0} and found.images == IMAGES
    np.testing.assert_array_equal(found.neighbours, [[1], [2], [0]])


@pytest.mark.parametrize("file", ["results", "neighbours"])
def test_a_damaged_file_is_named(kept, file):
    path = getattr(kept, file)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ConfigError, match=f"{path.name} cannot be read"):
        load(kept)


@pytest.mark.parametrize("file", ["results", "neighbours"])
def test_a_run_that_was_not_measured_is_told_how(kept, file):
    getattr(kept, file).unlink()
    with pytest.raises(ConfigError, match="measure it first: --mode=eval"):
        load(kept)


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is not a folder"):
        load(tmp_path / "none")
