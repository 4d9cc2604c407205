"""The code that makes the pixels of views: TensorFlow or Numba, the same draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simclr_tf2.augmentations import fused, policy


@dataclass(frozen=True, kw_only=True)
class ViewBackend:
    """Functions that make views; those of one name draw the same in each backend.

    Attributes:
        views: Makes the views of an image, as ``policy.views``.
        windows: Makes them up to the crop, as ``policy.windows``; ``finish_batch`` does
            the rest for a batch.
        views_of_batch: Makes the views of many images of one size at once, as
            ``fused.views_of_batch``; None if the backend cannot.
        windows_of_batch: As ``fused.windows_of_batch``; None as ``views_of_batch``.
    """

    views: Callable[..., Any]
    windows: Callable[..., Any]
    views_of_batch: Callable[..., Any] | None = None
    windows_of_batch: Callable[..., Any] | None = None


BACKENDS = {
    "tf": ViewBackend(views=policy.views, windows=policy.windows),
    "numba": ViewBackend(
        views=fused.views,
        windows=fused.windows,
        views_of_batch=fused.views_of_batch,
        windows_of_batch=fused.windows_of_batch,
    ),
}
