"""Counts of networks: against published sizes, TensorFlow's profiler and by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import models
from simclr_tf2.config import ModelConfig
from simclr_tf2.planning import counting

SMALL = {"resnet_depth": 50, "width_multiplier": 0.125, "num_proj_layers": 2}


def counts(*, image_size=224, num_classes=None, replicas=1, dtype=None, **model):
    built = counting.symbolic_model(
        ModelConfig(**model),
        image_size=image_size,
        num_classes=num_classes,
        num_replicas=replicas,
        dtype=dtype,
    )
    return counting.count(built)


def test_resnet50_has_the_published_parameters_and_multiply_adds():
    backbone = counts(proj_head_mode="none")
    # 25.6 M with a classifier of 1,000 classes, 4.1 G multiply-adds: the size of
    # ResNet-50 with the stride in the 3x3 convolution, as torchvision lists it.
    assert backbone.trained == 25_557_032 - (2048 * 1000 + 1000)
    assert backbone.multiply_adds / 1e9 == pytest.approx(4.09, abs=0.005)
    with_classifier = counts(proj_head_mode="none", num_classes=1000)
    assert with_classifier.trained == 25_557_032
    assert backbone.step_flops == 6 * backbone.multiply_adds


def test_the_sizes_of_simclrv2_are_those_of_its_paper():
    # Table 1 of arXiv 2006.10029: millions of parameters of the backbone.
    published = {(50, 1, 0.0): 24, (50, 1, 0.0625): 35, (152, 3, 0.0625): 795}
    for (depth, width, sk_ratio), millions in published.items():
        found = counts(
            resnet_depth=depth,
            width_multiplier=width,
            sk_ratio=sk_ratio,
            proj_head_mode="none",
        )
        assert found.trained / 1e6 == pytest.approx(millions, abs=0.7)


def float_operations(model, images):
    """Float operations of convolutions and products, by TensorFlow's profiler."""
    function = tf.function(lambda x: model(x, training=False)["projection"])
    graph = function.get_concrete_function(images).graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    found = profiler.profile(graph, cmd="op", options=options)
    stack, total = [found], 0
    while stack:
        node = stack.pop()
        stack += node.children
        if node.name in ("Conv2D", "MatMul"):
            total += node.float_ops
    return total


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"sk_ratio": 0.0625},
        {"se_ratio": 0.25},
        {"resnet_depth": 18, "stem": "cifar"},
    ],
    ids=str,
)
def test_multiply_adds_are_half_the_float_operations_of_tensorflows_profiler(more):
    config = ModelConfig(**{**SMALL, **more})
    model = models.build_simclr(config, image_size=48)
    images = tf.zeros([1, 48, 48, 3])
    found = counting.count(model)
    assert 2 * found.multiply_adds == float_operations(model, images)


def test_a_model_without_values_counts_as_one_with_values():
    settings = {**SMALL, "sk_ratio": 0.0625, "se_ratio": 0.25}
    built = models.build_simclr(ModelConfig(**settings), image_size=32, num_classes=3)
    symbolic = counts(**settings, image_size=32, num_classes=3)
    assert symbolic == counting.count(built)
    assert symbolic.trained == sum(np.prod(v.shape) for v in built.trainable_variables)
    assert symbolic.numbers == sum(np.prod(v.shape) for v in built.variables)


def chain():
    """A 1x1 convolution, batch norm and ReLU on 4 x 4 pixels, and a dense head."""
    images = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(2, 1, use_bias=False, name="stem_conv_1")(images)
    x = keras.layers.BatchNormalization(name="stem_batch_normalization_1")(x)
    x = keras.layers.ReLU(name="stem_batch_normalization_1_relu")(x)
    h = keras.layers.GlobalAveragePooling2D(name="final_avg_pool")(x)
    head = keras.Input((2,))
    z = keras.layers.Dense(5, use_bias=False)(head)
    return models.SimCLR(keras.Model(images, h), keras.Model(head, [head, z]))


def test_the_counts_of_a_chain_are_those_by_hand():
    found = counting.count(chain())
    assert found.multiply_adds == 16 * 3 * 2 + 2 * 5
    assert found.trained == 3 * 2 + 2 + 2 + 2 * 5
    assert found.numbers == found.trained + 2 + 2  # moving mean and variance
    images, map_, h, z = 4 * 16 * 3, 4 * 16 * 2, 4 * 2, 4 * 5
    # Images for the kernel, its output for batch norm, ReLU's output for its sign, h.
    assert found.kept.total == images + 2 * map_ + h
    # Compiled: outputs of convolution, pool and dense layer.
    assert found.kept_compiled.total == map_ + h + z
    assert found.largest == images + map_
    # In and out of convolution, batch norm, pool and dense layer; ReLU is free.
    assert found.traffic == (images + map_) + 2 * map_ + (map_ + h) + (h + z)
    assert found.norms == (2,) and found.width == 5


def test_half_precision_halves_the_activations_of_the_backbone():
    whole = counts(**SMALL, image_size=32)
    half = counts(**SMALL, image_size=32, dtype="mixed_bfloat16")
    assert half.kept.total == pytest.approx(whole.kept.total / 2, rel=0.03)
    assert half.trained == whole.trained


def test_synchronised_batch_norm_keeps_a_centred_copy_more():
    alone = counts(**SMALL, image_size=32)
    several = counts(**SMALL, image_size=32, replicas=2)
    assert several.kept.total > 1.3 * alone.kept.total
    assert several.kept_compiled == alone.kept_compiled
    assert several.norms == alone.norms


def test_a_frozen_backbone_is_run_once_and_keeps_nothing():
    built = counting.symbolic_model(ModelConfig(**SMALL), image_size=32, num_classes=10)
    models.freeze_up_to_block(built.backbone, 4)
    found = counting.count(built, head_layers=0)
    width = built.projection_head.inputs[0].shape[-1]
    assert found.trained_multiply_adds == width * 10
    assert found.trained == width * 10 + 10
    assert found.kept.total == 4 * width
    assert found.norms == ()


def test_segments_are_the_stem_and_the_residual_blocks():
    found = counts(**SMALL, sk_ratio=0.0625, image_size=32)
    blocks = {
        f"group{g}_block{b}"
        for g, n in enumerate((3, 4, 6, 3), 1)
        for b in range(1, n + 1)
    }
    assert set(found.kept.segments) == set(found.borders) == {"stem", *blocks}
    rest = found.kept.total - sum(found.kept.segments.values())
    assert 0 < rest < 0.02 * found.kept.total  # the head
