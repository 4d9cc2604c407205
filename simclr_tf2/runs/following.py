"""Follow a run: each new checkpoint once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from simclr_tf2.runs import checkpoints

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0  # [ours] the reference code checks every 15


def new_checkpoints(
    folder: Path,
    *,
    total_steps: int,
    watch: bool,
    timeout: float = 0.0,
    poll: float = POLL_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[int]:
    """Yield steps of checkpoints to measure: the newest at each check, each once.

    Checkpoints that came and went between two checks are left out, as in the reference
    code; the last one never is.

    Args:
        folder: The run folder.
        total_steps: The step at which the run ends, and this with it.
        watch: Wait for more; else the newest one is all.
        timeout: Minutes without a new checkpoint after which to stop; 0 for never.
        poll: Seconds between two checks.
        sleep: Waits so many seconds.
        clock: Seconds, from any start.

    Yields:
        The step of a checkpoint that was there a moment ago.
    """
    last, since = -1, clock()
    while True:
        found = checkpoints.list_checkpoints(folder)
        newest = found[0][0] if found else -1
        if newest > last:
            yield newest
            last, since = newest, clock()
        elif not watch:
            return
        if last >= total_steps or not watch:
            return
        if timeout and clock() - since > 60 * timeout:
            logger.warning(
                "no new checkpoint in %s for %g minutes: stopping at step %s of %d",
                folder,
                timeout,
                last if last >= 0 else "none",
                total_steps,
            )
            return
        if newest <= last:
            sleep(poll)
        else:
            logger.info(
                "step %d of %d measured; waiting for the next checkpoint (Ctrl-C "
                "stops, --nowatch measures once)",
                last,
                total_steps,
            )
