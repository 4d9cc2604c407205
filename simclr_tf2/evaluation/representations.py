"""Frozen features that protocols read: h, or feature5 of the whole image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from simclr_tf2.augmentations import policy
from simclr_tf2.config import Config
from simclr_tf2.evaluation.features import extractor
from simclr_tf2.evaluation.features.depths import feature5_model
from simclr_tf2.evaluation.rows import EVALUATORS
from simclr_tf2.results.rows import NAMES, SVM_PROTOCOLS


@dataclass(frozen=True)
class Representation:
    """Features of one kind, and the protocols that read them.

    Attributes:
        name: One of ``NAMES``.
        protocols: In the order of ``--protocols``.
        view: How images are shown to the network.
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
        """What a record says of the features that it rests on."""
        return {
            "features": self.name,
            "view": self.view_text,
            "preprocessing": self.geometry,
        }


def chosen(config: Config) -> list[Representation]:
    """Return what ``--protocols`` on frozen features read; h first, none if unread."""
    asked = [p for p in config.evaluation.protocols if p in EVALUATORS]
    of_svm = config.evaluation.svm_features
    found = []
    for name in NAMES:
        protocols = tuple(
            p for p in asked if name == (of_svm if p in SVM_PROTOCOLS else "h")
        )
        if protocols:
            found.append(_representation(config, name, protocols))
    return found


def network_of(name: str, config: Config, encoder: keras.Model) -> keras.Model:
    """Return the network of the features ``name``, with the weights of ``encoder``."""
    if name == "h":
        return encoder
    return feature5_model(encoder, config.data.image_size)


def _representation(
    config: Config, name: str, protocols: tuple[str, ...]
) -> Representation:
    height, width = config.data.height_width
    size = f"{height}x{width}"
    if name == "h":
        view = extractor.eval_view(config)
        return Representation(
            name, protocols, view, eval_geometry(config), f"the centre, {size}"
        )
    return Representation(
        name,
        protocols,
        extractor.squashed_view(config),
        squashed_geometry(config),
        f"the whole image squashed to {size}",
    )


def eval_geometry(config: Config) -> dict[str, Any]:
    """Describe how an image becomes the view that h is made of."""
    proportion = policy.eval_proportion(config.data.image_size)
    return _geometry(config) | {
        "window": "centre, of the view's aspect",
        "window_of_the_largest_possible_side": proportion,
    }


def squashed_geometry(config: Config) -> dict[str, Any]:
    """Describe how an image becomes the view of feature5 of ``svm``."""
    return _geometry(config) | {
        "window": "the whole image, aspect not kept",
        "shorter_side_first": extractor.shorter_side_first(config),
    }


def _geometry(config: Config) -> dict[str, Any]:
    height, width = config.data.height_width
    return {
        "height": height,
        "width": width,
        "channels": config.data.image_channels,
        "resize": "bicubic",
        "range": [0, 1],
        "flip": False,
    }
