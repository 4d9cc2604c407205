"""What must hold before TensorFlow and Keras are imported, and what they run on."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from simclr_tf2.config import ConfigError

# Keras imports these where they are installed, for inputs, wrappers and pictures of its
# own: seconds at every start. What this program needs of them it imports when it does.
UNUSED_BY_KERAS = ("IPython", "matplotlib", "pandas", "sklearn")


def check_environment() -> None:
    """Refuse a Keras that cannot run this program.

    Raises:
        ConfigError: KERAS_BACKEND is not tensorflow, or legacy Keras is asked for.
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise ConfigError(
            f"KERAS_BACKEND must be tensorflow. Received: {backend!r}; "
            "run with KERAS_BACKEND=tensorflow"
        )
    if os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true"):
        raise ConfigError(
            "TF_USE_LEGACY_KERAS asks for Keras 2, which this program does not run on; "
            "unset TF_USE_LEGACY_KERAS"
        )
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def start_tensorflow(*, deterministic: bool = False, seed: int = 0) -> None:
    """Import TensorFlow and Keras and find devices, without messages at success.

    With ``deterministic`` every operation is (on a CPU they are anyway, on a GPU it
    costs speed), for which TensorFlow wants a global ``seed``.

    TensorFlow's C++ code writes some lines (oneDNN, no CUDA driver) to file descriptor
    2 before any log level applies. They are held back, and shown when the start fails.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            with _not_installed(*UNUSED_BY_KERAS):
                import keras  # noqa: F401  (TensorFlow imports parts of it)
                import tensorflow as tf

            tf.config.list_physical_devices()
            if deterministic:
                tf.random.set_seed(seed)
                tf.config.experimental.enable_op_determinism()
        except Exception:
            os.dup2(kept, 2)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def _not_installed(*packages: str) -> Iterator[None]:
    """Make ``packages`` unimportable inside the block, unless they are imported."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # unimportable
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def describe_environment() -> dict[str, str]:
    """Versions and devices of this run, for results.json and the report."""
    import keras
    import numpy
    import sklearn
    import tensorflow as tf

    from simclr_tf2 import __version__

    gpus = tf.config.list_physical_devices("GPU")
    names = [
        tf.config.experimental.get_device_details(g).get("device_name", "GPU")
        for g in gpus
    ]
    return {
        "simclr_tf2": __version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": numpy.__version__,
        "scikit-learn": sklearn.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_cores": str(
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count()
        ),
        "accelerators": ", ".join(names) or "none",
    }
