"""Parameters, arithmetic and activations of a network, counted on its Keras graph.

The network is the one that training builds, but its variables have no values, so that
the largest ones take no memory here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from simclr_tf2 import models
from simclr_tf2.config import ModelConfig

# Backward pass: one product for the gradient of the weights, one for that of the input.
FORWARD_AND_BACKWARD = 3
# TensorFlow runs these together with the layer before, or computes no values.
FREE_LAYERS = (keras.layers.ReLU, keras.layers.ZeroPadding2D, keras.layers.InputLayer)


@dataclass(frozen=True)
class Kept:
    """Bytes of the activations of one image that the backward pass reads.

    Attributes:
        total: All of them.
        segments: Those inside the stem and inside each residual block.
    """

    total: int
    segments: dict[str, int]


@dataclass(frozen=True)
class Counts:
    """What one image costs in a network, and what the network itself holds.

    Attributes:
        trained: Numbers that training changes.
        numbers: All numbers of the network, with moving statistics.
        multiply_adds: Multiply-adds of the forward pass.
        trained_multiply_adds: Those of layers that are trained.
        kept: Activations that the backward pass reads.
        kept_compiled: Those that remain if XLA compiles the step: outputs of
            convolutions, dense layers, pools and blocks. It computes batch norm, ReLU
            and products of elements again.
        largest: Bytes of the largest input and output of one layer.
        borders: Bytes of the outputs of the stem and of each residual block.
        traffic: Bytes that the layers of a forward pass read and write.
        norms: Channels of each batch norm that is trained.
        width: Features of the projection.
    """

    trained: int
    numbers: int
    multiply_adds: int
    trained_multiply_adds: int
    kept: Kept
    kept_compiled: Kept
    largest: int
    borders: dict[str, int]
    traffic: int
    norms: tuple[int, ...]
    width: int

    @property
    def step_flops(self) -> int:
        """Floating-point operations of an image in a step, 2 for each multiply-add.

        A layer that is trained takes three times its forward pass, any other one pass.
        """
        extra = (FORWARD_AND_BACKWARD - 1) * self.trained_multiply_adds
        return 2 * (self.multiply_adds + extra)


def symbolic_model(
    config: ModelConfig,
    *,
    image_size: int | tuple[int, int],
    channels: int = 3,
    num_classes: int | None = None,
    num_replicas: int = 1,
    dtype: str | None = None,
) -> models.SimCLR:
    """Build the model of training without values of its variables."""
    with keras.StatelessScope(initialize_variables=False):
        return models.build_simclr(
            config,
            image_size=image_size,
            channels=channels,
            num_classes=num_classes,
            num_replicas=num_replicas,
            dtype=dtype,
        )


def count(model: models.SimCLR, *, head_layers: int | None = None) -> Counts:
    """Count a model as it is trained: frozen layers have no backward pass.

    Args:
        model: A model of ``symbolic_model``, or one with values.
        head_layers: Layers of the projection head that run; None: all of them.
    """
    head = model.projection_head
    if head_layers is not None:
        head = keras.Model(head.inputs[0], head.outputs[head_layers])
    parts = [model.backbone, head]
    if model.supervised_head is not None:
        parts.append(model.supervised_head)
    walk = _Walk()
    for part in parts:
        walk.add(part)
    variables = _distinct(v for part in parts for v in part.variables)
    trained = _distinct(v for part in parts for v in part.trainable_variables)
    return Counts(
        trained=_numbers(trained),
        numbers=_numbers(variables),
        multiply_adds=walk.multiply_adds,
        trained_multiply_adds=walk.trained_multiply_adds,
        kept=walk.summed(walk.kept),
        kept_compiled=walk.summed(walk.compiled),
        largest=walk.largest,
        borders={name: size for name, size in walk.borders.items() if name},
        traffic=walk.traffic,
        norms=tuple(walk.norms),
        width=int(head.outputs[-1].shape[-1]),
    )


class _Walk:
    """Visit of all layers of a graph from its input to its outputs."""

    def __init__(self) -> None:
        self.multiply_adds = self.trained_multiply_adds = 0
        self.traffic = self.largest = 0
        self.kept: dict[Any, int] = {}
        self.compiled: dict[Any, int] = {}
        self.norms: list[int] = []
        self.borders: dict[str, int] = {}
        self._segment_of: dict[Any, str] = {}  # of kept tensors and of all outputs
        self._learning: set[int] = set()  # tensors that a gradient reaches

    def add(self, network: keras.Model) -> None:
        """Visit the layers of one network."""
        for operation in network.operations:
            if not isinstance(operation, keras.layers.InputLayer):
                self._visit(operation)

    def summed(self, kept: dict[Any, int]) -> Kept:
        """Sum kept bytes, all and those of the stem and each residual block."""
        segments: dict[str, int] = {}
        for key, size in kept.items():
            name = self._segment_of.get(key, "")
            if name:
                segments[name] = segments.get(name, 0) + size
        return Kept(sum(kept.values()), segments)

    def _visit(self, operation: Any) -> None:
        inputs, outputs = _tensors(operation.input), _tensors(operation.output)
        trained = bool(getattr(operation, "trainable_variables", []))
        learns = trained or any(id(t) in self._learning for t in inputs)
        segment = _segment(operation.name) or self._segment_of.get(id(inputs[0]), "")
        work = _multiply_adds(operation)
        self.multiply_adds += work
        self.trained_multiply_adds += work * learns
        size = sum(map(_bytes, inputs)) + sum(map(_bytes, outputs))
        self.largest = max(self.largest, size)
        if not isinstance(operation, FREE_LAYERS):
            self.traffic += size
        for tensor in outputs:
            self._segment_of[id(tensor)] = segment
            if learns:
                self._learning.add(id(tensor))
        if segment:  # the last output of a block stays
            self.borders[segment] = sum(map(_bytes, outputs))
        if learns:
            for key, number in _kept(operation, inputs, outputs):
                self.kept[key] = number
                self._segment_of.setdefault(key, segment)
            if _stays_compiled(operation):
                self.compiled.update((id(t), _bytes(t)) for t in outputs)
        if trained and isinstance(operation, keras.layers.BatchNormalization):
            self.norms.append(int(inputs[0].shape[-1]))


def _multiply_adds(operation: Any) -> int:
    """Count a convolution or dense layer; all other layers count as nothing."""
    if isinstance(operation, keras.layers.Conv2D):
        kernel = math.prod(operation.kernel.shape)
        return int(kernel * math.prod(operation.output.shape[1:3]))
    if isinstance(operation, keras.layers.Dense):
        return int(math.prod(operation.kernel.shape))
    return 0


def _kept(
    operation: Any, inputs: list[Any], outputs: list[Any]
) -> Iterable[tuple[Any, int]]:
    """Yield what the gradient of a layer reads, as (key, bytes).

    A tensor that two layers read has one key and counts once.
    """
    if isinstance(operation, keras.layers.BatchNormalization):
        yield id(inputs[0]), _bytes(inputs[0])
        if operation.synchronized:  # composed of operations, in float32
            numbers = math.prod(inputs[0].shape[1:])
            yield (id(operation), "centred"), 4 * numbers
            if inputs[0].dtype != "float32":
                yield (id(operation), "cast"), 4 * numbers
    elif isinstance(operation, (keras.layers.Conv2D, keras.layers.Dense)):
        yield id(inputs[0]), _bytes(inputs[0])
    elif isinstance(operation, (keras.layers.ReLU, keras.layers.Activation)):
        yield id(outputs[0]), _bytes(outputs[0])
    elif isinstance(operation, keras.layers.MaxPooling2D):
        yield id(inputs[0]), _bytes(inputs[0])
        yield id(outputs[0]), _bytes(outputs[0])
    elif isinstance(operation, keras.layers.Multiply):
        yield from ((id(t), _bytes(t)) for t in inputs)
    elif operation.name.startswith("softmax"):
        yield id(outputs[0]), _bytes(outputs[0])


def _stays_compiled(operation: Any) -> bool:
    """Return whether XLA keeps the output instead of computing it again."""
    end_of_block = re.fullmatch(r"group\d_block\d+_relu", operation.name) is not None
    return end_of_block or isinstance(
        operation,
        (
            keras.layers.Conv2D,
            keras.layers.Dense,
            keras.layers.MaxPooling2D,
            keras.layers.AveragePooling2D,
            keras.layers.GlobalAveragePooling2D,
        ),
    )


def _segment(name: str) -> str:
    """Return the part of the network that a layer is in; "" for unnamed operations."""
    if name.startswith("stem_"):
        return "stem"
    match = re.match(r"group\d_block\d+", name)
    return match[0] if match else ""


def _tensors(found: Any) -> list[Any]:
    return list(tf.nest.flatten(found))


def _bytes(tensor: Any) -> int:
    """Return the bytes of one image's part of ``[n, ...]``."""
    numbers = math.prod(tensor.shape[1:])
    return int(numbers * tf.as_dtype(tensor.dtype).size)


def _distinct(variables: Iterable[Any]) -> list[Any]:
    return list({id(variable): variable for variable in variables}.values())


def _numbers(variables: Iterable[Any]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)
