"""Images of more than 8 bits, and arrays as people keep them, through every mode."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import workflows
from simclr_tf2.data import once, opening
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs import pixels
from tests import command_line
from tests.support.tiny_runs import QUICK, tiny_config

RNG = np.random.default_rng(0)
# 24 pictures of waves, in [0, 1]; those of odd number are turned.
WAVES = np.stack(
    [
        0.5 + 0.5 * np.sin(np.add.outer(RNG.uniform(0.2, 1) * np.arange(44), [0] * 44))
        for _ in range(24)
    ]
)
WAVES[1::2] = WAVES[1::2].transpose(0, 2, 1)
HALVES = {"train_split": "train[:50%]", "eval_split": "train[50%:]"}
OF_IMAGES = {"dataset": "imagenet2012", "probe_split": "", "train_split": "train"}


@pytest.fixture(autouse=True)
def say_again():
    once.warn.cache_clear()
    once.tell.cache_clear()


def write(folder, pictures, high=4095):
    """16-bit PNG files NAME/i.png of pictures in [0, 1], by turns of two classes."""
    for i, picture in enumerate(pictures):
        pixels = np.rint(picture[..., None] * high).astype(np.uint16)
        place = folder / ("left", "right")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:02}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    return str(folder)


def settings(folder, **changes):
    flat = {**QUICK, "train_batch_size": 8, "model_dir": str(folder), **OF_IMAGES}
    flat |= {"data_dir": str(folder.parent / "data"), "baselines": False, **changes}
    for name in ("protocols", "export_formats"):
        flat[name] = tuple(x for x in flat[name].split(",") if x)
    return tiny_config(**flat)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """(folder of 12-bit scans, run on them with views of 40 pixels)."""
    place = tmp_path_factory.mktemp("scans")
    images = write(place / "images", WAVES)
    config = settings(
        place / "run",
        image_dir=images,
        image_size=40,
        protocols="knn",
        export_formats="keras",
        **HALVES,
    )
    workflows.run(config)
    return images, place / "run", config


def embedded(run, folder, output, **changes):
    workflows.run(
        settings(run, mode="embed", input=str(folder), output=str(output), **changes)
    )
    with np.load(output) as file:
        return dict(zip(file["names"].tolist(), file["features"], strict=True))


def test_the_range_is_kept_with_the_run(scans):
    _, run, config = scans
    assert config.data.pixel_range == "auto"
    assert run_folder.read_config(run).data.pixel_range == "0,4095"
    seen = json.loads((run / "scan.json").read_text())["pixels"]
    assert seen["read_as"] == "0,4095" and seen["max"] <= 4095


def test_a_dark_folder_is_embedded_as_dark_as_it_is(scans, tmp_path):
    """Ten bits of twelve: alone they would be read as four times brighter."""
    _, run, _ = scans
    whole = write(tmp_path / "whole", [*WAVES[:2] * 0.2, *WAVES[2:4]])
    dark = write(tmp_path / "dark", WAVES[:2] * 0.2)
    of_whole = embedded(run, whole, tmp_path / "whole.npz")
    of_dark = embedded(run, dark, tmp_path / "dark.npz")
    brighter = embedded(run, dark, tmp_path / "b.npz", pixel_range="0,1023")
    for name, h in of_dark.items():
        scale = np.abs(h).max()
        np.testing.assert_allclose(h, of_whole[name], rtol=0, atol=1e-4 * scale)
        assert np.abs(h - brighter[name]).max() > 0.05 * scale


def test_a_run_that_goes_on_reads_brighter_images_as_before(scans, tmp_path):
    _, run, _ = scans
    for name in ("config.json", "checkpoint"):
        shutil.copy(run / name, tmp_path / name)
    bright = write(tmp_path / "bright", WAVES[:4], high=60000)
    config = pixels.recorded(settings(tmp_path, image_dir=bright))
    assert opening.open_split(config.data, "all").pixel_range == "0,4095"
    other = pixels.recorded(settings(tmp_path / "other", image_dir=bright))
    assert opening.open_split(other.data, "all").pixel_range == "full"


def test_a_finished_run_is_known_again_and_measured_as_it_was_trained(scans, caplog):
    images, run, config = scans
    again = workflows.run(config)
    assert again["finished"]
    more = workflows.run(
        settings(
            run,
            mode="eval",
            image_dir=images,
            protocols="weighted_knn",
            image_size=40,
            **HALVES,
        )
    )
    assert "SimCLR h/weighted_knn" in more["results"]
    assert "--pixel_range=full" not in caplog.text


def test_finetune_reads_pixels_as_the_checkpoint_did(scans, tmp_path):
    _, run, _ = scans
    labelled = write(tmp_path / "labelled", WAVES * 0.2)  # ten bits
    config = settings(
        tmp_path / "out",
        mode="finetune",
        checkpoint=str(run),
        image_dir=labelled,
        image_size=40,
        **HALVES,
    )
    workflows.run(config)
    found = run_folder.read_config(tmp_path / "out").data.pixel_range
    assert found == "0,4095"


def test_runs_without_a_range_read_the_full_one(scans, tmp_path):
    _, run, _ = scans
    flat = json.loads((run / "config.json").read_text())
    del flat["pixel_range"]
    (tmp_path / "config.json").write_text(json.dumps(flat))
    assert run_folder.read_config(tmp_path).data.pixel_range == "full"


def test_export_takes_the_size_of_the_run_and_gives_the_same_h(scans, tmp_path):
    _, run, _ = scans
    folder = tmp_path / "photos"
    folder.mkdir()
    photos = np.rint(np.repeat(WAVES[:4, ..., None], 3, -1) * 255).astype(np.uint8)
    for i, photo in enumerate(photos):
        (folder / f"{i}.png").write_bytes(tf.io.encode_png(photo).numpy())
    workflows.run(settings(run, mode="export", export_formats="keras_uint8"))
    h = keras.models.load_model(run / "encoder_uint8.keras")(photos).numpy()
    expected = embedded(run, folder, tmp_path / "h.npz")
    for i in range(4):
        scale = np.abs(h[i]).max()
        np.testing.assert_allclose(
            h[i], expected[f"{i}.png"], rtol=0, atol=1e-4 * scale
        )


def test_arrays_of_floats_with_names_train_and_embed(tmp_path, caplog):
    images = np.repeat(WAVES[..., None], 3, -1)
    names = np.array(["dog", "cat"])[np.arange(24) % 2]
    first = np.moveaxis(images, 3, 1).astype(np.float32)
    first[5, 0, 0] = np.nan
    path = tmp_path / "set.npz"
    np.savez(path, X_train=first, Y_train=names, X_val=first[:6], Y_val=names[:6])
    config = settings(
        tmp_path / "run",
        dataset=str(path),
        protocols="knn",
        eval_split="validation",
        export_formats="keras",
    )
    results = workflows.run(config)
    assert json.loads((tmp_path / "run" / "classes.json").read_text()) == ["cat", "dog"]
    record = results["results"]["SimCLR h/knn"]
    assert record["train_examples"] == 24 and record["test_examples"] == 6
    assert "(image 5)" in caplog.text
    every = embedded(tmp_path / "run", path, tmp_path / "h.npz")
    assert len(every) == 30 and f"{path}/29" in every
    part = embedded(tmp_path / "run", f"{path}:val", tmp_path / "v.npz")
    np.testing.assert_allclose(
        part[f"{path}:val/1"], every[f"{path}/25"], rtol=0, atol=1e-5
    )
    with np.load(tmp_path / "v.npz") as file:
        np.testing.assert_array_equal(file["labels"], [1, 0, 1, 0, 1, 0])


def test_scan_shows_values_and_the_flag(tmp_path):
    """From the command line: the range that was seen, and what reads it."""
    images = write(tmp_path / "images", WAVES[:6])
    place = f"--model_dir={tmp_path}", f"--data_dir={tmp_path / 'data'}"
    done = command_line.run("--mode=scan", f"--image_dir={images}", *place)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "in 6 images of uint16" in done.stdout
    assert "suggested: " in done.stdout and "--pixel_range=0,4095" in done.stdout
    assert json.loads((tmp_path / "scan.json").read_text())["pixels"]["images"] == 6
    full = command_line.run(
        "--mode=scan", f"--image_dir={images}", "--pixel_range=full", *place
    )
    assert "nearly flat; --pixel_range=0,4095" in full.stderr


def test_scan_of_arrays_shows_the_range(tmp_path, capsys, caplog):
    path = tmp_path / "set.npz"
    stored = np.rint(WAVES[..., None] * 3500 + 200).astype(np.int16)
    np.savez(path, images=stored, labels=np.array(["b", "a"])[np.arange(24) % 2])
    workflows.run(
        settings(
            tmp_path / "out",
            mode="scan",
            dataset=str(path),
            image_channels=1,
        )
    )
    shown = capsys.readouterr().out
    assert "pixel values: 200 to 3700 (int16)" in shown
    assert "pixel range: 0,4095" in shown and "{'a': 11, 'b': 10}" in shown
    assert "values 200 to 3700 in 24 images of type int16" in caplog.text
