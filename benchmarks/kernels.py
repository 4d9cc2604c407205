"""Which operations the pretraining step runs, after TensorFlow's graph optimizer.

Counts operations of ResNet-18's step by type: whether batch norm and ReLU became one
kernel, how many casts mixed precision needs, how many small operations the optimizer
leaves. Nothing is timed. Run::

    python -m benchmarks.kernels [--precision float32] [--depth 18] [--least 10]
"""

from __future__ import annotations

import argparse
import collections

from benchmarks.step import parts_of_step

SIZE, BATCH = 32, 8  # neither changes the counts


def operations(precision: str, depth: int) -> collections.Counter:
    """Count the operations of the optimized graph by type."""
    import tensorflow as tf
    from tensorflow.python.eager import context  # nothing public shows this graph

    step = tf.function(parts_of_step(precision, SIZE, depth, 1), autograph=False)
    shape = [BATCH, SIZE, SIZE, 3]
    views = tuple(tf.random.stateless_uniform(shape, (1, i)) for i in (1, 2))
    inputs = {"views": views, "label": tf.zeros([BATCH], tf.int32)}
    context.enable_run_metadata()
    step(inputs)
    graphs = context.export_run_metadata().function_graphs
    largest = max((g.post_optimization_graph.node for g in graphs), key=len)
    return collections.Counter(node.op for node in largest)


def main() -> None:
    """Count and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--least", type=int, default=10)
    given = parser.parse_args()
    found = operations(given.precision, given.depth)
    print(f"ResNet-{given.depth}, {given.precision}: {sum(found.values())} operations")
    for name, count in found.most_common():
        if count >= given.least or "Norm" in name:
            print(f"{count:6}  {name}")


if __name__ == "__main__":
    main()
