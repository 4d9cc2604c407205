"""SimCLR for TensorFlow 2 and Keras 3: pretrain image encoders without labels.

The modules and functions listed in ``__all__`` are the public interface. They are
imported when they are first used, so that ``import simclr_tf2`` loads no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

from simclr_tf2 import startup as _startup

__version__ = "0.2.0"

_MODULES = (
    "augmentations",
    "data",
    "evaluation",
    "losses",
    "models",
    "optimizers",
    "saved_model",
)
_HOMES = {  # name -> the module that it is from
    "LARS": "optimizers",
    "build_resnet": "models",
    "load_encoder": "saved_model",
    "nt_xent": "losses",
    "two_views": "augmentations",
}

__all__ = [*_MODULES, *_HOMES]

_startup.choose_kernels()  # before TensorFlow is loaded; TensorFlow is not imported


def __getattr__(name: str) -> Any:
    """Import a public module or name when it is first asked for."""
    if name in _MODULES:
        return importlib.import_module(f"simclr_tf2.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"simclr_tf2.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'simclr_tf2' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names beside those that are loaded."""
    return sorted({*globals(), *__all__})
