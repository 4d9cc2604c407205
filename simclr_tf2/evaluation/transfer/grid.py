"""The grids of fine-tuning in SimCLR's transfer, and the choice on validation images.

SimCLR, appendix B.8.1. Every trial is kept in a file as soon as it is done, so that a
search that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simclr_tf2 import files
from simclr_tf2.errors import ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Ends of the log-spaced grids, and whether no weight decay is tried as well."""

    learning_rate: tuple[float, float]
    weight_decay: tuple[float, float]
    without_decay: bool


RANGES = {
    "finetune": Ranges(
        learning_rate=(1e-4, 1e-1), weight_decay=(1e-6, 1e-3), without_decay=True
    ),
    "random_init": Ranges(
        learning_rate=(1e-3, 1.0), weight_decay=(1e-5, 10**-1.5), without_decay=False
    ),
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One pair of the grid and what it reached on validation.

    Attributes:
        learning_rate: Peak.
        weight_decay: What the loss is given: the value of the grid / learning rate.
        score: In [0, 1]; None where the loss was no longer finite.
    """

    learning_rate: float
    weight_decay: float
    score: float | None = None


def make_grid(
    method: str, *, learning_rates: int = 7, weight_decays: int = 8
) -> list[Trial]:
    """Return the pairs to try, the paper's 56 by default.

    Args:
        method: In ``RANGES``.
        learning_rates: How many, log-spaced over the paper's range; of one, the middle.
        weight_decays: Likewise, 0 included where the paper has it.
    """
    ranges = RANGES[method]
    decays = [0.0] if ranges.without_decay else []
    decays += _log_spaced(ranges.weight_decay, weight_decays - len(decays))
    return [
        Trial(learning_rate=rate, weight_decay=decay / rate)
        for rate in _log_spaced(ranges.learning_rate, learning_rates)
        for decay in decays
    ]


def _log_spaced(ends: tuple[float, float], count: int) -> list[float]:
    if count == 1:
        return [float(np.sqrt(ends[0] * ends[1]))]
    values: list[float] = np.geomspace(*ends, count).tolist()
    return values


def best_trial(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the highest score.

    Of equal ones, that with the most decay, then the smallest rate.

    Raises:
        ConfigError: None of them has a score.
    """
    scored = [trial for trial in trials if trial.score is not None]
    if not scored:
        raise ConfigError(
            f"none of the {len(trials)} pairs of learning rate and weight decay gave a "
            "finite loss; check the images and the checkpoint"
        )
    return max(
        scored,
        key=lambda t: (t.score, t.learning_rate * t.weight_decay, -t.learning_rate),
    )


def on_edge(trials: Sequence[Trial], chosen: Trial) -> bool:
    """Return whether the chosen learning rate is the smallest or largest of several."""
    rates = {trial.learning_rate for trial in trials}
    return len(rates) > 1 and chosen.learning_rate in (min(rates), max(rates))


def search(
    grid: Sequence[Trial],
    run: Callable[[Trial], float | None],
    *,
    path: Path | None,
    settings: dict[str, Any],
) -> list[Trial]:
    """Run every pair of the grid that ``path`` does not hold yet.

    Args:
        grid: From ``make_grid``.
        run: Trains with a pair and scores it on validation, None if it diverged.
        path: Where the trials are kept, JSON; None keeps nothing.
        settings: What the trials rest on; a file with others is started anew.

    Returns:
        The grid with its scores.
    """
    done = _read(path, settings)
    if done:
        logger.info("%d of %d trials read from %s", len(done), len(grid), path)
    trials = []
    for place, pair in enumerate(grid, 1):
        key = (pair.learning_rate, pair.weight_decay)
        if key not in done:
            score = run(pair)
            done[key] = Trial(learning_rate=key[0], weight_decay=key[1], score=score)
            logger.info(
                "trial %d of %d: learning rate %.2g, weight decay %.2g: %s",
                place,
                len(grid),
                *key,
                "diverged" if score is None else f"{100 * score:.2f} %",
            )
            _write(path, settings, list(done.values()))
        trials.append(done[key])
    return trials


def _read(
    path: Path | None, settings: dict[str, Any]
) -> dict[tuple[float, float], Trial]:
    if path is None or not path.exists():
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        trials = [Trial(**trial) for trial in kept["trials"]]
    except (OSError, ValueError, KeyError, TypeError):
        logger.warning("%s cannot be read; the trials are made anew", path)
        return {}
    if kept["settings"] != json.loads(json.dumps(settings)):
        logger.info("%s holds trials of other settings; they are made anew", path)
        return {}
    return {(trial.learning_rate, trial.weight_decay): trial for trial in trials}


def _write(
    path: Path | None, settings: dict[str, Any], trials: Sequence[Trial]
) -> None:
    if path is None:
        return
    document = {"settings": settings, "trials": [asdict(trial) for trial in trials]}
    with files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, document)
