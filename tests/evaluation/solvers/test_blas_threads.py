import pytest
from threadpoolctl import threadpool_info

from simclr_tf2.evaluation.solvers.blas_threads import ONE_THREAD_BELOW, blas_threads


def blas_pools():
    return [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]


@pytest.fixture
def before():
    """Threads of each BLAS; with one thread each, there is nothing to see."""
    pools = blas_pools()
    if max(pools, default=1) == 1:
        pytest.skip(f"BLAS has one thread here: {pools}")
    return pools


def test_small_work_gets_one_thread_and_gives_the_others_back(before):
    with blas_threads(5_000 * 256 * 10):
        assert set(blas_pools()) == {1}
    assert blas_pools() == before


def test_large_work_keeps_all_threads(before):
    with blas_threads(ONE_THREAD_BELOW):
        assert blas_pools() == before
