"""The words of a pretraining log line: loss beside its chance level, ETA, warnings."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger(__name__)


class PretrainLines:
    """(step, scalars) -> one line of text; warns once when the loss sits at chance.

    Args:
        batch: Images per step, over all replicas.
        total_steps: Steps of the run.
        steps_per_epoch: Steps in one pass.
        chance: Loss of an encoder that knows nothing: ln(2N - 1).
    """

    def __init__(
        self, *, batch: int, total_steps: int, steps_per_epoch: int, chance: float
    ) -> None:
        self._batch, self._total = batch, total_steps
        self._steps_per_epoch, self._chance = steps_per_epoch, chance
        self._warned = False
        self._last: tuple[int, float] | None = None
        self._pace: float | None = None

    def __call__(self, step: int, scalars: dict[str, float]) -> str:
        """The line; ``scalars`` are of training or, without a loss, of a look."""
        head = (
            f"step {step:>{len(str(self._total))}}/{self._total}  "
            f"epoch {step / self._steps_per_epoch:6.2f}"
        )
        if "loss" not in scalars:
            return (
                head
                + "  "
                + "  ".join(
                    f"{name} {100 * value:.1f} %"
                    if "top1" in name
                    else f"{name} {value:.3f}"
                    for name, value in scalars.items()
                )
            )
        self._warn_at_chance(step, scalars["loss"])
        line = (
            f"{head}  {scalars['images_per_second']:,.0f} img/s  "
            f"loss {scalars['loss']:.3f} (chance {self._chance:.3f})  "
            f"acc {100 * scalars['contrastive_accuracy']:.1f} %"
        )
        if "supervised_accuracy" in scalars:
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
        if self._warned or not late or loss < 0.98 * self._chance:
            return
        self._warned = True
        logger.warning(
            "the loss %.3f sits at its chance level ln(2N-1) = %.3f: the encoder "
            "learns nothing. Try a lower --learning_rate, a longer --warmup_epochs, or "
            "look at the augmented pairs in report.html",
            loss,
            self._chance,
        )
