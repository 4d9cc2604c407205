"""The files of a real run of the reference code."""

import gzip
import json
import pathlib
import tarfile

import numpy as np
import pytest

RUN = pathlib.Path(__file__).parent.parent / "golden" / "reference_run"


@pytest.fixture(scope="session")
def reference_run(tmp_path_factory):
    """A model_dir of the reference code: ckpt-8 and saved_model/8/variables."""
    folder = tmp_path_factory.mktemp("reference_run")
    with tarfile.open(RUN / "files.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def reference_outputs():
    return dict(np.load(RUN / "outputs.npz"))


@pytest.fixture(scope="session")
def reference_lists():
    return json.loads(gzip.decompress((RUN / "lists.json.gz").read_bytes()))
