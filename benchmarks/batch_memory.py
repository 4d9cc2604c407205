"""Memory and time of one pretraining step against the batch size.

"whole" is ``pretrain_step``, "micro" is ``cached_gradient_step``, and ``--remat``
recomputes activations in either; a narrow ResNet at 32 px, float32, LARS, NT-Xent in
blocks. Each row has its own process. Peak is the highest resident size of that process
while it traced and ran the steps, TensorFlow itself (about "start") and the batch of
images ("input", counted in both) included; CPU and wall time are medians of the steps
after the first.
Run: ``python -m benchmarks.batch_memory [--micro 256] [--batches 256 1024 4096]``.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import time

SIZE = 32


def resident_mib(field: str) -> float:
    """Read VmRSS, or VmHWM, the highest so far, of this process."""
    with open("/proc/self/status") as lines:
        return next(int(x.split()[1]) for x in lines if x.startswith(field)) / 1024


def build_step(arguments: argparse.Namespace, micro: int | None, remat: str):
    """Compile the step; with ``micro`` None it takes the whole batch at once."""
    import tensorflow as tf

    from simclr_tf2 import models, optimizers
    from simclr_tf2.config import ModelConfig, OptimizerConfig
    from simclr_tf2.losses.blockwise import blockwise_nt_xent_and_metrics
    from simclr_tf2.training.cached_gradients import cached_gradient_step
    from simclr_tf2.training.steps import pretrain_step

    config = ModelConfig(resnet_depth=arguments.depth, width_multiplier=arguments.width)
    model = models.build_simclr(config, image_size=SIZE, num_classes=10)
    models.recompute(model, remat)
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    optimizer = optimizers.build_optimizer(
        OptimizerConfig(optimizer="lars"),
        learning_rate=0.1,
        exclude=optimizers.exclusions("lars", roles),
    )
    optimizer.build(model.trainable_variables)
    parts = (model, optimizer, blockwise_nt_xent_and_metrics)
    if micro is None:
        step = pretrain_step(*parts, supervised=True)
    else:
        step = cached_gradient_step(*parts, micro_batch_size=micro, supervised=True)
    return tf.function(step, autograph=False)


def measure(
    pipe, arguments: argparse.Namespace, batch: int, micro: int | None, remat: str
) -> None:
    """Send start, input and peak in MiB, median CPU and wall s, and the last loss."""
    import tensorflow as tf

    step = build_step(arguments, micro, remat)
    start = resident_mib("VmRSS")
    views = tuple(
        tf.random.stateless_uniform([batch, SIZE, SIZE, 3], (1, view))
        for view in (1, 2)
    )
    labels = tf.random.stateless_uniform([batch], (1, 3), 0, 10, tf.int32)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # forget the peak so far
    times = []
    for _ in range(1 + arguments.steps):
        cpu, wall = time.process_time(), time.perf_counter()
        loss = float(step({"views": views, "label": labels})["loss"])
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    medians = [statistics.median(t) for t in zip(*times[1:], strict=True)]
    given = sum(view.numpy().nbytes for view in views) / 2**20
    pipe.send((start, given, resident_mib("VmHWM"), *medians, loss))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--micro", type=int, default=256)
    parser.add_argument("--batches", type=int, nargs="*", default=[256, 1024, 4096])
    parser.add_argument("--whole", type=int, nargs="*", default=[256])
    parser.add_argument("--remat", nargs="+", default=["off"])
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--steps", type=int, default=2)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print(
        f"ResNet-{arguments.depth} of width {arguments.width}, {SIZE} px, "
        f"micro-batches of {arguments.micro}"
    )
    print(
        " batch  step   remat   start MiB  input MiB  peak MiB  ratio   CPU s  wall s"
        "   loss"
    )
    cases = [(b, None) for b in arguments.whole]
    cases += [(b, arguments.micro) for b in arguments.batches]
    first = {}
    for (batch, micro), remat in itertools.product(cases, arguments.remat):
        ours, theirs = context.Pipe()
        process = context.Process(
            target=measure, args=(theirs, arguments, batch, micro, remat)
        )
        process.start()
        theirs.close()
        start, given, peak, cpu, wall, loss = ours.recv()
        process.join()
        name = "whole" if micro is None else "micro"
        ratio = peak / first.setdefault(name, peak)
        print(
            f"{batch:6}  {name:6} {remat:6} {start:9,.0f}  {given:9,.0f} {peak:9,.0f} "
            f"{ratio:6.2f} {cpu:7.1f} {wall:7.1f}   {loss:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
