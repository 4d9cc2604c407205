"""What must hold before TensorFlow and Keras are imported, and what they run on."""

from __future__ import annotations

import functools
import logging
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from simclr_tf2 import machine
from simclr_tf2.errors import ConfigError

logger = logging.getLogger(__name__)

# Keras imports these where they are installed, for inputs, wrappers and pictures of its
# own: seconds at every start. What this program needs of them it imports when it does.
UNUSED_BY_KERAS = ("IPython", "matplotlib", "pandas", "sklearn")
# TensorFlow's switch for the kernels of oneDNN; read once, when it is loaded.
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# TensorFlow's own allocator for the CPU, which keeps memory; read likewise.
ALLOCATOR = "TF_CPU_ALLOCATOR_USE_BFC"
# How many threads TensorFlow, Numba and the BLAS of NumPy and SciPy start; likewise.
THREADS = (
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
)


def choose_kernels() -> None:
    """Turn oneDNN on, and start no more threads than there are cores to use.

    Called by ``import simclr_tf2``, so every way to start this program has it. By
    itself TensorFlow takes oneDNN's kernels only on CPUs with VNNI, BF16 or AMX, and
    leaves most laptops with kernels that take up to five times as long. Where the user
    turned them off, TensorFlow's own allocator is turned on. What stands in the
    environment already is left as it is. Warns if TensorFlow was loaded before and
    runs without them.
    """
    unset = not os.environ.get(ONEDNN)
    if "tensorflow" in sys.modules:
        if unset and _has_onednn() and not onednn_is_on():
            warnings.warn(
                "TensorFlow was loaded before simclr_tf2 and runs without its oneDNN "
                "kernels: training may take up to 5 times as long on this CPU. Import "
                f"simclr_tf2 first, or set {ONEDNN}=1 before Python starts",
                RuntimeWarning,
                stacklevel=3,  # the import of simclr_tf2
            )
        return
    if unset:
        os.environ[ONEDNN] = "1"
    elif not _asks_for_onednn():  # Eigen's kernels map large tensors anew each step
        os.environ.setdefault(ALLOCATOR, "true")
    cores = machine.usable_cores()
    if cores < machine.schedulable_cores():  # else each library finds out by itself
        for name in THREADS:
            os.environ.setdefault(name, str(cores))


def onednn_is_on() -> bool:
    """Return whether TensorFlow, once loaded, computes with the kernels of oneDNN."""
    from tensorflow.python.util import _pywrap_util_port  # nothing public tells

    return bool(_pywrap_util_port.IsMklEnabled())


def _asks_for_onednn() -> bool:
    return os.environ[ONEDNN].lower() not in ("0", "false")


def _has_onednn() -> bool:
    """Return whether TensorFlow is built with oneDNN on this system."""
    return sys.platform != "darwin"


@functools.cache  # one line in a process
def log_kernels() -> None:
    """Log ``kernels``."""
    logger.info(kernels())


def kernels() -> str:
    """Say in a line what this CPU computes with, and what switched-off oneDNN costs."""
    described = describe_cpu()
    state = f"oneDNN {described['onednn']}, {described['instruction_set']}"
    if described["onednn"] == "off" and os.environ.get(ONEDNN):
        state += (
            f" ({ONEDNN}={os.environ[ONEDNN]}: training may take up to 5 times as "
            "long; unset it for the faster kernels)"
        )
    cores = described["cpu_cores"]
    return f"kernels: {state}, {cores} cores, {described['cpu']}"


def describe_cpu() -> dict[str, str]:
    """Describe the CPU: name, cores in use, kernels, instructions; loads TensorFlow."""
    return {
        "cpu": machine.cpu_name(),
        "cpu_cores": str(machine.usable_cores()),
        "onednn": "on" if onednn_is_on() else "off",
        "instruction_set": machine.instruction_set(),
    }


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
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


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
    """Describe versions and devices of this run, for results.json and the report."""
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
        **describe_cpu(),
        "accelerators": ", ".join(names) or "none",
    }
