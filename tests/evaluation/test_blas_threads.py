from simclr_tf2.evaluation.solvers.blas_threads import ONE_THREAD_BELOW, blas_threads


def blas_pools():
    from threadpoolctl import threadpool_info

    return [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]


def test_small_work_gets_one_thread_and_gives_the_others_back():
    before = blas_pools()
    with blas_threads(5_000 * 256 * 10):
        assert set(blas_pools()) == {1}
    assert blas_pools() == before


def test_large_work_keeps_all_threads():
    before = blas_pools()
    with blas_threads(ONE_THREAD_BELOW):
        assert blas_pools() == before
