"""What finishing the views costs the device that trains, beside the step itself.

With ``--augment_on=device`` colours and blur are part of the training step. The rows
are the time of finishing both views of a batch, without and with XLA, and of the
pretraining step of a ResNet on as many views, in processes that take turns. On a GPU
the wall time is what counts; set CUDA_VISIBLE_DEVICES (empty by default) to it. Run::

    python -m benchmarks.on_device [--batch 64] [--size 96] [--depth 18] [--rounds 3]
"""

from __future__ import annotations

import argparse

from benchmarks.interleaved import show, take_turns


def finishing(batch: int, size: int, jit_compile: bool):
    """Return a function of no arguments that finishes both views of a batch."""
    import tensorflow as tf

    from simclr_tf2 import augmentations
    from simclr_tf2.augmentations import sampling

    low, high = sampling.ranges(1.0)
    shape = [batch, size, size, 3]
    drawn = [tf.random.stateless_uniform([batch, 9], (2, i)) for i in (1, 2)]
    made = {
        "views": tuple(tf.random.stateless_uniform(shape, (1, i)) for i in (1, 2)),
        "draws": tuple(low + numbers * (high - low) for numbers in drawn),
    }

    @tf.function(autograph=False, jit_compile=jit_compile)
    def run():
        views = augmentations.finish_batch(made, use_blur=True)["views"]
        return tf.add_n([tf.reduce_sum(view) for view in views])

    return lambda: float(run())


def step(batch: int, size: int, depth: int):
    """Return the pretraining step alone, as a function of no arguments."""
    from benchmarks.step import ours

    return ours(batch, size, "float32", depth)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    cases = {
        "colours and blur": (finishing, (given.batch, given.size, False)),
        "the same by XLA": (finishing, (given.batch, given.size, True)),
        "pretraining step": (step, (given.batch, given.size, given.depth)),
    }
    found = take_turns(cases, rounds=given.rounds, repeats=1)
    print(f"{given.size} px, batch {given.batch}: median (lowest - highest)")
    print("work                       CPU ms                      wall ms")
    for name, times in found.items():
        cpu, wall = ([1e3 * x for x in times[key]] for key in ("cpu", "wall"))
        print(f"{name:18} {show(cpu):>26} {show(wall):>26}")


if __name__ == "__main__":
    main()
