"""Where the program runs: at the top of its repository, or installed anywhere else."""

from __future__ import annotations

import os
from pathlib import Path

TFDS_FOLDER = "~/tensorflow_datasets"


def in_checkout() -> bool:
    """Return whether the current folder is the top of this program's repository."""
    return os.path.isfile("run.py") and os.path.isfile("simclr_tf2/places.py")


def home() -> Path:
    """Return the folder of ``run.py``, ``flags.py`` and ``recipes/``.

    A wheel has them in ``simclr_tf2.command_line``; in a checkout they stand at the top
    of the repository.
    """
    package = Path(__file__).parent
    installed = package / "command_line"
    return installed if (installed / "run.py").exists() else package.parent


def program() -> str:
    """Return the command that starts the program from the current folder."""
    return "python run.py" if in_checkout() else "simclr-tf2"


def data_dir() -> str:
    """Return the default folder of data sets.

    In a checkout it is ``data``, beside the code. Elsewhere it is the folder of
    tensorflow-datasets: ``$TFDS_DATA_DIR``, or the one in the home folder.
    """
    if in_checkout():
        return "data"
    return os.environ.get("TFDS_DATA_DIR") or TFDS_FOLDER
