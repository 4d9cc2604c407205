"""Endpoints, parts that continue, and the projector of ``--mode=embed``."""

import shutil

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

import flags
from simclr_tf2 import workflows
from simclr_tf2.config import EMBED_ENDPOINTS
from simclr_tf2.data import image_sets
from simclr_tf2.errors import ConfigError
from simclr_tf2.exports import embedding_parts
from tests import command_line
from tests.support.program_flags import parsed

COUNT = 23


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 23 random pictures of 32 pixels."""
    folder = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3), np.uint8)
    for i, image in enumerate(pixels):
        (folder / f"{i:02}.png").write_bytes(tf.io.encode_png(image).numpy())
    return folder


@pytest.fixture(scope="module")
def endpoints(finished, photos):
    """What the SavedModel of the run gives for the pictures; maps as means."""
    images = [np.asarray(Image.open(path)) for path in sorted(photos.iterdir())]
    module = tf.saved_model.load(str(finished[0] / "saved_model" / "12"))
    found = module(tf.constant(np.stack(images) / np.float32(255)), trainable=False)
    return {
        name: value.numpy().mean((1, 2)) if value.ndim == 4 else value.numpy()
        for name, value in found.items()
    }


def run(*arguments):
    image_sets._open_image_set.cache_clear()
    values = parsed("--mode=embed", "--eval_batch_size=8", *arguments)
    return workflows.run(flags.config_from_flags(values))


def embedded(output, *arguments):
    run(f"--output={output}", *arguments)
    with np.load(output) as file:
        return file["features"]


@pytest.mark.parametrize("name", EMBED_ENDPOINTS)
def test_endpoints_are_those_of_the_saved_model(
    finished, photos, endpoints, tmp_path, name
):
    found = embedded(
        tmp_path / "x.npz",
        f"--model_dir={finished[0]}",
        f"--input={photos}",
        f"--embed_endpoint={name}",
    )
    np.testing.assert_allclose(found, endpoints[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["final_avg_pool", "initial_conv", "block_group3"])
def test_encoder_keras_alone_has_h_and_the_maps(
    finished, photos, endpoints, tmp_path, name
):
    shutil.copy(finished[0] / "encoder.keras", tmp_path / "alone.keras")
    found = embedded(
        tmp_path / "x.npz",
        f"--checkpoint={tmp_path / 'alone.keras'}",
        f"--input={photos}",
        f"--embed_endpoint={name}",
        "--image_size=32",
    )
    np.testing.assert_allclose(found, endpoints[name], rtol=1e-4, atol=1e-5)


def test_an_encoder_with_several_outputs_has_those(photos, tmp_path):
    images = keras.Input((32, 32, 3))
    maps = keras.layers.Conv2D(2, 3)(images)
    h = keras.layers.GlobalAveragePooling2D()(maps)
    outputs = {"final_avg_pool": h, "block_group4": maps}
    keras.Model(images, outputs).save(tmp_path / "several.keras")
    arguments = [f"--checkpoint={tmp_path / 'several.keras'}", f"--input={photos}"]
    both = [
        embedded(tmp_path / f"{name}.npz", *arguments, f"--embed_endpoint={name}")
        for name in outputs
    ]
    np.testing.assert_allclose(*both, rtol=1e-5)


def test_what_cannot_be_embedded_is_one_line(finished, photos, tmp_path):
    shutil.copy(finished[0] / "encoder.keras", tmp_path / "alone.keras")
    alone = f"--checkpoint={tmp_path / 'alone.keras'}"
    (tmp_path / "broken.keras").write_bytes(b"no model")
    to, of = f"--output={tmp_path / 'h.npz'}", f"--input={photos}"
    parts = f"--output={tmp_path / 'h.parquet'}"
    for arguments, why in (
        ([alone, of, to, "--embed_endpoint=proj_head_output"], "has no endpoint"),
        ([f"--checkpoint={tmp_path / 'broken.keras'}", of, to], "cannot be loaded"),
        ([f"--checkpoint={tmp_path / 'none.keras'}", of, to], "no encoder at"),
        ([alone, f"--model_dir={finished[0]}", of, to], "pass one"),
        ([of, to], "--model_dir.*or --checkpoint"),
        ([alone, of, to, "--rows_per_file=5"], "ends in .parquet"),
        ([alone, f"--input={photos},{tmp_path}/x", parts], "no folder .*/x"),
        ([alone, f"--input={tmp_path}/a.zip", parts], "unpack the archive"),
    ):
        with pytest.raises(ConfigError, match=why) as error:
            run(*arguments)
        assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("h*"))


def test_parts_continue_after_the_last_whole_file(
    finished, photos, endpoints, tmp_path, monkeypatch
):
    arguments = [f"--model_dir={finished[0]}", f"--input={photos}"]
    arguments += [f"--output={tmp_path / 'h.parquet'}", "--rows_per_file=5"]
    write, written = embedding_parts.write_embeddings, []

    def interrupted(path, **rows):
        if len(written) == 3:
            raise KeyboardInterrupt
        write(path, **rows)
        written.append(path.name)

    monkeypatch.setattr(embedding_parts, "write_embeddings", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(*arguments)
    assert written == [f"h-0000{i}.parquet" for i in range(3)]
    assert sorted(p.name for p in tmp_path.iterdir()) == written
    times = [(tmp_path / name).stat().st_mtime_ns for name in written]
    monkeypatch.undo()
    done = command_line.run("--mode=embed", "--eval_batch_size=8", *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "3 of 5 files are there already" in done.stderr
    assert times == [(tmp_path / name).stat().st_mtime_ns for name in written]
    tables = [pd.read_parquet(tmp_path / f"h-0000{i}.parquet") for i in range(5)]
    assert [len(table) for table in tables] == [5, 5, 5, 5, 3]
    whole = pd.concat(tables)
    assert whole["name"].tolist() == [f"{i:02}.png" for i in range(COUNT)]
    np.testing.assert_allclose(
        np.stack(whole["embedding"]), endpoints["final_avg_pool"], rtol=1e-4, atol=1e-5
    )
    assert run(*arguments) == {"images": COUNT, "dim": 64}  # nothing is left to do
    with pytest.raises(ConfigError, match="h-00000.parquet is there and holds other"):
        run(*arguments, "--embed_endpoint=proj_head_output")


def test_parts_of_a_named_split_have_labels(finished, data_dir, tmp_path):
    arguments = [f"--model_dir={finished[0]}", f"--data_dir={data_dir}"]
    arguments += ["--input=simclr_shapes/tiny:test"]
    whole = tmp_path / "whole.parquet"
    count = run(*arguments, f"--output={whole}")["images"]
    run(
        *arguments, f"--output={tmp_path / 'h.parquet'}", f"--rows_per_file={count - 7}"
    )
    found = pd.concat(pd.read_parquet(p) for p in sorted(tmp_path.glob("h-*")))
    whole = pd.read_parquet(whole)
    assert found["name"].tolist() == whole["name"].tolist()
    assert found["label"].tolist() == whole["label"].tolist()
    np.testing.assert_allclose(
        np.stack(found["embedding"]), np.stack(whole["embedding"]), rtol=1e-4, atol=1e-5
    )


def test_a_folder_is_what_the_projector_of_tensorboard_reads(
    finished, photos, endpoints, tmp_path
):
    from google.protobuf import text_format
    from tensorboard.plugins.projector import projector_config_pb2

    run(f"--model_dir={finished[0]}", f"--input={photos}", f"--output={tmp_path}/seen/")
    folder = tmp_path / "seen"
    text = (folder / "projector_config.pbtxt").read_text()
    config = text_format.Parse(text, projector_config_pb2.ProjectorConfig())
    (embedding,) = config.embeddings
    assert embedding.tensor_name == "h"
    vectors = np.loadtxt(folder / embedding.tensor_path, delimiter="\t")
    np.testing.assert_allclose(
        vectors, endpoints["final_avg_pool"], rtol=1e-4, atol=1e-5
    )
    table = pd.read_csv(folder / embedding.metadata_path, sep="\t")
    assert table["image"].tolist() == [f"{i:02}.png" for i in range(COUNT)]
    side = embedding.sprite.single_image_dim[0]
    sprite = np.asarray(Image.open(folder / embedding.sprite.image_path))
    first = np.asarray(Image.open(photos / "00.png"))
    assert side == 32 and sprite.shape == (5 * 32, 5 * 32, 3)
    assert abs(sprite[:32, :32].astype(int) - first).max() <= 1


def test_z_is_named_as_such(finished, photos, tmp_path, capsys):
    run(
        f"--model_dir={finished[0]}",
        f"--input={photos}",
        f"--output={tmp_path / 'z.csv'}",
        "--embed_endpoint=proj_head_output",
    )
    assert f"z of {COUNT} images, 16 numbers each" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "z.csv").shape == (COUNT, 17)
