"""The text of a log line: loss beside its chance level, accuracy, ETA, warnings."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger(__name__)

# What benchmarks/curves.py found of the failures that end at chance.
PRETRAINING = (
    "views of one image are found no better than by chance. A --temperature or a "
    "--learning_rate that is far too high does this: lower it (docs/curves.md)"
)
VISIBLE_WAIT, LONG_WAIT = 0.05, 0.3  # [ours] shares of the time
NEAR_CHANCE = 0.02  # [ours] of the chance level, on either side


class TrainingLines:
    """Log lines from step and scalars; warns once when the loss stays at chance.

    Args:
        total_steps: Steps of the run.
        steps_per_epoch: Steps in one epoch, as it is shown.
        chance: Loss of a model that knows nothing.
        accuracy: Name of the accuracy that stands beside the loss.
        chance_formula: Where ``chance`` comes from, for the warning.
        advice: What the warning names as wrong and as remedy.
        warmup_steps: No warning before their end: the loss may be anywhere.

    Attributes:
        warned: Whether it has.
    """

    def __init__(
        self,
        *,
        total_steps: int,
        steps_per_epoch: float,
        chance: float,
        accuracy: str = "contrastive_accuracy",
        chance_formula: str = "ln(2N-1)",
        advice: str = PRETRAINING,
        warmup_steps: int = 0,
    ) -> None:
        self._total, self._steps_per_epoch = total_steps, steps_per_epoch
        self._chance, self._formula = chance, chance_formula
        self._accuracy = accuracy
        self.warned, self._advice = False, advice
        self._judged_from = max(100, steps_per_epoch, warmup_steps)
        self._at_chance_since: int | None = None
        self._waits_since: int | None = None
        self._warned_of_input = False
        self._last: tuple[int, float] | None = None
        self._pace: float | None = None

    def __call__(
        self, step: int, scalars: dict[str, float], columns: int | None = None
    ) -> str:
        """Return the line; ``scalars`` without a loss are of an online evaluation.

        In ``columns`` a line of training is kept short, by what a progress bar or the
        next line shows as well; that of an online evaluation continues on lines of
        its own.
        """
        width = len(str(self._total))
        epoch = step / self._steps_per_epoch
        head = [f"step {step:>{width}}/{self._total}", f"epoch {epoch:6.2f}"]
        if "loss" not in scalars:
            looks = [_named(name, value) for name, value in scalars.items()]
            return _filled([*head, *looks], columns)
        self._warn_at_chance(step, scalars["loss"])
        self._warn_of_input(step, scalars.get("input_wait", 0.0))
        rate = scalars.get("images_per_second")
        loss = f"loss {scalars['loss']:.3f} (chance {self._chance:.3f})"
        accuracy = f"acc {100 * scalars[self._accuracy]:.1f} %"
        extras = {
            "speed": f"{rate:,.0f} img/s" if rate is not None else "",
            "wait": _awaited(scalars.get("input_wait", 0.0)),
            "probe": "",
            "lr": f"lr {scalars['learning_rate']:.2e}",
            "ETA": f"ETA {self._eta(step)}",
        }
        if "supervised_accuracy" in scalars and self._accuracy != "supervised_accuracy":
            extras["probe"] = f"probe {100 * scalars['supervised_accuracy']:.1f} %"
        parts = [*head, extras["speed"], loss, accuracy, *list(extras.values())[1:]]
        for name in ("wait", "lr", "ETA", "speed", "probe"):
            if columns is None or len(_line(parts)) <= columns:
                break
            parts.remove(extras[name])
        return _line(parts)

    def _warn_of_input(self, step: int, share: float) -> None:
        """Warn once when two lines in a row show that steps wait for their images."""
        if share < LONG_WAIT:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = step
        elif not self._warned_of_input:
            self._warned_of_input = True
            logger.warning(
                "training waits for images %.0f %% of the time: reading and augmenting "
                "them is slower than the network. docs/performance.md lists what "
                "helps: --cache, --augment_on=device, --data_service",
                100 * share,
            )

    def _eta(self, step: int) -> str:
        now = time.perf_counter()
        if self._last is not None and step > self._last[0]:
            pace = (now - self._last[1]) / (step - self._last[0])
            self._pace = pace if self._pace is None else 0.7 * self._pace + 0.3 * pace
        self._last = (step, now)
        if self._pace is None:
            return "-"
        seconds = round(self._pace * (self._total - step))
        hours, rest = divmod(seconds, 3600)
        clock = f"{rest // 60:02d}:{rest % 60:02d}"
        return f"{hours}:{clock}" if hours else clock

    def _warn_at_chance(self, step: int, loss: float) -> None:
        """Warn once when two lines in a row are at chance, after the warm-up."""
        near = abs(loss - self._chance) <= NEAR_CHANCE * self._chance
        if self.warned or step < self._judged_from or not near:
            self._at_chance_since = None
        elif self._at_chance_since is None:
            self._at_chance_since = step
        else:
            self.warned = True
            logger.warning(
                "the loss is at its chance level since step %d: %.3f, and %s is %.3f: "
                "%s",
                self._at_chance_since,
                loss,
                self._formula,
                self._chance,
                self._advice,
            )


def _awaited(share: float) -> str:
    """Return the share of the time that steps waited for input, if it is visible."""
    return f"input wait {100 * share:.0f} %" if share >= VISIBLE_WAIT else ""


def _line(parts: list[str]) -> str:
    return "  ".join(part for part in parts if part)


def _filled(parts: list[str], columns: int | None) -> str:
    """Join parts into lines of at most ``columns``; later lines are indented."""
    if columns is None:
        return _line(parts)
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + 2 + len(part) <= columns:
            lines[-1] += f"  {part}"
        else:
            lines.append(f"  {part}")
    return "\n".join(lines)


def _named(name: str, value: float) -> str:
    share = "top" in name or "accuracy" in name
    return f"{name} {100 * value:.1f} %" if share else f"{name} {value:.3f}"
