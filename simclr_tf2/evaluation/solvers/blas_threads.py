"""The number of threads that linear algebra on the host uses."""

from __future__ import annotations

import contextlib
from typing import Any

# [ours] About a tenth of a second of one core. Below it, the threads of a BLAS spend
# more time waiting for one another than computing, above all on a machine that does
# other work too: 5,000 x 256 features of 10 classes on 2 busy cores took 5 CPU-seconds
# with one thread and 104 with two.
ONE_THREAD_BELOW = 10**10


def blas_threads(multiply_adds: float) -> contextlib.AbstractContextManager[Any]:
    """Limit BLAS to one thread inside the block if each pass over the data is small.

    Args:
        multiply_adds: Of one pass (rows x dimensions x outputs).
    """
    if multiply_adds >= ONE_THREAD_BELOW:
        return contextlib.nullcontext()
    from threadpoolctl import threadpool_limits

    limits: contextlib.AbstractContextManager[Any] = threadpool_limits(
        limits=1, user_api="blas"
    )
    return limits
