"""The words of a log line: loss beside its chance level, accuracy, ETA, warnings."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger(__name__)

PRETRAINING = (
    "the encoder learns nothing. Try a lower --learning_rate, a longer "
    "--warmup_epochs, or look at the augmented pairs in report.html"
)


class TrainingLines:
    """(step, scalars) -> one line of text; warns once when the loss sits at chance.

    Args:
        total_steps: Steps of the run.
        steps_per_epoch: Steps in one pass.
        chance: Loss of a model that knows nothing.
        accuracy: Name of the accuracy that stands beside the loss.
        chance_formula: Where ``chance`` comes from, for the warning.
        advice: What the warning says is wrong and to do.

    Attributes:
        warned: Whether it has.
    """

    def __init__(
        self,
        *,
        total_steps: int,
        steps_per_epoch: int,
        chance: float,
        accuracy: str = "contrastive_accuracy",
        chance_formula: str = "ln(2N-1)",
        advice: str = PRETRAINING,
    ) -> None:
        self._total, self._steps_per_epoch = total_steps, steps_per_epoch
        self._chance, self._formula = chance, chance_formula
        self._accuracy = accuracy
        self.warned, self._advice = False, advice
        self._last: tuple[int, float] | None = None
        self._pace: float | None = None

    def __call__(self, step: int, scalars: dict[str, float]) -> str:
        """The line; ``scalars`` are of training or, without a loss, of a look."""
        width = len(str(self._total))
        epoch = step / self._steps_per_epoch
        head = f"step {step:>{width}}/{self._total}  epoch {epoch:6.2f}"
        if "loss" not in scalars:
            looks = (_named(name, value) for name, value in scalars.items())
            return "  ".join([head, *looks])
        self._warn_at_chance(step, scalars["loss"])
        line = (
            f"{head}  {scalars['images_per_second']:,.0f} img/s  "
            f"loss {scalars['loss']:.3f} (chance {self._chance:.3f})  "
            f"acc {100 * scalars[self._accuracy]:.1f} %"
        )
        if "supervised_accuracy" in scalars and self._accuracy != "supervised_accuracy":
            line += f"  probe {100 * scalars['supervised_accuracy']:.1f} %"
        return f"{line}  lr {scalars['learning_rate']:.2e}  ETA {self._eta(step)}"

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
        late = step >= max(100, self._steps_per_epoch)
        if self.warned or not late or loss < 0.98 * self._chance:
            return
        self.warned = True
        logger.warning(
            "the loss %.3f sits at its chance level %s = %.3f: %s",
            loss,
            self._formula,
            self._chance,
            self._advice,
        )


def _named(name: str, value: float) -> str:
    return f"{name} {100 * value:.1f} %" if "top" in name else f"{name} {value:.3f}"
