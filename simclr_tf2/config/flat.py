"""The settings of all sections by the names of their flags."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from simclr_tf2.config.config import Config
from simclr_tf2.config.modes import TRAINING
from simclr_tf2.config.settings import WEIGHTS
from simclr_tf2.errors import ConfigError


def given_settings(config: Config) -> frozenset[str]:
    """Return the names of the settings that were given, also with the default value."""
    if config.given is not None:
        return config.given
    defaults = field_defaults()
    flat = to_flat(config)
    return frozenset(name for name, value in flat.items() if value != defaults[name])


def _settings() -> list[dataclasses.Field[Any]]:
    """Return the fields of ``Config`` that are settings or sections of settings."""
    return [f for f in dataclasses.fields(Config) if f.name not in ("given", "chosen")]


def sections() -> dict[str, type]:
    """Map each section's name to its dataclass, in the order of ``Config``."""
    return {
        f.name: f.default_factory  # type: ignore[misc]
        for f in _settings()
        if f.default_factory is not dataclasses.MISSING
    }


def fields() -> dict[str, dataclasses.Field[Any]]:
    """Map each setting's flag name to its field, over all sections."""
    found: dict[str, dataclasses.Field[Any]] = {}
    kinds = sections()
    for f in _settings():
        members = dataclasses.fields(kinds[f.name]) if f.name in kinds else (f,)
        for member in members:
            assert member.name not in found, f"two settings named {member.name}"
            found[member.name] = member
    return found


def field_defaults() -> dict[str, Any]:
    """Map each setting's flag name to its default, over all sections."""
    return {name: field.default for name, field in fields().items()}


def learned_settings() -> frozenset[str]:
    """Return the names of the settings that change the weights.

    All others may change between two starts of one run.
    """
    return frozenset(
        name for name, field in fields().items() if field.metadata["changes"] == WEIGHTS
    )


def how_to_learn() -> frozenset[str]:
    """Return the names of the settings that ``--recipe=NAME`` takes from a recipe."""
    kinds = sections()
    names = frozenset(
        member.name
        for section in ("augmentation", "model", "loss", "optimizer", "training")
        for member in dataclasses.fields(kinds[section])
    )
    return (names & learned_settings() - {"checkpoint"}) | {"image_size"}


def unread(mode: str, protocols: Collection[str] = ()) -> list[str]:
    """List the settings that ``mode`` does not read from the command line.

    Args:
        mode: One of ``WORKFLOW_MODES``.
        protocols: Protocols that are measured; some read a setting in any mode.
    """
    return [
        name
        for name, field in fields().items()
        if mode not in field.metadata["modes"]
        and not set(field.metadata["protocols"]) & set(protocols)
    ]


def reported_by_workflow(mode: str, protocols: Collection[str] = ()) -> list[str]:
    """List the settings that ``mode`` does not read and that its workflow warns of.

    They are settings of training: evaluation compares them with those of its run,
    pretraining with the defaults. ``run.py`` warns of all others, and in other modes.
    """
    if mode not in ("pretrain", "eval"):
        return []
    every = fields()
    return [
        name
        for name in unread(mode, protocols)
        if every[name].metadata["modes"] & TRAINING
    ]


def from_flat(values: dict[str, Any]) -> Config:
    """Build a ``Config`` from a dict by flag names; unknown names are an error."""
    rest = dict(values)
    parts: dict[str, Any] = {}
    for name, kind in sections().items():
        names = [f.name for f in dataclasses.fields(kind)]
        given = {n: rest.pop(n) for n in names if n in rest}
        parts[name] = kind(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        )
    unknown = sorted(set(rest) - {f.name for f in _settings()})
    if unknown:
        raise ConfigError(f"unknown setting(s): {', '.join(unknown)}")
    return Config(**rest, **parts)


def to_flat(config: Config) -> dict[str, Any]:
    """Map flag names to values, the inverse of ``from_flat`` (tuples stay tuples)."""
    flat: dict[str, Any] = {}
    kinds = sections()
    for f in _settings():
        value = getattr(config, f.name)
        if f.name in kinds:
            flat.update(
                {m.name: getattr(value, m.name) for m in dataclasses.fields(value)}
            )
        else:
            flat[f.name] = value
    return flat
