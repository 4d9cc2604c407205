"""What XLA can compile of a traced function, asked of TensorFlow itself.

The CPU build of TensorFlow registers the kernels of its compiler for CPU and GPU, and
not those for TPU. Operations whose shapes depend on values are left out here.
"""

import functools

import tensorflow as tf
from tensorflow.python.framework import kernels

# Types of numbers that a TPU has without emulation, and handles of variables and lists.
TYPES = {
    *(tf.float32, tf.bfloat16, tf.bool, tf.resource, tf.variant),
    *(tf.int8, tf.uint8, tf.int16, tf.uint16, tf.int32, tf.uint32, tf.int64, tf.uint64),
}
# Their sizes are known when they have run, so that a TPU pads them or refuses them.
DYNAMIC = {"Where", "Unique", "UniqueV2", "NonMaxSuppressionV3", "NonMaxSuppressionV4"}
# Arguments and names of a graph, which no device runs.
PLACES = {"Placeholder", "NoOp"}


@functools.cache
def compiled_operations():
    """The names of all operations that TensorFlow's compiler knows."""
    tf.function(lambda x: x + 1, jit_compile=True)(tf.ones([1]))  # registers them
    registered = kernels.get_all_registered_kernels().kernel
    found = {k.op for k in registered if k.device_type == "XLA_CPU_JIT"}
    assert {"Conv2D", "While", "PartitionedCall"} <= found
    assert not {"PyFunc", "DecodePng", "StringJoin", "PrintV2"} & found
    return found


def operations(graph):
    """Every operation of a graph and of the functions that it calls, at any depth."""
    graphs, seen = [graph], set()
    while graphs:
        graph = graphs.pop()
        yield from graph.get_operations()
        for name, function in graph._functions.items():
            if name not in seen:
                seen.add(name)
                graphs.append(function.graph)


def is_shapeless(op, output):
    """Whether an output has no shape that a compiler has to know.

    Handles have none. Placeholders that nobody reads stand in conditions of loops. The
    last output of the fused batch norm is scratch of one kernel for its gradient, whose
    shape no device declares.
    """
    if output.dtype in (tf.resource, tf.variant):
        return True
    if op.type == "Placeholder" and not output.consumers():
        return True
    made = op.inputs[0] if op.type == "ZerosLike" else output
    return made.op.type == "FusedBatchNormV3" and made.value_index == 5


def refused(function, *arguments):
    """One line for each operation of a ``tf.function`` that a TPU would not compile.

    They name it, and say whether it is not compiled, of an unsuitable type, or of a
    shape that is not known when it is compiled.
    """
    graph = function.get_concrete_function(*arguments).graph
    lines, count = [], 0
    for op in operations(graph):
        count += 1
        if op.type in DYNAMIC or op.type not in compiled_operations() | PLACES:
            lines.append(f"{op.type} is not compiled: {op.name}")
        for output in op.outputs:
            if output.dtype.base_dtype not in TYPES:
                lines.append(f"{op.type} is {output.dtype.name}: {op.name}")
            if not (output.shape.is_fully_defined() or is_shapeless(op, output)):
                lines.append(f"{op.type} has shape {output.shape}: {op.name}")
    assert count > 10, count
    return lines
