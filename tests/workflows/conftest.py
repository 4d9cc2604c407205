"""One finished tiny run, made by the command line, that many tests look at."""

import pytest

from tests import command_line


@pytest.fixture(scope="package", autouse=True)
def _one_device():
    """Runs within this process use one device unless they name a strategy.

    ``auto`` would take both logical devices, and TensorFlow does not take a second
    mirrored strategy with other shapes in one process well.
    """
    from simclr_tf2.distribution import strategies

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strategies, "_detect", lambda *_: ("one_device", "a test"))
        patch.setattr(strategies, "_SHARED", {})  # made elsewhere, for two devices
        yield


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Prepared ``simclr_shapes/tiny``, shared by the tests of one process."""
    from simclr_tf2.data import datasets

    folder = tmp_path_factory.mktemp("data")
    datasets.open_split("simclr_shapes/tiny", "train", data_dir=str(folder))
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory, data_dir):
    """(folder, completed process) of one uninterrupted run."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    done = command_line.run(
        *command_line.TINY, f"--model_dir={folder}", f"--data_dir={data_dir}"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done
