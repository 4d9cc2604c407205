"""Weights of the reference code in networks of this library, as a whole or not at all.

Every variable is set from the one value that belongs to it. What a network lacks, and
what a file has too much, is named in an error; then nothing is set.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping

import keras
import numpy as np

from simclr_tf2 import models
from simclr_tf2.config import DataConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.models.residual_blocks import SHORTCUT_POOL
from simclr_tf2.reference.names import assign_reference_weights, reference_variables
from simclr_tf2.reference.reading import Reference, read_reference
from simclr_tf2.reference.structure import head_free

logger = logging.getLogger(__name__)


def load_reference_weights(
    model: keras.Model, path: str | os.PathLike, *, with_head: bool = True
) -> list[str]:
    """Set the variables of ``model`` from a checkpoint of the reference code.

    Args:
        model: A backbone or ``SimCLR`` of this library.
        path: A checkpoint's prefix or folder, a SavedModel or its variables folder, or
            a ``model_dir`` of the reference code. Of several the newest counts.
        with_head: Set the supervised head too; without, it stays as it is.

    Returns:
        The keys in the file that were not used: optimizer slots, counters, and heads
        that ``model`` does not have.

    Raises:
        ConfigError: As ``read_reference``, or a variable of ``model`` has no value
            there or one of another shape; each is named and nothing is set.
    """
    return _assign(model, read_reference(path), with_head=with_head)


def build_reference_encoder(path: str | os.PathLike) -> keras.Model:
    """Build an encoder with a checkpoint's weights.

    It maps images ``[n, s, s, c]`` of any size to h ``[n, d]``.

    Raises:
        ConfigError: As ``load_reference_weights``.
    """
    reference = read_reference(path)
    config = reference.config
    backbone = models.build_resnet(
        config.resnet_depth,
        width_multiplier=config.width_multiplier,
        sk_ratio=config.sk_ratio,
        se_ratio=config.se_ratio,
        stem=config.stem,
        image_size=None,
        channels=reference.channels,
        dtype="float32",
    )
    _assign(backbone, reference)
    return models.build_encoder(backbone)


def build_reference_model(reference: Reference) -> models.SimCLR:
    """Build the whole network with its weights, in export form, for any image size.

    Raises:
        ConfigError: As ``load_reference_weights``.
    """
    model = models.build_simclr(
        reference.config,
        image_size=DataConfig.image_size,  # not used: any size, and the stem is given
        num_classes=reference.num_classes,
        channels=reference.channels,
        export=True,
        any_size=True,
    )
    _assign(model, reference)
    return model


def _assign(
    model: keras.Model, reference: Reference, *, with_head: bool = True
) -> list[str]:
    """Set the variables of ``model`` from a checkpoint that is understood."""
    variables = {head_free(v.path): (name, v) for name, v in reference_variables(model)}
    weights: dict[str, np.ndarray] = {}
    for ours, (name, variable) in variables.items():
        if _network(ours) == "head_supervised" and not with_head:
            weights[name] = variable.numpy()
    wanted = {n: v for n, v in variables.items() if v[0] not in weights}
    differences = _differences(wanted, reference) + _other_shortcuts(model, reference)
    if differences:
        raise ConfigError(
            f"{reference}; it does not fit this model, {len(differences)} "
            f"difference(s): {'; '.join(differences)}"
        )
    values = reference.file.read([reference.keys[ours] for ours in wanted])
    for ours, (name, _) in wanted.items():
        weights[name] = values[reference.keys[ours]]
    assign_reference_weights(model, weights)
    unused = sorted(set(reference.file.shapes) - set(values))
    logger.info("%s; %d values used", reference, len(values))
    logger.info("not used: %s", _summary(unused))
    return unused


def _differences(
    variables: Mapping[str, tuple[str, keras.Variable]], reference: Reference
) -> list[str]:
    """List variables without a value of their shape, and values left over.

    Values may be left over of a whole network that ``variables`` have nothing of.
    """
    found = []
    for ours, (name, variable) in variables.items():
        here = list(variable.shape)
        if ours not in reference.keys:
            found.append(f"{ours} {here} ({name}) is not there")
        elif (there := list(reference.file.shapes[reference.keys[ours]])) != here:
            found.append(f"{ours} {here} ({name}) is {there} there")
    networks = {_network(ours) for ours in variables}
    return found + [
        f"{key} has no variable here"
        for ours, key in sorted(reference.keys.items())
        if ours not in variables and _network(ours) in networks
    ]


def _other_shortcuts(model: keras.Model, reference: Reference) -> list[str]:
    """Say whether only one of both pools in its shortcuts, which no shape shows."""
    backbone = getattr(model, "backbone", model)
    here = any(layer.name.endswith(SHORTCUT_POOL) for layer in backbone.layers)
    if here == reference.config.has_resnet_d:
        return []
    there = "there" if reference.config.has_resnet_d else "here"
    return [f"shortcuts pool (ResNet-D, --resnet_d) only {there}"]


def _network(ours: str) -> str:
    match = re.match("projection_head|head_supervised", ours)
    return match[0] if match else "resnet"


def _summary(keys: Iterable[str]) -> str:
    """Describe keys: slots and heads are only counted, the rest is named."""
    counts: Counter[str] = Counter()
    for key in keys:
        key = key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
        head = re.match("model/_?(projection_head|supervised_head)/", key)
        kind = "optimizer slots" if ".OPTIMIZER_SLOT" in key else head and head[1]
        counts[kind or key] += 1
    words = [name if n == 1 else f"{n} {name}" for name, n in sorted(counts.items())]
    return ", ".join(words) or "nothing"
