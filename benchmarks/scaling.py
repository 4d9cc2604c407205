"""Cost of the pretraining step against batch, image size, width, depth and replicas.

One thing changes at a time from a base: ResNet-18 of width 0.25, CIFAR stem, 32 px,
batch 64, float32, LARS; the base is measured again beside each change. "GFLOP" is
the arithmetic of a view in one step: multiplications and additions of the forward
pass's convolutions and dense layers, thrice (the backward pass does twice as much).
Replicas are logical CPUs of one process, which share the cores: what grows there is
the price of synchronising. Run::

    python -m benchmarks.scaling [--rounds 3] [--only batch replicas]
"""

from __future__ import annotations

import argparse
import math
import statistics

from benchmarks.interleaved import take_turns
from benchmarks.step import ours

BASE = {"batch": 64, "size": 32, "depth": 18, "width": 0.25, "replicas": 1}
CHANGES = {
    "batch": (16, 64, 256),
    "size": (16, 32, 64),
    "width": (0.25, 0.5, 1),
    "depth": (18, 34, 50),
    "replicas": (1, 2, 4),
}


def build(batch: int, size: int, depth: int, width: float, replicas: int):
    """Build the step of this package, on one device or mirrored over logical CPUs."""
    import tensorflow as tf

    if replicas == 1:
        return ours(batch, size, "float32", depth, width)
    device = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * replicas
    tf.config.set_logical_device_configuration(device, logical)
    strategy = tf.distribute.MirroredStrategy(
        [f"CPU:{i}" for i in range(replicas)],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )
    with strategy.scope():
        return mirrored(strategy, batch // replicas, size, depth, width)


def mirrored(strategy, batch: int, size: int, depth: int, width: float):
    """Build ``ours`` under a strategy; ``batch`` is of one replica."""
    import tensorflow as tf

    from benchmarks.step import parts_of_step

    step = parts_of_step("float32", size, depth, width, strategy.num_replicas_in_sync)
    shape = [batch, size, size, 3]
    views = tuple(tf.random.stateless_uniform(shape, (1, i)) for i in (1, 2))
    labels = tf.random.stateless_uniform([batch], (1, 3), 0, 10, tf.int32)

    @tf.function(autograph=False)
    def run():
        scalars = strategy.run(step, args=({"views": views, "label": labels},))
        return strategy.reduce("MEAN", scalars["loss"], axis=None)

    return lambda: float(run())


def gigaflop(size: int, depth: int, width: float) -> float:
    """Return the arithmetic of a view in one training step, in GFLOP."""
    import keras

    from simclr_tf2 import models
    from simclr_tf2.config import ModelConfig

    model = models.build_simclr(
        ModelConfig(resnet_depth=depth, width_multiplier=width, stem="cifar"),
        image_size=size,
        num_classes=10,
        export=True,
    )
    total = 0.0
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Conv2D):
            total += math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3])
        elif isinstance(layer, keras.layers.Dense):
            total += math.prod(layer.kernel.shape)
    return 3 * 2 * total / 1e9


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(CHANGES))
    given = parser.parse_args()
    print(" batch  size  depth  width  replicas  CPU ms a view  to base  GFLOP a view")
    for name in given.only:
        cases = [tuple({**BASE, name: value}.values()) for value in CHANGES[name]]
        found = take_turns(
            {case: (build, case) for case in cases}, rounds=given.rounds, repeats=2
        )
        base = statistics.median(found[tuple(BASE.values())]["cpu"]) / BASE["batch"]
        for (batch, size, depth, width, replicas), times in found.items():
            cost = statistics.median(times["cpu"]) / batch
            print(
                f"{batch:6} {size:5} {depth:6} {width:6} {replicas:9}"
                f" {500 * cost:14.2f} {cost / base:8.2f}"
                f" {gigaflop(size, depth, width):13.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
