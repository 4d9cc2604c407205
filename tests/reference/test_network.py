"""Every network of the reference code: from its variables to ours and back."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import saved_model
from simclr_tf2.errors import ConfigError
from simclr_tf2.models.resnet import GROUP_FILTERS, scaled_filters
from simclr_tf2.reference.names import reference_variables
from simclr_tf2.reference.network import model_config
from simclr_tf2.reference.structure import has_resnet_d, our_names
from tests.support import reference_layout, reference_vectors
from tests.support.reference_layout import Layout

# depth, width, sk_ratio of the published networks: SimCLRv1 and SimCLRv2
V1 = [(50, 1, 0), (50, 2, 0), (50, 4, 0)]
V2 = [
    *((d, w, sk) for d in (50, 101, 152) for w in (1, 2) for sk in (0, 0.0625)),
    (152, 3, 0.0625),
]
SMALL = [
    {"depth": 18, "width": 0.0625},
    {"depth": 18, "width": 0.0625, "sk": 0.0625, "cifar": True},
    {"depth": 18, "width": 0.0625, "sk": 0.0625, "se": 0.5},
    {"depth": 50, "width": 0.0625},
    {"depth": 50, "width": 0.0625, "sk": 0.0625, "se": 0.25},
    {"depth": 50, "width": 0.0625, "sk": 0.0625, "cifar": True},
    {"depth": 34, "width": 0.03125, "cifar": True},
]


def inferred(rows, **arguments):
    names = our_names(row.path for row in rows)
    assert None not in names.values()
    assert len(set(names.values())) == len(rows)
    shapes = {names[row.path]: row.shape for row in rows}
    resnet_d = has_resnet_d(names)
    return model_config(shapes, resnet_d=resnet_d, **arguments)


def random_values(rows):
    rng = np.random.default_rng(0)
    return {row.name: rng.random(row.shape, dtype=np.float32) for row in rows}


@pytest.mark.golden
def test_the_layout_is_the_references():
    compared = 0
    for key, entry in reference_vectors.variables().items():
        layout = Layout(
            entry["depth"],
            width=entry["width"],
            sk=entry["sk_ratio"],
            se=entry["se_ratio"],
            cifar=entry["cifar_stem"],
        ).heads(classes=10)
        assert len(layout.rows) == entry["n_vars"], key
        moving = [row for row in layout.rows if "/moving_" in row.path]
        size = sum(np.prod(row.shape) for row in layout.rows)
        assert size == entry["model_trainable"] + entry["model_non_trainable"]
        assert sum(np.prod(r.shape) for r in moving) == entry["model_non_trainable"]
        if entry["model_weights"]:
            expected = {v["name"]: tuple(v["shape"]) for v in entry["model_weights"]}
            assert {row.name: row.shape for row in layout.rows} == expected
            compared += len(expected)
    assert compared > 3000


@pytest.mark.golden
def test_the_layouts_paths_are_those_of_a_real_checkpoint(reference_lists):
    layout = Layout(18, cifar=True).heads(classes=10)
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    expected = {
        key.removesuffix(suffix): tuple(shape)
        for key, shape in reference_lists["full_width18"]
        if key.startswith("model/") and ".OPTIMIZER_SLOT" not in key
    }
    assert {f"model/{row.path}": row.shape for row in layout.rows} == expected


@pytest.mark.parametrize(
    ("depth", "width", "sk", "layers"),
    [(*network, 0) for network in V1] + [(*network, 3) for network in V2],
)
def test_published_networks_are_found_from_their_shapes(depth, width, sk, layers):
    layout = Layout(depth, width=width, sk=sk).heads(layers=layers, classes=1000)
    config = inferred(layout.rows)
    assert (config.resnet_depth, config.width_multiplier) == (depth, width)
    assert (config.sk_ratio, config.se_ratio, config.stem) == (sk, 0, "imagenet")
    assert config.proj_head_mode == ("nonlinear" if layers else "none")
    assert (config.num_proj_layers, config.proj_out_dim) == (3, 128)


def test_a_classifier_that_reads_z_is_found_and_others_as_asked():
    rows = Layout(18, width=0.5).heads(layers=2, out=64, classes=7, reads=64).rows
    assert inferred(rows).ft_proj_selector == 2
    rows = Layout(18, width=0.5).heads(layers=3, out=64, classes=7).rows
    assert inferred(rows).ft_proj_selector == 0
    assert inferred(rows, ft_proj_selector=1).ft_proj_selector == 1


@pytest.mark.parametrize("width", [0.125, 0.25, 0.3, 0.75, 1.5, 3])
@pytest.mark.parametrize("ratio", [0.03, 0.25, 0.3, 1])
def test_fractions_give_back_every_width(width, ratio):
    layout = Layout(50, width=width, sk=ratio, se=ratio)
    config = inferred(layout.rows)
    shapes = {row.path: row.shape for row in layout.rows}
    for group, filters in enumerate(GROUP_FILTERS):
        scaled = scaled_filters(filters, config.width_multiplier)
        path = f"resnet_model/block_groups/{group}/layers/0/conv_relu_dropblock_layers"
        assert shapes[f"{path}/0/conv2d/kernel"][-1] == scaled
        middle = max(int(scaled * config.sk_ratio), 32)
        assert shapes[f"{path}/3/conv2d_0/kernel"][-1] == middle
        squeezed = max(1, int(scaled * config.se_ratio))
        assert shapes[f"{path}/8/se_reduce/kernel"][-1] == squeezed


def test_widths_that_no_multiplier_gives_are_named():
    """Such as those of 0.7 cut off where this library rounds."""
    with pytest.raises(ConfigError, match="no width gives .* 44 for 64, 89 for 128"):
        inferred(Layout(18, width=0.7).rows)


@pytest.mark.parametrize(
    ("network", "form"),
    [
        *((network, "checkpoint") for network in SMALL),
        *((SMALL[2], form) for form in ("saved_model", "untracked")),
    ],
    ids=str,
)
def test_every_value_lands_in_its_variable(network, form, tmp_path):
    rows = Layout(**network).heads(layers=2, out=9, classes=5).rows
    values = random_values(rows)
    path = write(tmp_path, rows, values, form=form)
    reference = saved_model.read_reference(path)
    model = saved_model.build_reference_model(reference)
    named = reference_variables(model)
    assert {name for name, _ in named} == set(values)
    for name, variable in named:
        np.testing.assert_array_equal(variable.numpy(), values[name], err_msg=name)


def write(folder, rows, values, *, form):
    """As the reference writes it; published SavedModels list no variables."""
    model = reference_layout.objects(rows, values)
    if form == "checkpoint":
        step = tf.Variable(11, dtype=tf.int64)
        checkpoint = tf.train.Checkpoint(model=model, global_step=step)
        return checkpoint.write(str(folder / "ckpt-11"))
    module = tf.Module()
    module.model = model
    if form == "saved_model":
        module.trainable_variables_list = list(model.trainable_variables)
    tf.saved_model.save(module, str(folder / "saved_model"))
    return folder


@pytest.mark.golden
@pytest.mark.slow
def test_a_selective_kernel_checkpoint_gives_the_references_outputs(tmp_path):
    vectors = reference_vectors.load("d50_sk0.0625_img64")
    rows = Layout(50, sk=0.0625).heads(classes=10).rows
    shapes = {row.name: row.shape for row in rows}
    values = reference_vectors.weights(vectors, shapes)
    assert set(values) == set(shapes)
    path = write(tmp_path, rows, values, form="checkpoint")
    encoder = saved_model.load_encoder(path)
    h = encoder(reference_vectors.images(vectors), training=False).numpy()
    expected = vectors["infer_final_avg_pool"]
    gap = np.abs(h[: len(expected)] - expected).max() / np.abs(expected).max()
    assert gap <= 2 * float(vectors["sens_infer_final_avg_pool"]) + 1e-6
