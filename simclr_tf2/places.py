"""Where the program runs: at the top of its repository, or installed anywhere else."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from simclr_tf2 import addresses

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


def cache_folder() -> Path:
    """Return the folder for files that can be made or fetched again; it may not exist.

    It is ``simclr_tf2`` in ``$XDG_CACHE_HOME`` or ``~/.cache``, or in the folder of
    temporary files if that cannot be written.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(home) and _can_be_written(Path(home)):
        return Path(home) / "simclr_tf2"
    return Path(tempfile.gettempdir()) / f"simclr_tf2-{os.environ.get('USER', 'user')}"


def image_index(data_dir: str) -> Path:
    """Return the folder that keeps what is known of image files and records.

    It is in ``data_dir``. If that is remote, or has no such folder and cannot be
    written, it is in the cache folder of this machine.
    """
    if not addresses.is_remote(data_dir):
        folder = Path(data_dir).expanduser() / "image_index"
        if folder.is_dir() or _can_be_written(folder):
            return folder
    return cache_folder() / "image_index"


def _can_be_written(folder: Path) -> bool:
    """Return whether a folder can be written, or made if it is not there."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)
