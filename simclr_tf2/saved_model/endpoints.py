"""Encoders to any endpoint: images -> the mean of a block group, h, or z."""

from __future__ import annotations

import os
import re
from typing import Any

import keras

from simclr_tf2 import addresses, models
from simclr_tf2.config import EMBED_ENDPOINTS
from simclr_tf2.errors import ConfigError
from simclr_tf2.exports.keras_file import load_outputs
from simclr_tf2.reference.files import find_prefix
from simclr_tf2.reference.reading import read_reference
from simclr_tf2.reference.weights import build_reference_model
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import checkpoints
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs.restoring import restore_model

# Names of the layers that end a part of a network of this library -> endpoint.
_LAYERS = {
    r"stem_conv_\d": "initial_conv",
    "stem_max_pool": "initial_max_pool",
    r"group(\d)_block.*": "block_group{}",
}
H, Z = "final_avg_pool", "proj_head_output"


def load_endpoint(source: str | os.PathLike, name: str = H) -> keras.Model:
    """Load an encoder: images ``[n, s, s, c]`` in [0, 1] -> an endpoint ``[n, d]``.

    A map ``[n, h, w, d]`` becomes its mean over height and width.

    Args:
        source: As ``load_encoder`` takes it: an ``encoder.keras``, a run folder, or a
            checkpoint of the reference code.
        name: One of ``EMBED_ENDPOINTS``. Those other than h are computed with the
            newest checkpoint of a run folder, or with its ``encoder.keras`` if there is
            no checkpoint.

    Raises:
        ConfigError: As ``load_encoder``, or the network has no such endpoint.
    """
    assert name in EMBED_ENDPOINTS, name
    if name != H:
        whole = _whole_model(source)
        if whole is not None:
            return _of_whole(whole, name)
    encoder = load_outputs(source)
    found = _outputs(encoder)
    if name not in found:
        raise ConfigError(
            f"{source} has no endpoint {name}; it has: {', '.join(sorted(found))}. A "
            "run folder with a checkpoint has all of them"
        )
    output = found[name]
    return encoder if encoder.output is output else _mean(encoder.input, output)


def _whole_model(source: str | os.PathLike) -> models.SimCLR | None:
    """Build the network with its projection head; None if only an encoder is there."""
    if addresses.is_remote(source) and not addresses.has_copy(os.fspath(source)):
        return None  # load_encoder says what is wrong
    place = addresses.local(source)
    if place.is_dir() and RunFolder(place).config.is_file():
        if not checkpoints.list_checkpoints(place):
            return None
        model, _ = restore_model(run_folder.read_config(place), place)
        return model
    if find_prefix(place) is None:
        return None
    return build_reference_model(read_reference(place))


def _of_whole(model: models.SimCLR, name: str) -> keras.Model:
    backbone = model.backbone
    found = _outputs(backbone)
    hidden = model.hiddens_of(found[H])
    found[Z] = hidden[-1]
    if name not in found:
        raise ConfigError(
            f"--embed_endpoint={name}: the network has {', '.join(sorted(found))}"
        )
    return _mean(backbone.input, found[name])


def _outputs(model: keras.Model) -> dict[str, Any]:
    """Return the tensors of a network by the names of the endpoints."""
    output = model.output
    if isinstance(output, dict):
        return dict(output)
    found = {H: output}
    for layer in getattr(model, "layers", ()):
        for pattern, name in _LAYERS.items():
            match = re.fullmatch(pattern, layer.name)
            if match:  # of several layers the last one is the end
                found[name.format(*match.groups())] = layer.output
    return found


def _mean(images: Any, output: Any) -> keras.Model:
    """Join images and an endpoint; maps are averaged, and the result is float32."""
    if len(output.shape) == 4:
        output = keras.layers.GlobalAveragePooling2D(dtype="float32")(output)
    return keras.Model(images, output)
