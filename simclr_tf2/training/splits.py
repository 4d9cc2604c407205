"""Open the splits that the config names."""

from __future__ import annotations

from simclr_tf2.config import DataConfig, EvaluationConfig
from simclr_tf2.data import datasets, opening, subset
from simclr_tf2.errors import ConfigError


def labelled_part(data: DataConfig, split: datasets.Split) -> datasets.Split:
    """Return the labelled images of the user's own ``split``, if there are some."""
    own = data.own_images or data.array_file
    return subset.labelled_part(split) if own else split


def open_split(data: DataConfig, asked: EvaluationConfig, split: str) -> datasets.Split:
    """Open one split of the images.

    Args:
        data: Which images.
        asked: Names the splits of the protocols, for the error.
        split: Name of the split.

    Raises:
        ConfigError: It cannot be opened; names the flag that chooses another split.
    """
    try:
        return opening.open_split(data, split)
    except ConfigError as error:
        named = {
            "train_split": data.train_split,
            "probe_split": asked.probe_split,
            "eval_split": asked.eval_split,
        }
        flag = next((name for name, value in named.items() if value == split), None)
        if flag is None or f"has no split {split!r}" not in str(error):
            raise
        hint = f"; name one with --{flag}"
        if flag == "eval_split":
            hint += (
                ", or hold out a part of the training images: "
                "--train_split=train[:90%] --eval_split=train[90%:]"
            )
        raise ConfigError(f"{error}{hint}") from error
