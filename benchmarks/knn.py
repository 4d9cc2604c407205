"""Nearest neighbours and the sweep of 45 penalties, ours beside scikit-learn.

Random features with classes in them, float32. kNN: the 200 nearest by cosine of every
query; scikit-learn is ``kneighbors`` of brute force on the same L2-normalised rows. The
sweep: 45 penalties, chosen on a fifth, refitted; scikit-learn is ``LogisticRegression``
(L-BFGS, warm start, its own tolerance) over the same penalties on the same rows. Each
form has its own process, and in each round the processes take turns, so that a busy
machine disturbs all alike. CPU time is of the whole process. Memory is the highest
resident size while it ran less that before the first call: of arrays that are there
before, only what is made of them counts. The CPU-seconds of our kNN, which a busy
machine disturbs less than the others, are fitted by q n (a + b d), and the law is read
at 50,000 x 1,281,167 x 2048.
Run: ``python -m benchmarks.knn [--rounds 3] [--only knn]``; all of it takes about three
minutes on two cores. Of the larger sweep there is one round.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
import warnings

K = 200
# Queries, bank, dimensions
KNN = ((2000, 40_000, 128), (2000, 40_000, 512), (1000, 40_000, 2048))
# (images, dimensions, classes); scikit-learn would take minutes for the second.
SWEEP, LARGER_SWEEP = (1000, 64, 5), (5000, 512, 10)
IMAGENET = (50_000, 1_281_167, 2048)


def features(count: int, dim: int, classes: int, seed: int):
    """Draw rows around a centre per class, and their labels."""
    import numpy as np

    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim)).astype(np.float32)
    labels = rng.integers(classes, size=count)
    noise = rng.standard_normal((count, dim), np.float32)
    return np.abs(0.25 * centres[labels] + noise), labels


def knn_form(form: str, size: tuple[int, ...]):
    """Return a function that finds all neighbours and returns a checksum.

    It takes no arguments.
    """
    queries, bank = (
        features(n, size[2], 10, seed=i)[0] for i, n in enumerate(size[:2])
    )
    if form == "ours":
        from simclr_tf2.evaluation.solvers.nearest import neighbours

        return lambda: neighbours(queries, bank, k=min(K, len(bank)))[1].mean()
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import normalize

    def run():
        search = NearestNeighbors(n_neighbors=min(K, len(bank)), algorithm="brute")
        distance, _ = search.fit(normalize(bank)).kneighbors(normalize(queries))
        return (1 - distance**2 / 2).mean()

    return run


def sweep_form(form: str, size: tuple[int, ...]):
    """Return a function that chooses of 45 penalties and returns top-1.

    It takes no arguments.
    """
    count, dim, classes = size
    from simclr_tf2.evaluation import Features
    from simclr_tf2.evaluation.solvers.penalty_sweep import LAMBDAS, lbfgs_logistic

    fifth = count // 5
    x, y = features(count + fifth, dim, classes, seed=1)
    parts = [slice(fifth, count), slice(0, fifth), slice(count, None)]
    train, validation, test = (Features(x[p], y[p]) for p in parts)
    if form == "ours":
        return lambda: lbfgs_logistic(train, validation, test, seed=0)["top1"]
    from sklearn.linear_model import LogisticRegression

    def run():
        model, scores = LogisticRegression(warm_start=True, max_iter=1000), {}
        for penalty in sorted(LAMBDAS, reverse=True):
            model.set_params(C=1 / (penalty * len(train)))
            model.fit(train.features, train.labels)
            scores[penalty] = model.score(validation.features, validation.labels)
        best = max(scores, key=scores.get)
        model.set_params(C=1 / (best * count))
        model.fit(x[:count], y[:count])
        return model.score(test.features, test.labels)

    return run


FORMS = {"knn": knn_form, "sweep": sweep_form}


def _resident_mib(field: str) -> float:
    with open("/proc/self/status") as lines:
        return next(int(x.split()[1]) for x in lines if x.startswith(field)) / 1024


def serve(pipe, task: str, form: str, size: tuple[int, ...]) -> None:
    """Answer every message with the CPU and wall time, in s, of one call."""
    from simclr_tf2.startup import start_tensorflow

    warnings.simplefilter("ignore")
    start_tensorflow()
    run = FORMS[task](form, size)
    FORMS[task](form, (64, 64, 3))()  # imports and threads
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # forget the peak so far
    before, value = _resident_mib("VmRSS"), 0.0
    while pipe.recv():
        cpu, wall = time.process_time(), time.perf_counter()
        value = float(run())
        pipe.send((time.process_time() - cpu, time.perf_counter() - wall))
    pipe.send((_resident_mib("VmHWM") - before, value))


def measure(
    task: str,
    size: tuple[int, ...],
    rounds: int,
    forms: tuple[str, ...] = ("ours", "scikit-learn"),
) -> float:
    """Print a row per form and return our median CPU-seconds."""
    context, workers = multiprocessing.get_context("spawn"), {}
    for form in forms:
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve, args=(theirs, task, form, size), daemon=True
        )
        process.start()
        theirs.close()  # so that a worker that dies is noticed
        workers[form] = (ours, process, [])
    for _ in range(rounds):
        for pipe, _, times in workers.values():
            pipe.send(True)
            times.append(pipe.recv())
    found = {}
    for form, (pipe, process, times) in workers.items():
        pipe.send(False)
        mib, value = pipe.recv()
        process.join()
        cpu, wall = (statistics.median(column) for column in zip(*times, strict=True))
        found[form] = cpu
        words = " x ".join(f"{n:,}" for n in size)
        print(
            f"{task:6} {words:24} {form:13} {wall:7.2f} {cpu:8.2f} {mib:9,.0f}   "
            f"{value:.6f}",
            flush=True,
        )
    return found["ours"]


def print_law(seconds: list[float]) -> None:
    """Fit q n (a + b d), by least squares of relative errors, and read it."""
    import numpy as np

    pairs = np.array([q * n for q, n, _ in KNN], np.float64)
    dims = np.array([d for *_, d in KNN], np.float64)
    design = np.stack([pairs, pairs * dims], axis=1) / np.array(seconds)[:, None]
    (a, b), *_ = np.linalg.lstsq(design, np.ones(len(seconds)), rcond=None)
    errors = design @ [a, b] - 1
    q, n, d = IMAGENET
    print(
        f"law: CPU {1e9 * a:.2f} ns + {1e12 * b:.1f} ps a dimension, each pair; off by "
        f"up to {100 * abs(errors).max():.0f} %. {q:,} x {n:,} x {d:,}: "
        f"{q * n * (a + b * d) / 3600:.1f} hours of a core."
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=sorted(FORMS), default="")
    arguments = parser.parse_args()
    print(f"{'task':6} {'size':24} {'form':13}  wall s    CPU s  peak MiB   value")
    if arguments.only != "sweep":
        print_law([measure("knn", size, arguments.rounds) for size in KNN])
    if arguments.only != "knn":
        measure("sweep", SWEEP, arguments.rounds)
        measure("sweep", LARGER_SWEEP, 1, ("ours",))  # a quarter of a minute


if __name__ == "__main__":
    main()
