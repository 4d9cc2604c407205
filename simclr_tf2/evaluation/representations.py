"""Frozen features that protocols read: h, or feature5 of the whole image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from simclr_tf2 import protocols
from simclr_tf2.augmentations import policy
from simclr_tf2.config import DataConfig, EvaluationConfig
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.evaluation.features.depths import feature5_model
from simclr_tf2.results.rows import NAMES


@dataclass(frozen=True)
class Representation:
    """Features of one kind, and the protocols that read them.

    Attributes:
        name: One of ``NAMES``.
        protocols: Names in the order of ``--protocols``.
        view: View of the images that the network reads.
        geometry: The view in numbers, ready for JSON.
        view_text: The view in words.
    """

    name: str
    protocols: tuple[str, ...]
    view: extractor.View
    geometry: dict[str, Any]
    view_text: str

    @property
    def row(self) -> str:
        """Row of the run's network in the table."""
        return f"SimCLR {self.name}"

    @property
    def random_row(self) -> str:
        """Row of the random encoder in the table."""
        return f"Random encoder {self.name}"

    @property
    def facts(self) -> dict[str, Any]:
        """The keys of a record that describe its features."""
        return {
            "features": self.name,
            "view": self.view_text,
            "preprocessing": self.geometry,
        }


def chosen(asked: EvaluationConfig, data: DataConfig) -> list[Representation]:
    """Return the representations that ``--protocols`` read, h first."""
    names = protocols.on_features(asked.protocols)
    return [
        _representation(features, readers, data, asked.eval_batch_size)
        for features in NAMES
        if (readers := tuple(n for n in names if _features_of(n, asked) == features))
    ]


def _features_of(protocol: str, asked: EvaluationConfig) -> str:
    """Return the name of the features that a protocol reads."""
    setting = protocols.PROTOCOLS[protocol].features
    return getattr(asked, setting) if setting else "h"


def network_of(name: str, data: DataConfig, encoder: keras.Model) -> keras.Model:
    """Return the network of the features ``name``, with the weights of ``encoder``."""
    if name == "h":
        return encoder
    return feature5_model(encoder, data.image_size)


def _representation(
    name: str, readers: tuple[str, ...], data: DataConfig, batch_size: int
) -> Representation:
    height, width = data.height_width
    size = f"{height}x{width}"
    if name == "h":
        view = extractor.eval_view(data, batch_size)
        return Representation(
            name, readers, view, eval_geometry(data), f"the centre, {size}"
        )
    return Representation(
        name,
        readers,
        extractor.squashed_view(data, batch_size),
        squashed_geometry(data),
        f"the whole image squashed to {size}",
    )


def eval_geometry(data: DataConfig) -> dict[str, Any]:
    """Describe how an image becomes the view from which h is computed."""
    proportion = policy.eval_proportion(data.image_size)
    return _geometry(data) | {
        "window": "centre, of the view's aspect",
        "window_of_the_largest_possible_side": proportion,
    }


def squashed_geometry(data: DataConfig) -> dict[str, Any]:
    """Describe how an image becomes the view from which feature5 is computed."""
    return _geometry(data) | {
        "window": "the whole image, aspect not kept",
        "shorter_side_first": extractor.shorter_side_first(data),
    }


def _geometry(data: DataConfig) -> dict[str, Any]:
    height, width = data.height_width
    return {
        "height": height,
        "width": width,
        "channels": data.image_channels,
        "resize": "bicubic",
        "range": [0, 1],
        "flip": False,
    }
