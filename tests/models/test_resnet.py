import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.config import ModelConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.models import build_resnet, build_simclr, freeze_up_to_block
from simclr_tf2.models.resnet import open_residual_branches, scaled_filters
from simclr_tf2.reference.names import reference_variables
from tests.support import reference_vectors

ENDPOINTS = [
    "initial_conv",
    "initial_max_pool",
    "block_group1",
    "block_group2",
    "block_group3",
    "block_group4",
    "final_avg_pool",
]


def narrow(depth=10, **arguments):
    arguments = {"width_multiplier": 0.125, "image_size": 15, **arguments}
    return build_resnet(depth, **arguments)


@pytest.mark.parametrize("entry", sorted(reference_vectors.variables()))
def test_parameters_are_the_references(entry):
    """Counts for every network; names, shapes and order up to depth 50."""
    want = reference_vectors.variables()[entry]
    config = ModelConfig(
        resnet_depth=want["depth"],
        width_multiplier=want["width"],
        sk_ratio=want["sk_ratio"],
        se_ratio=want["se_ratio"],
    )
    # Shapes without values: the largest network has 871 million parameters.
    with keras.StatelessScope(initialize_variables=False):
        model = build_simclr(
            config, image_size=want["image_size"], num_classes=10, export=True
        )
    # Otherwise Keras initialises them all when it next builds a model: 8 GB, a minute.
    keras.backend.clear_session()
    parts = {
        "resnet": model.backbone,
        "projection_head": model.projection_head,
        "supervised_head": model.supervised_head,
    }
    for name, part in parts.items():
        trainable, other = (
            sum(math.prod(v.shape) for v in variables)
            for variables in (part.trainable_variables, part.non_trainable_variables)
        )
        assert trainable == want[f"{name}_trainable"]
        assert other == want.get(f"{name}_non_trainable", 0)
    found = reference_variables(model)
    assert len(found) == want["n_vars"]
    if want["model_weights"] is not None:
        listed = [
            {"name": name, "shape": list(v.shape), "trainable": v.trainable}
            for name, v in found
        ]
        assert listed == want["model_weights"]


@pytest.mark.parametrize(
    ("stem", "sizes"),
    [
        ("imagenet", [8, 4, 4, 2, 1, 1]),
        ("cifar", [15, 15, 15, 8, 4, 2]),
        ("stride2", [8, 8, 8, 4, 2, 1]),
    ],
)
def test_endpoints_have_their_names_and_shapes(stem, sizes):
    model = narrow(stem=stem)
    assert list(model.output) == ENDPOINTS
    widths = [8, 8, 8, 16, 32, 64]
    outputs = model(np.zeros((3, 15, 15, 3), np.float32))
    for name, size, width in zip(ENDPOINTS, sizes, widths, strict=False):
        assert outputs[name].shape == (3, size, size, width), name
        assert model.output[name].shape == (None, size, size, width), name
    assert outputs["final_avg_pool"].shape == (3, 64)


def test_selective_kernel_networks_keep_the_sizes_of_plain_ones():
    model = narrow(50, sk_ratio=0.0625, se_ratio=0.25, image_size=30)
    sizes = [tuple(model.output[name].shape) for name in ENDPOINTS[:-1]]
    assert sizes == [
        (None, 15, 15, 8),
        (None, 8, 8, 8),
        (None, 8, 8, 32),
        (None, 4, 4, 64),
        (None, 2, 2, 128),
        (None, 1, 1, 256),
    ]
    assert model.get_layer("stem_conv_3").filters == 8
    assert model.get_layer("stem_conv_1").filters == 4
    # max(int(c * ratio), 32) mixes the streams; int(c * 0.25) squeezes.
    assert model.get_layer("group1_block1_sk_reduce").filters == 32
    assert model.get_layer("group2_block1_se_reduce").filters == 4
    assert model.get_layer("group2_block1_se_expand").filters == 64


def test_selective_kernel_weighs_its_streams_by_softmax():
    model = narrow(50, sk_ratio=0.0625, width_multiplier=0.05, image_size=7)
    name = "group1_block1_sk"
    parts = ["batch_normalization_relu", "expand", "mix"]
    probe = keras.Model(
        model.input, [model.get_layer(f"{name}_{part}").output for part in parts]
    )
    rng = np.random.default_rng(0)
    streams, logits, mix = (
        t.numpy() for t in probe(rng.random((3, 7, 7, 3), np.float32))
    )
    a, b = np.split(streams, 2, axis=-1)
    weight = 1 / (
        1 + np.exp(np.diff(np.stack(np.split(logits, 2, axis=-1)), axis=0)[0])
    )
    np.testing.assert_allclose(mix, weight * a + (1 - weight) * b, atol=1e-6)


@pytest.mark.parametrize("depth", [10, 50])
def test_resnet_d_without_selective_kernels_changes_stem_and_shortcuts(depth):
    plain, changed = narrow(depth), narrow(depth, resnet_d=True)
    new = {x.name for x in changed.layers} - {x.name for x in plain.layers}
    assert not any("_sk" in name for name in new)
    pools = {f"group{group}_block1_shortcut_pool" for group in range(1, 5)}
    assert pools <= new and "stem_conv_3" in new
    for name in ENDPOINTS:
        assert changed.output[name].shape == plain.output[name].shape


def test_resnet_d_is_that_of_a_network_with_selective_kernels_and_can_be_left_out():
    """Basic blocks have no selective kernels, so that both networks are the same."""
    asked, implied = narrow(resnet_d=True), narrow(sk_ratio=0.0625)
    implied.set_weights(asked.get_weights())
    images = np.random.default_rng(0).random((3, 15, 15, 3), np.float32)
    np.testing.assert_array_equal(
        asked(images)[ENDPOINTS[-1]], implied(images)[ENDPOINTS[-1]]
    )
    without = narrow(50, sk_ratio=0.0625, resnet_d=False)
    names = {layer.name for layer in without.layers}
    assert "group1_block1_sk_mix" in names and "stem_conv_3" not in names
    assert not any(name.endswith("_shortcut_pool") for name in names)


@pytest.mark.parametrize(("depth", "last"), [(10, 2), (50, 3)])
def test_residual_blocks_start_open_if_asked(depth, last):
    """The last gamma of each block: 0 as in the reference code, or 1."""
    for zero in (True, False):
        model = narrow(depth, zero_init_residual=zero)
        for block in ("group1_block1", "group4_block1"):
            layer = model.get_layer(f"{block}_batch_normalization_{last}")
            assert (layer.gamma.numpy() == (0 if zero else 1)).all()
        first = model.get_layer("group1_block1_batch_normalization_1")
        assert (first.gamma.numpy() == 1).all()


def test_cifar_stem_and_basic_blocks_ignore_what_resnet_d_changes():
    names = {layer.name for layer in narrow(18, sk_ratio=0.0625, stem="cifar").layers}
    assert "stem_conv_2" not in names
    assert not any("_sk" in name for name in names)
    assert "group1_block1_shortcut_pool" in names


@pytest.mark.parametrize(
    ("filters", "width", "expected"),
    [
        (64, 1, 64),
        (64, 4, 256),
        (64, 0.25, 16),
        (64, 0.1, 6),
        (64, 0.04, 3),
        (64, 0.0546875, 4),
        (64, 0.001, 1),
        (512, 0.33, 169),
    ],
)
def test_fractional_widths_round_to_the_nearest_filter(filters, width, expected):
    assert scaled_filters(filters, width) == expected


@pytest.mark.parametrize("depth", [10, 50])
def test_every_block_starts_as_its_shortcut(depth):
    model = narrow(depth, image_size=7)
    zero = {
        layer.name
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        and not layer.gamma.numpy().any()
    }
    last = 2 if depth == 10 else 3
    counts = (1, 1, 1, 1) if depth == 10 else (3, 4, 6, 3)
    assert zero == {
        f"group{group}_block{block}_batch_normalization_{last}"
        for group, count in enumerate(counts, 1)
        for block in range(1, count + 1)
    }


def test_kernels_start_as_independent_fan_in_truncated_normals():
    keras.utils.set_random_seed(3)
    model = narrow(18, width_multiplier=0.5, image_size=7)
    kernels = [
        model.get_layer(f"group4_block{i}_conv_{j}").kernel.numpy()
        for i, j in ((1, 2), (2, 1), (2, 2))
    ]
    for kernel in kernels:
        deviation = 1 / math.sqrt(3 * 3 * 256)
        assert kernel.std() == pytest.approx(deviation, rel=0.01)
        assert np.abs(kernel).max() <= 2 * deviation / 0.87962566 + 1e-6
    assert np.abs(np.corrcoef([k.ravel() for k in kernels]) - np.eye(3)).max() < 0.01


def test_any_image_size_when_none_is_named():
    model = narrow(image_size=None)
    for size in (5, 9):
        output = model(np.zeros((1, size, size, 3), np.float32))
        assert output["final_avg_pool"].shape == (1, 64)


def test_gray_images():
    model = narrow(channels=1)
    assert model(np.zeros((1, 15, 15, 1), np.float32))["final_avg_pool"].shape == (
        1,
        64,
    )


@pytest.mark.parametrize("sk_ratio", [0.0, 0.0625])
def test_mixed_precision_stays_local_and_h_is_float32(sk_ratio):
    before = keras.config.dtype_policy().name
    model = narrow(
        50 if sk_ratio else 10,
        sk_ratio=sk_ratio,
        dtype="mixed_bfloat16",
        fused_batch_norm=True,
    )
    assert keras.config.dtype_policy().name == before
    outputs = model(np.zeros((1, 15, 15, 3), np.float32), training=True)
    assert outputs.pop("final_avg_pool").dtype == "float32"
    assert {tensor.dtype.name for tensor in outputs.values()} == {"bfloat16"}
    assert {variable.dtype for variable in model.variables} == {"float32"}


@pytest.mark.parametrize("training", [True, False])
def test_fused_network_equals_stock_network(training):
    x = np.random.default_rng(0).random((5, 15, 15, 3)).astype(np.float32)
    stock, fused = narrow(sk_ratio=0.1), narrow(sk_ratio=0.1, fused_batch_norm=True)
    rng = np.random.default_rng(1)
    weights = [rng.random(w.shape) * 0.2 + 0.1 for w in stock.weights]
    results = []
    for model in (stock, fused):
        model.set_weights(weights)
        with tf.GradientTape() as tape:
            h = model(x, training=training)["final_avg_pool"]
            loss = tf.reduce_sum(h[:, ::3] ** 2)
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        norms = [tf.norm(g).numpy() for g in gradients]
        results.append([h.numpy(), np.array(norms), *model.get_weights()])
    for got, expected in zip(results[1], results[0], strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("block", range(-1, 5))
def test_freezing_cuts_where_the_reference_cuts(block):
    model = narrow(18)
    freeze_up_to_block(model, 4)
    freeze_up_to_block(model, block)
    trained = {v.path.split("_")[0].split("/")[0] for v in model.trainable_variables}
    expected = {f"group{k}" for k in range(max(block, 0) + 1, 5)}
    assert trained == (expected | {"stem"} if block == -1 else expected)
    before = {v.path: v.numpy() for v in model.non_trainable_variables}
    model(np.random.default_rng(0).random((3, 15, 15, 3), np.float32), training=True)
    moved = {
        v.path.split("_")[0].split("/")[0]
        for v in model.non_trainable_variables
        if not np.array_equal(v.numpy(), before[v.path])
    }
    assert moved == trained


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"depth": 20}, "depth"),
        ({"stem": "big"}, "stem"),
        ({"width_multiplier": 0}, "width_multiplier"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(ConfigError, match=named):
        build_resnet(**{"depth": 18, **arguments})
    with pytest.raises(ConfigError, match="fine_tune_after_block"):
        freeze_up_to_block(None, 5)


@pytest.mark.parametrize(
    ("depth", "sk_ratio", "se_ratio"), [(10, 0.0625, 0), (18, 0, 0.25), (50, 0, 0)]
)
def test_open_residual_branches_have_every_last_gamma_at_1(depth, sk_ratio, se_ratio):
    backbone = build_resnet(
        depth,
        width_multiplier=0.0625,
        sk_ratio=sk_ratio,
        se_ratio=se_ratio,
        image_size=32,
    )
    gammas = {v.path: v for v in backbone.variables if v.path.endswith("/gamma")}
    closed = [path for path, v in gammas.items() if not v.numpy().any()]
    last = 3 if depth == 50 else 2
    blocks = {path.split("_batch")[0] for path in closed}
    assert len(closed) == len(blocks) == {10: 4, 18: 8, 50: 16}[depth]
    assert all(f"batch_normalization_{last}/" in path for path in closed)
    images = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    before = backbone(images, training=False)["final_avg_pool"].numpy()
    open_residual_branches(backbone)
    assert all((v.numpy() == 1).all() for v in gammas.values())
    after = backbone(images, training=False)["final_avg_pool"].numpy()
    assert abs(after - before).max() > 0.1 * abs(before).max()
