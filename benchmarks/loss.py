"""NT-Xent with its gradient in blocks, plain and as the reference code: time, memory.

Every form runs compiled by ``tf.function`` on the same float32 projections ``[2n, d]``
at temperature 0.1; the value and the gradient, without metrics unless ``--metrics``.
"reference" is the published formula of the reference code written anew: four products,
masks by subtraction, concatenated logits, softmax cross-entropy by automatic
differentiation. "PyTorch" is the loss as it is mostly written there: all 2n x 2n
cosines, the diagonal filled with -inf, cross-entropy; it is measured if it is
installed (``pip install torch``). Each form has its own process, and in each round the
processes take turns, so that a busy machine disturbs all alike. CPU time is of the
whole process. Memory is the highest resident size while the forms ran less that before
the first call, so it counts compilation and what the allocator keeps, but not the
projections.
Run: ``python -m benchmarks.loss [--sizes 256 1024 4096] [--rounds 7]``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from importlib.util import find_spec

TEMPERATURE = 0.1
# The reference's [2n, 4n] logits, several of them at once, do not fit beyond this.
LARGEST = {"reference": 8192, "plain": 16384, "PyTorch": 16384}


def reference_form(z):
    """Compute the reference code's loss, half of it: mean over rows, not their sum."""
    import tensorflow as tf

    a, b = tf.split(tf.math.l2_normalize(z, -1), 2)
    n = a.shape[0]
    labels, masks = tf.one_hot(tf.range(n), 2 * n), tf.one_hot(tf.range(n), n)

    def product(x, y):
        return tf.matmul(x, y, transpose_b=True) / TEMPERATURE

    aa, bb = product(a, a) - masks * 1e9, product(b, b) - masks * 1e9
    ab, ba = product(a, b), product(b, a)
    entropy = tf.nn.softmax_cross_entropy_with_logits
    rows_a = entropy(labels, tf.concat([ab, aa], 1))
    return tf.reduce_mean(rows_a + entropy(labels, tf.concat([ba, bb], 1))) / 2


def make_step(form: str, metrics: bool):
    """Return a function of ``[2n, d]`` for loss, gradient and, if asked, metrics."""
    import functools

    import tensorflow as tf

    from simclr_tf2.losses import nt_xent, nt_xent_and_metrics
    from simclr_tf2.losses.blockwise import (
        blockwise_nt_xent,
        blockwise_nt_xent_and_metrics,
    )

    if form == "reference":
        function = reference_form
    elif form == "plain":
        function = nt_xent_and_metrics if metrics else nt_xent
    else:
        size = "auto" if form == "auto" else int(form.split()[1])
        chosen = blockwise_nt_xent_and_metrics if metrics else blockwise_nt_xent
        function = functools.partial(chosen, block_size=size)

    @tf.function(autograph=False)
    def step(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            found = function(z)
            loss, scalars = found if isinstance(found, tuple) else (found, {})
        return loss, tape.gradient(loss, z), scalars

    return step


def tensorflow_case(form: str, projections, metrics: bool):
    """Return a function of no arguments that does the work once and gives the loss."""
    import tensorflow as tf

    z = tf.constant(projections)
    step = make_step(form, metrics)
    float(tf.reduce_sum(tf.matmul(z[:64], z[:64], transpose_b=True)))  # start threads

    def call() -> float:
        loss, gradient, _ = step(z)
        gradient.numpy()
        return float(loss)

    return call


def torch_case(form: str, projections, metrics: bool):
    """Return such a function in PyTorch, which has one form and no metrics here.

    It takes no arguments, does the work once and gives the loss.
    """
    import torch
    from torch.nn import functional

    del form, metrics
    z = torch.from_numpy(projections).requires_grad_()
    n = len(projections) // 2
    partners = torch.arange(2 * n).roll(n)
    with torch.no_grad():
        float((z[:64] @ z[:64].T).sum())  # start threads

    def call() -> float:
        z.grad = None
        rows = functional.normalize(z, dim=1)
        logits = (rows @ rows.T / TEMPERATURE).fill_diagonal_(-torch.inf)
        loss = functional.cross_entropy(logits, partners)
        loss.backward()
        return float(loss.detach())

    return call


def _resident_mib(field: str) -> float:
    with open("/proc/self/status") as lines:
        return next(int(x.split()[1]) for x in lines if x.startswith(field)) / 1024


def serve(pipe, form: str, n: int, d: int, metrics: bool) -> None:
    """Answer every message with the CPU and wall time, in s, of one call."""
    import numpy as np

    shape = [2 * n, d]
    projections = np.random.default_rng(0).standard_normal(shape, np.float32)
    make = torch_case if form == "PyTorch" else tensorflow_case
    call = make(form, projections, metrics)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # forget the peak so far
    before = _resident_mib("VmRSS")
    loss = call()
    while pipe.recv():
        cpu, wall = time.process_time(), time.perf_counter()
        call()
        pipe.send((time.process_time() - cpu, time.perf_counter() - wall))
    pipe.send((_resident_mib("VmHWM") - before, loss))


def measure(n: int, forms: list[str], arguments: argparse.Namespace) -> None:
    """Print the rows of one batch size."""
    context, workers = multiprocessing.get_context("spawn"), {}
    for form in forms:
        ours, theirs = context.Pipe()
        extra = (theirs, form, n, arguments.width, arguments.metrics)
        process = context.Process(target=serve, args=extra, daemon=True)
        process.start()
        workers[form] = (ours, process, [])
    for _ in range(arguments.rounds):
        for pipe, _, times in workers.values():
            pipe.send(True)
            times.append(pipe.recv())
    for form, (pipe, process, times) in workers.items():
        pipe.send(False)
        mib, loss = pipe.recv()
        process.join()
        cpu, wall = zip(*times, strict=True)
        print(
            f"{n:6}  {form:10} {1e3 * statistics.median(cpu):9,.1f} "
            f"{1e3 * statistics.median(wall):9,.1f} {1e3 * min(wall):9,.1f} "
            f"{mib:9,.0f}   {loss:.6f}",
            flush=True,
        )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--blocks", type=int, nargs="*", default=[])
    parser.add_argument("--metrics", action="store_true")
    forms = ["reference", *["PyTorch"] * bool(find_spec("torch")), "plain", "auto"]
    parser.add_argument("--forms", nargs="+", default=forms)
    arguments = parser.parse_args()
    forms = arguments.forms + [f"block {size}" for size in arguments.blocks]
    print("     n  form          CPU ms   wall ms  fastest  peak MiB   loss")
    for n in arguments.sizes:
        measure(n, [f for f in forms if n <= LARGEST.get(f, n)], arguments)


if __name__ == "__main__":
    main()
