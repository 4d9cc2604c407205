"""Checkpoints of the reference code: a real run of it, and what cannot be one."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from simclr_tf2 import config as config_lib
from simclr_tf2 import models, saved_model, workflows
from simclr_tf2.config import ModelConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.reference.names import reference_variables
from simclr_tf2.reference.structure import head_free
from simclr_tf2.run_paths import RunFolder
from simclr_tf2.runs import remote, remote_files
from simclr_tf2.training.initialization import restore
from tests import command_line
from tests.support import reference_layout

FORMS = ["ckpt-8", "saved_model/8"]
VARIABLES = "/saved_model/8/variables/variables"
# The SavedModel was run on TensorFlow 2.15. Inference agrees to rounding; training
# divides by batch statistics, and amplifies it (measured: 3e-7 and 1e-5).
TOLERANCE = {False: 2e-6, True: 1e-4}
NARROW = ModelConfig(resnet_depth=18, width_multiplier=0.25, stem="cifar")


def narrow(**arguments):
    config = ModelConfig(
        **{"resnet_depth": 18, "width_multiplier": 0.25, "stem": "cifar", **arguments}
    )
    return models.build_simclr(config, image_size=32, num_classes=10)


def configured(**settings):
    flat = config_lib.to_flat(config_lib.Config())
    texts = {k: str(v) if isinstance(v, Path) else v for k, v in settings.items()}
    return config_lib.from_flat({**flat, **texts})


def pooled(value, how):
    if not how:
        return value
    return value.mean((1, 2) if how == "space" else 3, dtype=np.float64)


@pytest.mark.golden
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_every_output_is_the_references(
    form, training, reference_run, reference_outputs
):
    reference = saved_model.read_reference(reference_run / form)
    model = saved_model.build_reference_model(reference)
    found = dict(model.backbone(reference_outputs["input"], training=training))
    hiddens = model.hiddens_of(found["final_avg_pool"], training=training)
    found |= {"proj_head_input": hiddens[0], "proj_head_output": hiddens[-1]}
    found["logits_sup"] = model.supervised_head(hiddens[0])
    phase, compared = "train_" if training else "infer_", 0
    for key, expected in reference_outputs.items():
        if not key.startswith(phase):
            continue
        name, _, how = key.removeprefix(phase).partition(":")
        value = pooled(found[name].numpy(), how)
        assert value.shape == expected.shape
        gap = np.abs(value - expected).max() / np.abs(expected).max()
        assert gap < TOLERANCE[training], (key, gap)
        compared += 1
    assert compared == 16


@pytest.mark.golden
@pytest.mark.parametrize(
    "form",
    [
        "",
        "ckpt-8",
        "ckpt-8.index",
        "saved_model",
        "saved_model/8",
        "saved_model/8/variables",
        "saved_model/8/variables/variables",
    ],
)
def test_load_encoder_takes_every_form(form, reference_run, reference_outputs):
    encoder = saved_model.load_encoder(reference_run / form)
    assert isinstance(encoder, keras.Model)
    h = encoder(reference_outputs["input"])
    expected = reference_outputs["infer_final_avg_pool"]
    np.testing.assert_allclose(h, expected, rtol=0, atol=2e-6 * expected.max())
    assert encoder(np.zeros((1, 20, 24, 3), np.float32)).shape == (1, 128)


@pytest.mark.golden
def test_the_network_is_found_and_nothing_is_lost(reference_run, reference_lists):
    reference = saved_model.read_reference(reference_run / "ckpt-8")
    assert reference.config == NARROW
    assert (reference.num_classes, reference.channels, reference.step) == (10, 3, 8)
    assert len(reference.keys) == 121
    slots = [key for key in reference.others if ".OPTIMIZER_SLOT" in key]
    assert len(slots) == len(reference_lists["trainable_variables"]) == 73
    assert len(reference.others) == 75  # and global_step, save_counter
    packed = saved_model.read_reference(reference_run / "saved_model")
    assert packed.keys.keys() == reference.keys.keys()
    assert (packed.config, packed.step, packed.others) == (NARROW, 8, ())


@pytest.mark.golden
@pytest.mark.parametrize("form", FORMS)
def test_the_names_kept_in_the_files_agree(form, reference_run, reference_lists):
    """Structure decides what goes where; the Keras names in the file confirm it."""
    reference = saved_model.read_reference(reference_run / form)
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    reader = tf.train.load_checkpoint(reference.file.prefix)
    graph.ParseFromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
    kept = {a.checkpoint_key: a.full_name for n in graph.nodes for a in n.attributes}
    named = reference_variables(narrow())
    for name, variable in named:
        assert kept[reference.keys[head_free(variable.path)]] + ":0" == name
    trainable = [name for name, _ in named if "/moving_" not in name]
    assert trainable == reference_lists["trainable_variables"]


@pytest.mark.golden
def test_backbone_only_names_what_it_leaves(reference_run):
    unused = saved_model.load_reference_weights(narrow().backbone, reference_run)
    heads = {key.split("/")[1] for key in unused if "SLOT" not in key and "/" in key}
    assert {"_projection_head", "supervised_head"} <= heads
    assert len(unused) == 75 + 16


@pytest.mark.golden
def test_pretraining_starts_from_a_reference_checkpoint(
    reference_run, reference_outputs, tmp_path
):
    model = narrow()
    config = configured(checkpoint=reference_run)
    checkpoint = tf.train.Checkpoint(model=model)
    assert (
        restore(config.training.checkpoint, checkpoint, model, RunFolder(tmp_path)) == 0
    )
    z = model(reference_outputs["input"], training=False)["projection"]
    expected = reference_outputs["infer_proj_head_output"]
    np.testing.assert_allclose(z, expected, rtol=0, atol=2e-6 * abs(expected).max())


@pytest.mark.golden
def test_another_number_of_classes_is_a_named_difference(reference_run):
    model = models.build_simclr(NARROW, image_size=32, num_classes=7)
    before = model.get_weights()
    with pytest.raises(ConfigError) as caught:
        saved_model.load_reference_weights(model, reference_run)
    message = str(caught.value)
    assert "2 difference(s)" in message and "\n" not in message
    assert "head_supervised/kernel [128, 7]" in message and "[128, 10]" in message
    for got, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, expected)
    unused = saved_model.load_reference_weights(model, reference_run, with_head=False)
    assert sum(key.startswith("model/supervised_head") for key in unused) == 2 + 2
    np.testing.assert_array_equal(model.get_weights()[-1], before[-1])


@pytest.mark.golden
@pytest.mark.parametrize(
    ("arguments", "difference"),
    [
        ({"resnet_depth": 34}, "group1_block3_conv_1/kernel [3, 3, 16, 16]"),
        ({"resnet_depth": 10}, "block_groups/0/layers/1/conv2d_bn_layers/0/conv2d"),
        ({"width_multiplier": 0.5}, "stem_conv_1/kernel [3, 3, 3, 32]"),
        ({"stem": "imagenet"}, "stem_conv_1/kernel [7, 7, 3, 16]"),
        ({"se_ratio": 0.25}, "group1_block1_se_reduce/bias [4]"),
        ({"num_proj_layers": 2}, "_projection_head/linear_layers/2/dense/kernel"),
        ({"num_proj_layers": 4}, "projection_head_3_dense/kernel [128, 128]"),
        ({"proj_out_dim": 64}, "projection_head_2_dense/kernel [128, 64]"),
        ({"resnet_d": True}, "1 difference(s): shortcuts pool (ResNet-D, --resnet_d)"),
    ],
    ids=str,
)
def test_another_network_is_refused_with_the_difference(
    arguments, difference, reference_run
):
    model = narrow(**arguments)
    before = model.get_weights()
    with pytest.raises(ConfigError, match="ResNet-18, width 0.25") as caught:
        saved_model.load_reference_weights(model, reference_run)
    assert difference in str(caught.value)
    for got, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.golden
def test_a_model_in_replicas_gets_the_weights_everywhere(
    reference_run, reference_outputs, two_replicas
):
    with two_replicas.scope():
        model = narrow()
    saved_model.load_reference_weights(model, reference_run, with_head=False)
    for device in ("/cpu:0", "/cpu:1"):
        with tf.device(device):
            h = model.backbone(reference_outputs["input"])["final_avg_pool"]
        expected = reference_outputs["infer_final_avg_pool"]
        np.testing.assert_allclose(h, expected, rtol=0, atol=2e-6 * expected.max())


@pytest.mark.golden
def test_export_makes_what_a_new_process_loads(
    reference_run, reference_outputs, tmp_path
):
    source = reference_run / "ckpt-8"
    done = command_line.run(
        "--mode=export", f"--checkpoint={source}", f"--model_dir={tmp_path / '0'}"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "ResNet-18, width 0.25, cifar stem" in done.stderr
    assert "not used: global_step, 73 optimizer slots, save_counter" in done.stderr
    packed = configured(
        mode="export",
        checkpoint=reference_run / FORMS[1],
        model_dir=tmp_path / "1",
        export_formats=("keras",),
    )
    assert workflows.run(packed)["step"] == 8
    np.savez(tmp_path / "outputs.npz", **reference_outputs)
    gaps = command_line.python(
        "import sys, keras, numpy as np, tensorflow as tf\n"
        "w = np.load(sys.argv[1] + '/outputs.npz')\n"
        "def gap(name, value):\n"
        "    print(np.abs(value - w[name]).max() / np.abs(w[name]).max())\n"
        "for form in ('/0', '/1'):\n"
        "    encoder = keras.models.load_model(sys.argv[1] + form + '/encoder.keras')\n"
        "    gap('infer_final_avg_pool', encoder(w['input']))\n"
        "found = tf.saved_model.load(sys.argv[1] + '/0/saved_model/8')(w['input'])\n"
        "for name in ('final_avg_pool', 'proj_head_output', 'logits_sup'):\n"
        "    gap('infer_' + name, found[name])\n"
        "assert 'simclr_tf2' not in sys.modules\n",
        tmp_path,
    ).split()
    assert len(gaps) == 5 and max(map(float, gaps)) < 2e-6


# --- what is not a checkpoint of the reference code, or no longer a whole one ---


def one_line(call, match):
    with pytest.raises(ConfigError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.fixture
def copy(reference_run, tmp_path):
    return shutil.copytree(reference_run, tmp_path / "copy")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
@pytest.mark.parametrize("part", ["data", "index"])
def test_damage_is_one_line(form, damage, part, copy):
    pattern = f"{form}*.{part}*" if form == FORMS[0] else f"{form}/variables/*.{part}*"
    (file,) = copy.glob(pattern)
    content = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    elif damage == "truncate":
        file.write_bytes(content[: len(content) // 2])
    else:
        spread = range(100, len(content), len(content) // 50)
        for place in spread:
            content[place] ^= 0xFF
        file.write_bytes(content)
    expected = "cannot be read|no encoder at"
    one_line(lambda: saved_model.load_encoder(copy / form), expected)


def test_other_programs_checkpoints_are_refused(tmp_path):
    ours = tf.train.Checkpoint(model=narrow()).write(str(tmp_path / "ckpt-1"))
    assert not saved_model.is_reference(ours)
    expected = "does not come from the reference code"
    one_line(lambda: saved_model.load_encoder(ours), expected)
    values = tf.train.Checkpoint(a=tf.Variable(1.0)).write(str(tmp_path / "x"))
    one_line(lambda: saved_model.load_encoder(values), expected)


def test_a_tensorflow_1_checkpoint_is_told_so(tmp_path):
    prefix = str(tmp_path / "model.ckpt-1")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("base_model/conv2d/kernel", shape=(3,))
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, prefix)
    one_line(lambda: saved_model.load_encoder(prefix), "no object graph")
    one_line(lambda: saved_model.is_reference(prefix), "no object graph")


@pytest.fixture(scope="module")
def tiny_rows():
    return reference_layout.Layout(18, width=0.0625, cifar=True).heads(layers=0).rows


def test_missing_strange_and_misshaped_values_are_named(tiny_rows, tmp_path):
    def load(rows):
        values = {row.name: np.zeros(row.shape, np.float32) for row in rows}
        model = reference_layout.objects(rows, values)
        path = tf.train.Checkpoint(model=model).write(str(tmp_path / "ckpt"))
        return lambda: saved_model.load_encoder(path)

    path = "resnet_model/block_groups/2/layers/1/conv2d_bn_layers"
    keep = [row for row in tiny_rows if row.path != f"{path}/3/bn/beta"]
    one_line(load(keep), "group3_block2_batch_normalization_2/beta .* is not there")
    extra = reference_layout.Row(f"{path}/4/conv2d/kernel", "new:0", (1, 1, 2, 2))
    one_line(load([*tiny_rows, extra]), f"{path}/4/conv2d/kernel.* has no variable")
    odd = reference_layout.Row(f"{path}/4/dense/kernel", "new:0", (2, 2))
    one_line(load([*tiny_rows, odd]), f"differs from the reference.*{path}/4/dense")
    hidden = reference_layout.Row("resnet_model/ema/kernel", "new:0", (2, 2))
    one_line(load([*tiny_rows, hidden]), "differs from the reference.*ema/kernel")
    wide = [
        row._replace(shape=(*row.shape[:-1], 99)) if row.path.endswith(p) else row
        for row in tiny_rows
        for p in ["1/layers/1/conv2d_bn_layers/2/conv2d/kernel"]
    ]
    one_line(load(wide), r"group2_block2_conv_2/kernel \[3, 3, 8, 8\] .* 99\] there")
    short = [row for row in tiny_rows if "block_groups/3/layers/1" not in row.path]
    one_line(load(short), r"basic blocks per group, \(2, 2, 2, 1\), make none")
    gone = [row for row in tiny_rows if "block_groups/3" not in row.path]
    one_line(load(gone), "no variable for our group4_block1_conv_1/kernel")


def test_a_run_that_is_not_exported_yet_is_told_so(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    one_line(lambda: saved_model.load_encoder(tmp_path), "--mode=export --model_dir=")


def test_remote_folders_are_not_read_without_a_copy():
    path = "gs://simclr-checkpoints-tf2/simclrv2/pretrained/r50_1x_sk0/saved_model"
    one_line(lambda: saved_model.load_encoder(path), "copy the folder here first")


def test_export_of_nothing_is_a_usage_error(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    own = configured(mode="export", checkpoint=tmp_path, model_dir=tmp_path)
    one_line(lambda: workflows.run(own), "is a run of this program")
    out = tmp_path / "out"
    code, stderr = command_line.main(
        "--mode=export", "--checkpoint=none", f"--model_dir={out}"
    )
    assert code == 2 and "no checkpoint" in stderr
    assert "Traceback" not in stderr and not out.exists()


@pytest.mark.parametrize("end", ["", *(f"/{form}" for form in FORMS), VARIABLES])
def test_a_run_in_a_bucket_is_read_from_a_copy(reference_run, tmp_path, end):
    for path in reference_run.rglob("*.*"):
        name = path.relative_to(reference_run).as_posix()
        remote_files.upload(path, f"ram://published/run/{name}")
    asked = config_lib.from_flat(
        {
            "mode": "export",
            "model_dir": str(tmp_path / "out"),
            "checkpoint": f"ram://published/run{end}",
            "spool_dir": str(tmp_path / "spool"),
        }
    )
    with remote.folders(asked):
        found = saved_model.read_reference(asked.training.checkpoint)
    local = saved_model.read_reference(f"{reference_run}{end}")
    assert (found.config, found.step) == (local.config, local.step)
    with pytest.raises(ConfigError, match="is not on this machine"):
        saved_model.load_encoder(asked.training.checkpoint)
