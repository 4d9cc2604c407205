"""Follow a run that is still training: yield each new checkpoint once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from simclr_tf2.runs import checkpoints, remote

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
    """Yield the step of the newest checkpoint at each check, each step once.

    Checkpoints that were written and deleted between two checks are left out, as in the
    reference code. The last checkpoint is never left out.

    Args:
        folder: The run folder.
        total_steps: The last step of the run, after which this function ends.
        watch: Wait for more checkpoints; if False, only the newest one is yielded.
        timeout: Minutes without a new checkpoint after which to stop; 0: no limit.
        poll: Seconds between two checks.
        sleep: Function that waits for a number of seconds.
        clock: Function that returns the time in seconds.

    Yields:
        The step of a checkpoint that existed at the check.
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
        remote.refresh(folder)
        if newest <= last:
            sleep(poll)
        else:
            logger.info(
                "step %d of %d measured; waiting for the next checkpoint (Ctrl-C "
                "stops, --nowatch measures once)",
                last,
                total_steps,
            )
