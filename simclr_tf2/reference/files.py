"""Files of the reference code: tf.train checkpoints and SavedModel variables folders.

Both hold the graph of Python objects they were made of, under one key. Values are found
by walking that graph from ``model`` along attribute names, so neither the order of the
values nor how the file numbers them matters: a SavedModel files the same variable under
``trainable_variables_list/7`` that a checkpoint files under ``model/resnet_model/..``.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from simclr_tf2 import addresses, files
from simclr_tf2.errors import ConfigError

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Attributes of the reference's objects that lead to variables; digits are list items.
_ATTRIBUTE = re.compile(
    r"\d+|resnet_model|initial_conv_relu_max_pool|block_groups|layers"
    r"|conv2d_bn_layers|shortcut_layers|conv_relu_dropblock_layers|projection_layers"
    r"|conv2d|conv2d_fixed_padding|conv2d_[01]|bn|bn_relu|batch_norm_relu(_1)?"
    r"|se_layer|se_reduce|se_expand|_projection_head|linear_layers|supervised_head"
    r"|linear_layer|dense|kernel|bias|gamma|beta|moving_mean|moving_variance"
)


@dataclass(frozen=True)
class ReferenceFile:
    """Opened file of values.

    Attributes:
        prefix: Path without ``.index``.
        variables: Attribute path below ``model``, such as
            ``resnet_model/block_groups/0/layers/0/conv2d_bn_layers/0/conv2d/kernel``
            -> key of its value in the file.
        shapes: Key -> shape, of everything in the file but the object graph.
    """

    prefix: str
    variables: dict[str, str]
    shapes: dict[str, tuple[int, ...]]

    def read(self, keys: list[str]) -> dict[str, np.ndarray]:
        """Read the values of ``keys``, as key -> value.

        Raises:
            ConfigError: The file is damaged.
        """
        try:
            with _reader(self.prefix) as reader:
                return {key: reader.get_tensor(key) for key in keys}
        except Exception as error:  # damage shows as DataLoss, IndexError, ...
            raise _damaged(self.prefix, error) from error


def find_prefix(path: str | os.PathLike) -> str | None:
    """Find the prefix of the checkpoint or SavedModel at ``path``; None without one.

    Args:
        path: A prefix (``run/ckpt-8``) or one of its files, a folder of checkpoints
            (the newest counts), a SavedModel, its variables folder, or a folder of
            numbered SavedModels (the newest counts).
    """
    text = re.sub(r"\.(index|data-\d+-of-\d+)$", "", os.fspath(path))
    try:
        text = os.fspath(addresses.local(text))
    except ValueError:
        raise ConfigError(
            f"{text} is not on this machine; copy the folder here first"
        ) from None
    if Path(text + ".index").is_file():
        return text
    folder = Path(text)
    newest = _newest(folder, r".+-(\d+)\.index")
    if newest is not None:
        return str(newest.with_suffix(""))
    for inner in (folder, folder / "variables"):
        if (inner / "variables.index").is_file():
            return str(inner / "variables")
    below = folder / "saved_model"
    numbered = below if below.is_dir() else _newest(folder, r"(\d+)")
    return find_prefix(numbered) if numbered and numbered.is_dir() else None


def is_reference(path: str | os.PathLike) -> bool:
    """Return whether ``path`` holds values in the reference code's form; reads none.

    Raises:
        ConfigError: There is something, and it is damaged or of TensorFlow 1.
    """
    prefix = find_prefix(path)
    return prefix is not None and bool(_model_node(_read_graph(prefix)))


def open_file(path: str | os.PathLike) -> ReferenceFile:
    """Open what ``find_prefix`` finds at ``path``.

    Raises:
        ConfigError: Nothing there, damaged, or not made by the reference code.
    """
    prefix = find_prefix(path)
    if prefix is None:
        missing = files.missing(path)
        raise ConfigError(
            f"{path}: no checkpoint and no SavedModel there"
            f"{f'; {missing}' if missing else ''}"
        )
    graph = _read_graph(prefix)
    root = _model_node(graph)
    if not root:
        raise ConfigError(
            f"{prefix} does not come from the reference code (google-research/simclr, "
            "tf2): it has no model/resnet_model"
        )
    with _reader(prefix) as reader:
        shapes = {
            key: tuple(shape)
            for key, shape in reader.get_variable_to_shape_map().items()
            if key != _GRAPH
        }
    variables = _walk(graph, root)
    lost = sorted(set(variables.values()) - set(shapes))
    if lost:
        raise ConfigError(f"{prefix} is incomplete, it lacks: {', '.join(lost)}")
    return ReferenceFile(prefix, variables, shapes)


def _newest(folder: Path, pattern: str) -> Path | None:
    """Return the entry of ``folder`` whose name has the highest number."""
    if not folder.is_dir():
        return None
    matches = ((re.fullmatch(pattern, p.name), p) for p in folder.iterdir())
    numbered = [(int(match[1]), path) for match, path in matches if match]
    return max(numbered)[1] if numbered else None


def _read_graph(prefix: str) -> trackable_object_graph_pb2.TrackableObjectGraph:
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    try:
        with _reader(prefix) as reader:
            if reader.has_tensor(_GRAPH):
                graph.ParseFromString(reader.get_tensor(_GRAPH))
                return graph
    except Exception as error:
        raise _damaged(prefix, error) from error
    raise ConfigError(
        f"{prefix} has no object graph (TensorFlow 1?); of the reference code's "
        "published models, take the SavedModels for TensorFlow 2"
    )


@contextlib.contextmanager
def _reader(prefix: str) -> Iterator[Any]:
    """Yield a reader of a checkpoint's values; the path may have any characters."""
    with files.plain_prefix(prefix) as plain:
        yield tf.train.load_checkpoint(plain)


def _damaged(prefix: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"{prefix} cannot be read (damaged or incomplete?): {files.reason(error)}"
    )


def _children(graph: Any, node: int) -> dict[str, int]:
    return {child.local_name: child.node_id for child in graph.nodes[node].children}


def _model_node(graph: Any) -> int:
    """Return the node that has a ``resnet_model``; 0, the root, when none has."""
    model = _children(graph, 0).get("model", 0) if graph.nodes else 0
    return model if model and "resnet_model" in _children(graph, model) else 0


def _walk(graph: Any, root: int) -> dict[str, str]:
    """Map the attribute path of every variable below node ``root`` to its key."""
    found: dict[str, str] = {}
    waiting = [(root, "", frozenset([root]))]
    while waiting:
        node, path, above = waiting.pop()
        for attribute in graph.nodes[node].attributes:
            if attribute.name == "VARIABLE_VALUE":
                found[path] = attribute.checkpoint_key
        for name, child in _children(graph, node).items():
            if _ATTRIBUTE.fullmatch(name) and child not in above:
                below = f"{path}/{name}" if path else name
                waiting.append((child, below, above | {child}))
    return found
