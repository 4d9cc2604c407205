"""The SimCLR model: backbone f, projection head g, and an optional classifier."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from simclr_tf2.config import ModelConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.models.heads import build_projection_head, build_supervised_head
from simclr_tf2.models.resnet import build_resnet

CIFAR_STEM_UP_TO = 32  # pixels; reference code


class SimCLR(keras.Model):
    """Backbone f, projection head g and the supervised head as one model.

    Attributes:
        backbone: f; any ``keras.Model`` from images to h ``[n, d]`` or to a dict that
            holds h as ``final_avg_pool``.
        projection_head: g; ``[n, d]`` -> list ``[h, hidden_1, .., z]``.
        supervised_head: ``[n, d_k]`` -> logits ``[n, classes]``, or None.
        ft_proj_selector: The supervised head reads the input of layer k of g: 0 is h,
            -1 is z (SimCLRv2, section 2, fine-tunes from a middle layer).
        forward: Another way to run ``backbone`` to h, such as one that recomputes
            activations; None: its own.
    """

    def __init__(
        self,
        backbone: keras.Model,
        projection_head: keras.Model,
        supervised_head: keras.Model | None = None,
        *,
        ft_proj_selector: int = 0,
        **kwargs: Any,
    ) -> None:
        """Join built networks; see the class for what each of them maps."""
        super().__init__(**kwargs)
        self.backbone = backbone
        self.projection_head = projection_head
        self.supervised_head = supervised_head
        self.ft_proj_selector = ft_proj_selector
        self.build_for_export: Callable[[], SimCLR] | None = None
        self.forward: Callable[..., tf.Tensor] | None = None
        self.built = True

    def call(self, images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Run pretraining's forward pass, both views in one batch.

        Args:
            images: ``[n, s, s, c]`` in [0, 1].
            training: Batch statistics in batch norm, and moving statistics updated.

        Returns:
            ``representation`` h ``[n, d]``, ``projection`` z ``[n, k]``, all float32,
            and, with a supervised head, ``logits`` ``[n, classes]``, which no gradient
            leaves towards f and g (reference code).
        """
        hiddens = self.hiddens(images, training=training)
        outputs = {"representation": hiddens[0], "projection": hiddens[-1]}
        if self.supervised_head is not None:
            features = tf.stop_gradient(hiddens[self.ft_proj_selector])
            outputs["logits"] = self.supervised_head(features, training=training)
        return outputs

    def representation(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Compute h ``[n, d]`` of ``images``, by ``forward`` if there is one."""
        h = (self.forward or self.backbone)(images, training=training)
        return h["final_avg_pool"] if isinstance(h, dict) else h

    def hiddens(self, images: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """Return ``[h, hidden_1, .., z]`` of images: inputs of the layers of g, z."""
        h = self.representation(images, training=training)
        return self.hiddens_of(h, training=training)

    def hiddens_of(self, h: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """Return ``[h, hidden_1, .., z]`` of a representation ``[n, d]``."""
        hiddens = self.projection_head(h, training=training)
        return list(hiddens) if isinstance(hiddens, (list, tuple)) else [hiddens]

    def finetune_logits(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return logits ``[n, classes]`` that gradients flow through, for fine-tuning.

        They read layer input ``ft_proj_selector`` of g; the layers above it are not
        run, so their batch statistics stay. Train ``finetune_trainable_variables``.
        """
        assert self.supervised_head is not None, "built without classes"
        h = self.representation(images, training=training)
        features = self._lower_head()(h, training=training)
        return self.supervised_head(features, training=training)

    @property
    def finetune_trainable_variables(self) -> list[keras.Variable]:
        """Trainable variables that ``finetune_logits`` depends on, no others.

        The layers of g above ``ft_proj_selector`` are left out: they get no gradient.
        """
        assert self.supervised_head is not None, "built without classes"
        return [
            *self.backbone.trainable_variables,
            *self._lower_head().trainable_variables,
            *self.supervised_head.trainable_variables,
        ]

    def _lower_head(self) -> keras.Model:
        """Return the part of g below the supervised head's input; ``[n, d]`` in."""
        head = self.projection_head
        return keras.Model(head.inputs[0], head.outputs[self.ft_proj_selector])


def build_classifier(model: SimCLR) -> keras.Model:
    """Join backbone, head and classifier to one graph of stock layers.

    Args:
        model: A model with a supervised head, in export form.

    Returns:
        Images ``[n, s, s, c]`` in [0, 1] -> probabilities ``[n, classes]``, float32.
    """
    assert model.supervised_head is not None, "built without classes"
    h = model.backbone.output
    h = h["final_avg_pool"] if isinstance(h, dict) else h
    if model.ft_proj_selector:  # Keras 3.12 cannot load a graph that is its input
        h = model._lower_head()(h)
    logits = model.supervised_head(h)
    softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(model.backbone.input, softmax(logits), name="classifier")


def with_linear_classifier(
    encoder: keras.Model, kernel: np.ndarray, bias: np.ndarray
) -> keras.Model:
    """Put a linear classifier with given weights on an encoder.

    Args:
        encoder: Images ``[n, s, s, c]`` in [0, 1] -> h ``[n, d]``.
        kernel: float32 ``[d, classes]``.
        bias: float32 ``[classes]``.

    Returns:
        Images -> probabilities ``[n, classes]``, float32, of stock layers.
    """
    dense = keras.layers.Dense(len(bias), dtype="float32", name="linear_classifier")
    images = encoder.input
    logits = dense(encoder.output)
    dense.set_weights([kernel, bias])
    softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(images, softmax(logits), name="classifier")


def stem_at(stem: str, image_size: int | tuple[int, int]) -> str:
    """Return ``--stem`` at a size of images: what ``auto`` chooses there."""
    if stem != "auto":
        return stem
    return "cifar" if np.max(image_size) <= CIFAR_STEM_UP_TO else "imagenet"


def build_simclr(
    config: ModelConfig,
    *,
    image_size: int | tuple[int, int],
    num_classes: int | None = None,
    channels: int = 3,
    num_replicas: int = 1,
    dtype: str | None = None,
    export: bool = False,
    any_size: bool = False,
) -> SimCLR:
    """Build the model that ``config`` describes, with fresh weights.

    Args:
        config: Network and heads.
        image_size: Side of the images, or (height, width); ``--stem=auto`` is the CIFAR
            stem if both are at most 32 px.
        num_classes: Classes of the supervised head; None or 0: no such head.
        channels: Channels of the images.
        num_replicas: Replicas in sync; ``--global_bn`` synchronises when more than one.
        dtype: Dtype policy of the backbone, such as "mixed_bfloat16"; heads and h stay
            float32.
        export: Stock Keras layers only, float32, nothing synchronised: what a saved
            encoder is made of. Same variables under the same paths.
        any_size: Take images of any size instead of ``image_size`` (which still decides
            on the stem of ``--stem=auto``).

    Returns:
        A built model; weights come from Keras's global seed.
    """
    synchronized = config.global_bn and num_replicas > 1 and not export
    stem = stem_at(config.stem, image_size)
    backbone = build_resnet(
        config.resnet_depth,
        width_multiplier=config.width_multiplier,
        sk_ratio=config.sk_ratio,
        se_ratio=config.se_ratio,
        resnet_d=config.has_resnet_d,
        zero_init_residual=config.zero_init_residual,
        stem=stem,
        image_size=None if any_size else image_size,
        channels=channels,
        normalization=config.normalization,
        batch_norm_momentum=config.batch_norm_decay,
        synchronized_batch_norm=synchronized,
        fused_batch_norm=not (synchronized or export),
        dtype="float32" if export else dtype,
    )
    dim = backbone.output["final_avg_pool"].shape[-1]
    head_dtype = "float64" if dtype == "float64" and not export else "float32"
    head = build_projection_head(
        dim,
        mode=config.proj_head_mode,
        out_dim=config.proj_out_dim,
        num_layers=config.num_proj_layers,
        batch_norm_momentum=config.batch_norm_decay,
        synchronized_batch_norm=synchronized,
        fused_batch_norm=not (synchronized or export),
        dtype=head_dtype,
    )
    model = SimCLR(
        backbone,
        head,
        _supervised_head(config, head, num_classes, head_dtype),
        name="simclr",
        ft_proj_selector=config.ft_proj_selector,
    )
    model.build_for_export = functools.partial(
        build_simclr,
        config,
        image_size=image_size,
        num_classes=num_classes,
        channels=channels,
        export=True,
        any_size=True,
    )
    return model


def _supervised_head(
    config: ModelConfig,
    projection_head: keras.Model,
    num_classes: int | None,
    dtype: str,
) -> keras.Model | None:
    """Build the head on the layer of g that is selected; None without classes."""
    if not num_classes:
        return None
    return build_supervised_head(
        projection_head.outputs[config.ft_proj_selector].shape[-1],
        num_classes,
        zero_init=config.zero_init_logits_layer,
        dtype=dtype,
    )


def export_copy(model: SimCLR) -> SimCLR:
    """Copy a model with its weights to stock float32 Keras layers, ready to be saved.

    Raises:
        ConfigError: ``model`` does not come from ``build_simclr``.
    """
    if model.build_for_export is None:
        raise ConfigError("export_copy needs a model made by build_simclr")
    copy = model.build_for_export()
    copy_weights(model, copy)
    return copy


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy every variable of ``target`` from the one of ``source`` with its path.

    Raises:
        ConfigError: Variables of ``target`` that ``source`` lacks or has otherwise
            shaped; nothing is copied then.
    """
    have = {variable.path: variable for variable in source.variables}
    bad = [
        variable.path
        for variable in target.variables
        if variable.path not in have
        or tuple(have[variable.path].shape) != tuple(variable.shape)
    ]
    if bad:
        raise ConfigError(f"no weights of that name and shape for: {', '.join(bad)}")
    for variable in target.variables:
        variable.assign(have[variable.path].numpy())
