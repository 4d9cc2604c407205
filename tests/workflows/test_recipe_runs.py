"""``--recipe`` through the command line, on a folder of a few small images."""

import json
import math
import os
import signal

import numpy as np
import pytest
import tensorflow as tf

import flags
from simclr_tf2 import workflows
from simclr_tf2.data import shapes_drawing
from simclr_tf2.errors import ConfigError, Stopped
from simclr_tf2.runs import logs
from tests.support.program_flags import parsed

BRIEF = ["--protocols=", "--export_formats=", "--noreport", "--strategy=one_device"]
CHOSEN = {
    "recipe": "auto",
    "resnet_depth": 10,
    "stem": "stride2",
    "resnet_d": "true",
    "zero_init_residual": False,
    "image_size": 32,
    "train_batch_size": 16,
    "num_views": 4,
    "optimizer": "muon",
    "learning_rate": 0.02,
}


def draw(folder, count):
    folder.mkdir()
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 255, [34, 33, 3], np.uint8)
        (folder / f"{i}.png").write_bytes(tf.io.encode_png(pixels).numpy())


def run(place, name, *arguments):
    """Train the run ``name`` and return its config.json."""
    where = [f"--model_dir={place / name}", f"--data_dir={place / 'data'}"]
    values = parsed("--mode=pretrain", *BRIEF, *where, *arguments)
    workflows.run(flags.config_from_flags(values))
    return json.loads((place / name / "config.json").read_text())


@pytest.mark.slow
def test_a_folder_alone_is_trained_as_auto_says_and_flags_txt_repeats_it(tmp_path):
    draw(tmp_path / "photos", 30)
    own = [f"--image_dir={tmp_path / 'photos'}", "--train_steps=2"]
    first = run(tmp_path, "first", *own)
    assert {name: first[name] for name in CHOSEN} == CHOSEN
    suggested = json.loads((tmp_path / "first" / "scan.json").read_text())["suggested"]
    assert suggested["--learning_rate"] == "0.02"
    assert suggested["--nozero_init_residual"] == ""
    draw(tmp_path / "photos" / "more", 300)  # auto would take a batch of 32 now
    done = (tmp_path / "first" / "metrics.jsonl").read_bytes()
    assert run(tmp_path, "first", *own) == first  # is found finished
    assert (tmp_path / "first" / "metrics.jsonl").read_bytes() == done
    file = tmp_path / "flags.txt"
    lines = (tmp_path / "first" / "flags.txt").read_text().splitlines()
    file.write_text("\n".join(x for x in lines if "--model_dir" not in x))
    again = run(tmp_path, "again", f"--flagfile={file}")
    assert {k: v for k, v in again.items() if k != "model_dir"} == {
        k: v for k, v in first.items() if k != "model_dir"
    }


@pytest.mark.parametrize("recipe", ["auto", "reference"])
def test_one_image_is_refused_before_anything_is_written(tmp_path, recipe):
    draw(tmp_path / "photos", 1)
    own = f"--image_dir={tmp_path / 'photos'}"
    with pytest.raises(ConfigError, match="--train_batch_size=2") as caught:
        run(tmp_path, "run", own, f"--recipe={recipe}")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_a_recipe_by_name_trains_own_images(tmp_path):
    draw(tmp_path / "photos", 20)
    own = [f"--image_dir={tmp_path / 'photos'}", "--train_steps=1"]
    small = ["--train_batch_size=8", "--mixed_precision=off"]
    found = run(tmp_path, "run", "--recipe=quickstart", *own, *small)
    assert (found["recipe"], found["optimizer"], found["num_views"]) == (
        "quickstart",
        "muon",
        4,
    )
    assert found["train_split"] == "train" and found["learning_rate"] == 0.02


@pytest.mark.slow
def test_the_loss_is_below_chance_within_the_first_tenth(tmp_path, monkeypatch):
    """A folder of 400 drawn images; knowing nothing costs ln(2 x 32 - 1)."""
    (tmp_path / "photos").mkdir()
    drawn = shapes_drawing.draw(range(400), split="unlabeled", image_size=32)
    for i, image in enumerate(drawn.images):
        file = tmp_path / "photos" / f"{i}.png"
        file.write_bytes(tf.io.encode_png(image).numpy())
    losses = {}
    write = logs.MetricsLog.write

    def until_a_tenth(log, step, scalars):
        write(log, step, scalars)
        if "loss" in scalars:
            losses[step] = float(scalars["loss"])
        if step >= 200:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(logs.MetricsLog, "write", until_a_tenth)
    with pytest.raises(Stopped):
        own = f"--image_dir={tmp_path / 'photos'}"
        run(tmp_path, "run", own, "--valid_size=0", "--log_steps=50")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    total = config["train_epochs"] * (400 // config["train_batch_size"])
    assert total > 2_000 and max(losses) <= total / 10
    chance = math.log(2 * config["train_batch_size"] - 1)
    assert losses[max(losses)] < chance - 0.2
