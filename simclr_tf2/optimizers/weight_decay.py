"""Which variable is decayed, and where: in the optimizer or as a term of the loss.

The reference code decides by searching names; in Keras 3 a name is just "kernel", so
the role of a variable is read from the layer that owns it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import keras
import tensorflow as tf

from simclr_tf2.errors import ConfigError

ROLES = ("kernel", "bias", "batch_norm", "supervised_head")

_NORMALIZATION_LAYERS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
)

# Where weight decay is applied, for each optimizer. "all": the loss gets wd * L2/2 of
# every variable but normalisation's; "supervised_head": of the supervised head's kernel
# only, LARS decays the rest (both as in the reference code, which includes biases in
# "all"); "none": the optimizer decays, decoupled.
_DECAY_IN_LOSS = {
    "lars": "supervised_head",
    "momentum": "all",
    "adam": "all",
    "adamw": "none",
    "lamb": "none",
    "muon": "none",
}


def variable_roles(
    model: keras.Model, *, supervised_head: keras.layers.Layer | None = None
) -> dict[str, str]:
    """Return the role of each trainable variable of a built model, by its path.

    Args:
        model: Any Keras model; nested models and layers are walked.
        supervised_head: The layer or model that predicts labels, if there is one.

    Returns:
        path -> one of ``ROLES``, in the order of ``model.trainable_variables``:
        ``batch_norm`` for scale and offset of a normalisation layer, ``bias`` for what
        a layer calls its bias, ``supervised_head`` for the other variables of
        ``supervised_head``, ``kernel`` for everything else.

    Raises:
        ConfigError: Two variables with one path differ in role, so that no exclusion
            by path could tell them apart.
    """
    normalization: set[int] = set()
    bias: set[int] = set()
    for layer in model._flatten_layers():
        if _is_normalization(layer):
            normalization.update(id(v) for v in layer.trainable_variables)
        if isinstance(getattr(layer, "bias", None), keras.Variable):
            bias.add(id(layer.bias))
    head = {id(v) for v in supervised_head.variables} if supervised_head else set()

    roles: dict[str, str] = {}
    for variable in model.trainable_variables:
        key = id(variable)
        if key in normalization:
            role = "batch_norm"
        elif key in bias:
            role = "bias"
        else:
            role = "supervised_head" if key in head else "kernel"
        if roles.setdefault(variable.path, role) != role:
            raise ConfigError(
                f"two variables share the path {variable.path!r} but one is a "
                f"{roles[variable.path]} and one a {role}; give their layers names"
            )
    return roles


def _is_normalization(layer: keras.layers.Layer) -> bool:
    """Return whether a layer is a stock normalisation or has moving statistics."""
    has_statistics = hasattr(layer, "moving_mean") and hasattr(layer, "moving_variance")
    return isinstance(layer, _NORMALIZATION_LAYERS) or has_statistics


def lars_exclusions(roles: Mapping[str, str]) -> tuple[str, ...]:
    """Return exact regular expressions of what LARS neither decays nor adapts.

    Normalisation, biases and the whole supervised head, as in the reference code.

    Args:
        roles: From ``variable_roles``; a supervised head's bias is a ``bias``, so it is
            excluded with the others.
    """
    return _paths(roles, ("batch_norm", "bias", "supervised_head"))


def decoupled_exclusions(roles: Mapping[str, str]) -> tuple[str, ...]:
    """Return exact regular expressions of what AdamW, LAMB and Muon do not decay.

    Normalisation and biases, but not the supervised head's kernel.
    """
    return _paths(roles, ("batch_norm", "bias"))


def exclusions(optimizer: str, roles: Mapping[str, str]) -> tuple[str, ...]:
    """Return the ``exclude`` of ``build_optimizer`` for an optimizer's name."""
    if decay_in_loss(optimizer) == "none":
        return decoupled_exclusions(roles)
    return lars_exclusions(roles) if optimizer == "lars" else ()


def decay_in_loss(optimizer: str) -> str:
    """Say which weights a term of the loss decays: all, supervised_head or none.

    With ``all`` the optimizer itself decays nothing; with ``none`` it decays all that
    is decayed; with ``supervised_head`` (LARS) it decays all but the head.
    """
    if optimizer not in _DECAY_IN_LOSS:
        raise ConfigError(
            f"--optimizer must be one of {', '.join(_DECAY_IN_LOSS)}. "
            f"Received: {optimizer!r}."
        )
    return _DECAY_IN_LOSS[optimizer]


def decayed_in_loss(
    variables: Iterable[keras.Variable], roles: Mapping[str, str], *, optimizer: str
) -> list[keras.Variable]:
    """Return the variables whose ``l2_loss`` belongs in the loss.

    Args:
        variables: Of the model, for instance ``model.trainable_variables``.
        roles: From ``variable_roles``.
        optimizer: Name of the optimizer.
    """
    decayed = {
        "all": ("kernel", "bias", "supervised_head"),
        "supervised_head": ("supervised_head",),
        "none": (),
    }[decay_in_loss(optimizer)]
    return [v for v in variables if roles[v.path] in decayed]


def l2_loss(variables: Iterable[keras.Variable]) -> tf.Tensor:
    """Return half the sum of squares of all variables; 0 for none."""
    terms = [
        tf.nn.l2_loss(v.value if v.dtype == "float64" else tf.cast(v.value, tf.float32))
        for v in variables
    ]
    return tf.add_n(terms) if terms else tf.zeros([])


def _paths(roles: Mapping[str, str], chosen: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"^{re.escape(p)}$" for p, role in roles.items() if role in chosen)
