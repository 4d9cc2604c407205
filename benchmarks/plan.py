"""What ``--mode=plan`` expects of two CPU cores, beside what a step really takes.

Each case is the pretraining step that the flags of a run describe, in a process of its
own: CPU-seconds of a step (median, after two more), and the highest resident size while
it ran less that before the first step. The plan is that of
recipes/hardware/2_cpu_cores.json, whose rates were measured with ResNet-18 of width 1
at 32 px (``benchmarks.roofline``): the first case is what the plan is calibrated on,
all others check it. On a busy machine CPU time is disturbed less than wall time, so two
cores are expected to take half of the CPU-seconds. Run::

    python -m benchmarks.plan [--steps 3] [--only 0 1]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time

from benchmarks import machine_line
from benchmarks.batch_memory import resident_mib

CASES = (
    "--resnet_depth=18 --image_size=32 --train_batch_size=128",
    "--resnet_depth=18 --image_size=32 --train_batch_size=128 "
    "--mixed_precision=bfloat16",
    "--resnet_depth=18 --width_multiplier=0.25 --image_size=32 --train_batch_size=256",
    "--resnet_depth=18 --image_size=96 --train_batch_size=32",
    "--resnet_depth=50 --image_size=32 --train_batch_size=64",
    "--resnet_depth=50 --image_size=32 --train_batch_size=64 --remat=groups",
    "--resnet_depth=50 --image_size=32 --train_batch_size=64 --remat=blocks",
    "--resnet_depth=50 --image_size=32 --train_batch_size=64 --micro_batch_size=16",
    "--resnet_depth=50 --image_size=224 --train_batch_size=8",
    "--resnet_depth=50 --sk_ratio=0.0625 --image_size=224 --train_batch_size=8",
    # Of 0.2's quickstart: maps of 8 x 8 to 1 x 1, so that operations are short.
    "--resnet_depth=10 --width_multiplier=0.5 --stem=imagenet --sk_ratio=0.0625 "
    "--image_size=32 --train_batch_size=256",
)
CLASSES = 10


def config_of(text: str):
    """Return the config of flags, as the command line reads them."""
    from absl import flags as absl_flags

    import flags

    values = absl_flags.FLAGS
    values.unparse_flags()
    flags.parse(["benchmark", "--mode=pretrain", "--dataset=cifar10", *text.split()])
    return flags.config_from_flags(values)


def build(config):
    """Build the compiled step of a config and a batch of random numbers for it."""
    import tensorflow as tf

    from simclr_tf2 import losses, models, optimizers
    from simclr_tf2.training.cached_gradients import cached_gradient_step
    from simclr_tf2.training.precision import layer_dtype
    from simclr_tf2.training.steps import pretrain_step

    height, width = config.data.height_width
    model = models.build_simclr(
        config.model,
        image_size=config.data.image_size,
        num_classes=CLASSES,
        dtype=layer_dtype(config.training),
    )
    models.recompute(model, config.training.remat)
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    name = config.optimizer.optimizer
    update = optimizers.build_optimizer(
        config.optimizer,
        learning_rate=0.1,
        exclude=optimizers.exclusions(name, roles),
    )
    update.build(model.trainable_variables)
    parts = (model, update, losses.build_loss(config.loss))
    micro = config.training.micro_batch_size
    if micro:
        step = cached_gradient_step(*parts, micro_batch_size=micro, supervised=True)
    else:
        step = pretrain_step(*parts, supervised=True)
    images = config.training.train_batch_size
    shape = [images, height, width, 3]
    views = tuple(tf.random.stateless_uniform(shape, (1, i)) for i in (1, 2))
    labels = tf.random.stateless_uniform([images], (1, 3), 0, CLASSES, tf.int32)
    batch = {"views": views, "label": labels}
    step = tf.function(step, autograph=False)
    return lambda: float(step(batch)["loss"])


def measure(pipe, text: str, steps: int) -> None:
    """Send CPU-seconds of a step, and the MiB that its first steps added."""
    run = build(config_of(text))
    start = resident_mib("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # forget the peak so far
    times = []
    for _ in range(2 + steps):
        begun = time.process_time()
        run()
        times.append(time.process_time() - begun)
    pipe.send((statistics.median(times[2:]), resident_mib("VmHWM") - start))


def planned(text: str) -> tuple[float, float, str]:
    """Return what the plan expects: CPU-seconds, MiB, and what limits the step.

    Of the memory only what a step adds counts: no weights, slots or input, which are
    there before.
    """
    from simclr_tf2.planning import hardware
    from simclr_tf2.planning.estimate import estimate
    from simclr_tf2.planning.workload import Images, Workload

    machine = hardware.find("2_cpu_cores")
    images = Images(50_000, CLASSES, 0, "benchmark")
    work = Workload.of(config_of(text), images, mode="pretrain", steps=1, replicas=1)
    found = estimate(work, machine)
    memory = found.memory
    added = memory.gradients + memory.activations + memory.loss + memory.images / 2
    limit = "arithmetic" if found.compute > found.moving else "bandwidth"
    cores = machine.value("host_cores")
    return cores * found.device_step, added / 2**20, limit


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", type=int, nargs="+", help="numbers of cases, from 0")
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print(machine_line())
    print("CPU s: plan  measured  ratio    MiB: plan  measured  ratio   limit, flags")
    for number in given.only or range(len(CASES)):
        ours, theirs = context.Pipe()
        process = context.Process(
            target=measure, args=(theirs, CASES[number], given.steps)
        )
        process.start()
        theirs.close()
        seconds, added = ours.recv()
        process.join()
        expected, memory, limit = planned(CASES[number])
        print(
            f"{expected:11.2f} {seconds:9.2f} {expected / seconds:6.2f}"
            f" {memory:12,.0f} {added:9,.0f} {memory / added:6.2f}   {limit}:"
            f" {CASES[number]}",
            flush=True,
        )


if __name__ == "__main__":
    main()
