"""Time from the command to the first step of training, and of the second step.

Each round is a process of its own that does what a command does, with data in memory,
and tells the time after each part: "import" (TensorFlow, Keras and the program),
"build" (model and optimizer), "first step" (traced, optimised and run), "second step".
Wall seconds include what other processes take; CPU seconds are of all its threads.
``--modules`` lists the slowest imports, by their own time and all below them.
Run: ``python -m benchmarks.startup [--rounds 5] [--depth 18] [--steps_per_loop 1]``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

PARTS = ("import", "build", "first step", "second step")


def measure(arguments: argparse.Namespace) -> None:
    """Print wall and CPU seconds of each part as JSON, in a process of its own."""
    times = [(arguments.begun, 0.0), _now()]  # [0]: when the process was asked for

    from simclr_tf2 import startup

    if "importtime" in sys._xoptions:  # which start_tensorflow would hold back
        with startup._not_installed(*startup.UNUSED_BY_KERAS):
            import keras
    startup.start_tensorflow()
    import keras
    import tensorflow as tf

    from simclr_tf2 import losses, models, optimizers, workflows
    from simclr_tf2.config import LossConfig, ModelConfig, OptimizerConfig
    from simclr_tf2.training import loop, steps

    assert workflows
    times[1] = _now()
    keras.utils.set_random_seed(0)
    model = models.build_simclr(
        ModelConfig(resnet_depth=arguments.depth, width_multiplier=arguments.width),
        image_size=arguments.size,
        num_classes=10,
    )
    optimizer = optimizers.build_optimizer(OptimizerConfig(), learning_rate=0.1)
    optimizer.build(model.trainable_variables)
    loss = losses.build_loss(LossConfig())
    step = steps.pretrain_step(model, optimizer, loss, supervised=True)
    times.append(_now())
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    view = tf.zeros([arguments.batch, arguments.size, arguments.size, 3])
    data = tf.data.Dataset.from_tensors(
        {"views": (view, view), "label": tf.zeros([arguments.batch], tf.int32)}
    ).repeat()
    loop.train(
        step,
        strategy.distribute_datasets_from_function(lambda _: data),
        strategy=strategy,
        cadence=loop.Cadence(total_steps=2, log_every=1, checkpoint_every=0),
        hooks=loop.Hooks(
            log=lambda *_: times.append(_now()),
            save=lambda _: None,
            monitor=lambda _: None,
        ),
        examples_per_step=arguments.batch,
        steps_per_loop=arguments.steps_per_loop,
    )
    pairs = itertools.pairwise(times)
    print(json.dumps([(b[0] - a[0], b[1] - a[1]) for a, b in pairs]))


def _now() -> tuple[float, float]:
    return time.time(), time.process_time()


def child(*options: str) -> subprocess.CompletedProcess:
    """Run this file again, quietly."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, *options, "-m", "benchmarks.startup", *sys.argv[1:]]
    command += ["--begun", str(time.time())]
    return subprocess.run(
        command, env={**os.environ, **quiet}, capture_output=True, text=True, check=True
    )


def show_modules(count: int) -> None:
    """Print the imports that take longest, with what they import."""
    rows = []
    for line in child("-X", "importtime").stderr.splitlines():
        fields = line.removeprefix("import time:").split("|")
        if len(fields) == 3 and fields[1].strip().isdigit():
            rows.append((int(fields[1]), fields[2]))
    print("   ms  module")
    for micro, module in sorted(rows, reverse=True)[:count]:
        print(f"{micro / 1e3:5.0f} {module}")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps_per_loop", type=int, default=1)
    parser.add_argument("--modules", type=int, default=0)
    parser.add_argument("--begun", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.begun:
        return measure(arguments)
    rounds = [
        json.loads(child().stdout.splitlines()[-1]) for _ in range(arguments.rounds)
    ]
    print(
        f"ResNet-{arguments.depth} of width {arguments.width}, {arguments.size} px, "
        f"batch {arguments.batch}, {arguments.rounds} processes\n"
        "part         wall s   CPU s  fastest wall"
    )
    total = [0.0, 0.0]
    for number, part in enumerate(PARTS):
        wall, cpu = zip(*(times[number] for times in rounds), strict=True)
        medians = statistics.median(wall), statistics.median(cpu)
        total = [a + b for a, b in zip(total, medians, strict=True)]
        print(f"{part:11} {medians[0]:7.2f} {medians[1]:7.2f} {min(wall):13.2f}")
    print(f"{'all':11} {total[0]:7.2f} {total[1]:7.2f}")
    if arguments.modules:
        show_modules(arguments.modules)


if __name__ == "__main__":
    main()
