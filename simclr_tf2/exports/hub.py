"""saved_model/STEP: a SavedModel in the reference's form, callable once loaded."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import tensorflow as tf

from simclr_tf2 import files
from simclr_tf2.exports.encoded_images import CHANNELS, decoded_views

SERVED = ("final_avg_pool", "proj_head_output")  # by the signatures: h and z


class HubModule(tf.train.Checkpoint):
    """Module ``module(images, trainable=False) -> dict`` of every endpoint.

    Keys: initial_conv, initial_max_pool, block_group1..4, final_avg_pool,
    proj_head_input, proj_head_output, logits_sup (when there is a supervised head) and
    default (= final_avg_pool). ``training`` is the name that hub.KerasLayer uses for
    ``trainable``. A Checkpoint because, unlike those of a tf.Module, its lists
    ``variables`` and ``trainable_variables`` are there after loading.
    """

    def __init__(
        self, simclr: keras.Model, *, image_size: int | tuple[int, int] | None = None
    ) -> None:
        """Hold a network in export form.

        Args:
            simclr: The network.
            image_size: Side of the views of ``serve_bytes``, or (height, width).
        """
        super().__init__()
        self._simclr = simclr
        self._size = image_size
        self.variables = [v.value for v in simclr.variables]
        self.trainable_variables = [v.value for v in simclr.trainable_variables]
        self.regularization_losses: list = []
        shape = [None, *simclr.backbone.input_shape[1:]]
        self._spec = tf.TensorSpec(shape, tf.float32, name="inputs")

    def endpoints(self, images: tf.Tensor, trainable: bool) -> dict[str, tf.Tensor]:
        """Return every named tensor of the network, float32."""
        model = self._simclr
        found = dict(model.backbone(images, training=trainable))
        h = found["final_avg_pool"]
        hidden = model.hiddens_of(h, training=trainable)
        found |= {"proj_head_input": h, "proj_head_output": hidden[-1], "default": h}
        if model.supervised_head is not None:
            reads = hidden[model.ft_proj_selector]
            found["logits_sup"] = model.supervised_head(reads, training=trainable)
        return {k: tf.identity(tf.cast(v, tf.float32), k) for k, v in found.items()}

    @tf.function
    def __call__(
        self,
        inputs: tf.Tensor,
        trainable: bool = False,
        training: bool | None = None,
    ) -> dict[str, tf.Tensor]:
        """Map images ``[n, s, s, c]`` in [0, 1] to a dict of endpoints."""
        return self.endpoints(inputs, bool(trainable if training is None else training))

    @tf.function
    def serve(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Map images to h and z, as the serving signature."""
        found = self.endpoints(inputs, False)
        return {k: found[k] for k in SERVED}

    @tf.function
    def serve_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Map image files as bytes ``[n]`` to h and z of their views of evaluation."""
        assert self._size is not None, "made without image_size"
        channels = self._simclr.backbone.input_shape[-1]
        views = decoded_views(image_bytes, image_size=self._size, channels=channels)
        found = self.endpoints(views, False)
        return {k: found[k] for k in SERVED}


def save_hub_module(
    simclr: keras.Model,
    folder: str | os.PathLike,
    *,
    step: int,
    keep: int,
    image_size: int | tuple[int, int] | None = None,
) -> Path:
    """Write ``folder/STEP`` and drop all but the newest ``keep``.

    Its signatures are ``serving_default``, images to h and z, and ``serving_bytes``,
    encoded image files to h and z. Networks of images with other than 1, 3 or 4
    channels lack the second, as no image file that TensorFlow decodes has them.

    Args:
        simclr: Export form of the model: stock layers, float32.
        folder: Parent of the numbered SavedModels.
        step: Training step, the name of the new one.
        keep: How many stay; 0: all.
        image_size: Side of the images that the network was trained on, or (height,
            width); None: without ``serving_bytes``.
    """
    module = HubModule(simclr, image_size=image_size)
    for options in ({}, {"trainable": True}, {"training": False}, {"training": True}):
        module.__call__.get_concrete_function(module._spec, **options)
    signatures = {"serving_default": module.serve.get_concrete_function(module._spec)}
    if image_size is not None and simclr.backbone.input_shape[-1] in CHANNELS:
        spec = tf.TensorSpec([None], tf.string, name="image_bytes")
        signatures["serving_bytes"] = module.serve_bytes.get_concrete_function(spec)
    return write_numbered(module, folder, signatures, step=step, keep=keep)


def write_numbered(
    module: tf.Module | tf.train.Checkpoint,
    folder: str | os.PathLike,
    signature: Callable | Mapping[str, Callable],
    *,
    step: int,
    keep: int,
) -> Path:
    """Write a SavedModel to ``folder/STEP``, whole or not at all; drop old ones.

    Args:
        module: What is saved.
        folder: Parent of the numbered SavedModels.
        signature: Its ``serving_default``, or all signatures by name.
        step: Training step, the name of the new one.
        keep: How many stay, the newest; 0: all.
    """
    folder = Path(folder)
    target, temporary = folder / str(step), folder / f".{step}.{os.getpid()}.tmp"
    try:
        with files.writing(target):
            folder.mkdir(parents=True, exist_ok=True)
            tf.saved_model.save(module, str(temporary), signatures=signature)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    numbered = sorted(
        (int(p.name) for p in folder.iterdir() if re.fullmatch(r"\d+", p.name)),
        reverse=True,
    )
    for old in numbered[keep:] if keep else ():
        shutil.rmtree(folder / str(old))
    return target
