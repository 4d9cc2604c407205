"""The split language of TFDS, "train[:80%]+test[5:]", for data that is not TFDS's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow_datasets as tfds

from simclr_tf2.data import split_names
from simclr_tf2.errors import ConfigError

_ALL = "all_of_them"


@dataclass(frozen=True)
class Part:
    """Examples ``start`` to ``stop`` (exclusive) of a split."""

    split: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class _Size:
    num_examples: int


def resolve(spec: str, sizes: Mapping[str, int], *, name: str) -> list[Part]:
    """Return the parts that ``spec`` names, each with at least one example.

    Args:
        spec: A split, a slice of one (percent or numbers), or a sum of such.
        sizes: Examples of each split.
        name: The data set, for messages.

    Raises:
        ConfigError: Unknown split, malformed spec, or empty selection.
    """
    given, spec = spec, split_names.spelled_as(spec, sizes)
    try:
        # TFDS has its own idea of a split called "all".
        found = tfds.core.ReadInstruction.from_spec(re.sub(r"\ball\b", _ALL, spec))
        found = found.to_absolute(
            {_ALL if s == "all" else s: _Size(size) for s, size in sizes.items()}
        )
    except Exception as error:  # TFDS: ValueError, KeyError, AssertionError
        have = ", ".join(f"{split} ({size})" for split, size in sizes.items())
        raise ConfigError(f"{name} has no split {given!r}; it has: {have}") from error
    names = ["all" if p.splitname == _ALL else p.splitname for p in found]
    parts = [
        Part(split, p.from_ or 0, sizes[split] if p.to is None else p.to)
        for split, p in zip(names, found, strict=True)
    ]
    parts = [p for p in parts if len(p) > 0]
    if not parts:
        raise ConfigError(f"{name}:{spec} holds no images; choose another split")
    return parts
