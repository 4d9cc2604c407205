"""A user's own images through the command line: folders, manifests, records, arrays."""

import dataclasses
import json
import re
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import config as config_lib
from simclr_tf2 import workflows
from simclr_tf2.evaluation.inputs import open_splits
from simclr_tf2.report import run_report
from tests import command_line
from tests.command_line import ROOT

SMALL = (
    "--mode=pretrain --image_size=16 --resnet_depth=10 --width_multiplier=0.125 "
    "--stem=stride2 --num_proj_layers=2 --proj_out_dim=16 --train_batch_size=8 "
    "--train_steps=3 --optimizer=adamw --learning_rate=0.002 "
    "--learning_rate_scaling=none --warmup_epochs=0 --nouse_blur --log_steps=1 "
    "--checkpoint_steps=3 --monitor_epochs=0 --nobaselines"
).split()


def picture(path, seed, *, size=(20, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, [*size, 3], np.uint8)
    path.write_bytes(tf.io.encode_png(pixels).numpy())


def losses(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").open())
    return [line["loss"] for line in lines if "loss" in line]


@pytest.fixture
def place(tmp_path):
    """Arguments that keep everything in one temporary folder."""
    return [f"--data_dir={tmp_path / 'data'}", f"--model_dir={tmp_path / 'run'}"]


def test_a_folder_of_unlabelled_photos_just_works(tmp_path, place):
    for i in range(12):
        picture(tmp_path / "photos" / f"{i % 3}" / "x" / f"{i}.png", i)
    (tmp_path / "photos" / "page.jpg").write_text("<html>moved</html>")
    done = command_line.run(
        *SMALL,
        f"--image_dir={tmp_path / 'photos'}",
        "--max_bad_fraction=0.2",
        *place,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "left out: 'page.jpg'" in done.stderr and "no labels" in done.stderr
    run = tmp_path / "run"
    assert len(losses(run)) == 3 and (run / "encoder.keras").exists()
    scan = json.loads((run / "scan.json").read_text())
    assert scan["images"] == 12 and scan["bad"][0]["path"] == "page.jpg"
    report = (run / "report.html").read_text()
    # Photos that are trained on are no test images, nor neighbours of themselves.
    assert "Nearest neighbours of training images" in report
    assert "test images" not in report and "most similar of 11 others" in report
    assert f"No accuracy was measured: {tmp_path / 'photos'} has no labels." in report
    # The data set that is not read is not listed as a setting.
    assert "imagenet2012" not in report


@pytest.mark.parametrize(
    ("folders", "protocols", "reason"),
    [
        (["."], ("logreg",), "photos has no labels."),
        (["cat"], ("logreg",), "photos has one class only: cat."),
        (["cat", "dog"], (), "--protocols is empty."),
        (["cat", "dog"], ("label_free",), "--protocols=label_free use no labels."),
    ],
)
def test_the_report_gives_the_one_reason_for_no_accuracy(
    tmp_path, folders, protocols, reason
):
    for i in range(12):
        picture(tmp_path / "photos" / folders[i % len(folders)] / f"{i}.png", i)
    config = config_lib.Config(
        data=config_lib.DataConfig(
            image_dir=str(tmp_path / "photos"), data_dir=str(tmp_path / "data")
        ),
        evaluation=config_lib.EvaluationConfig(protocols=protocols),
    )
    splits = open_splits(config)
    text = run_report.why_no_accuracy(config, splits)
    assert text.startswith("No accuracy was measured: ") and text.endswith(reason)


def test_a_dataset_beside_a_folder_is_said_not_to_be_read(tmp_path, caplog):
    for i in range(4):
        picture(tmp_path / "photos" / f"{i}.png", i)
    data = config_lib.DataConfig(image_dir=str(tmp_path / "photos"), dataset="mnist")
    config = config_lib.Config(mode="scan", model_dir=str(tmp_path), data=data)
    workflows.run(config)
    assert "--dataset=mnist is not read: the images are those of" in caplog.text
    caplog.clear()
    default = dataclasses.replace(data, dataset="imagenet2012")
    workflows.run(dataclasses.replace(config, data=default))
    assert "is not read" not in caplog.text


def test_class_folders_are_scored_on_a_held_out_part_and_reported(tmp_path, place):
    for name in ("cat", "dog"):
        for i in range(40):
            picture(tmp_path / "photos" / name / f"{i}.png", i, size=(20, 20 + i % 2))
    done = command_line.run(*SMALL, f"--image_dir={tmp_path / 'photos'}", *place)
    assert done.returncode == 0, done.stderr[-2000:]
    run = tmp_path / "run"
    assert json.loads((run / "classes.json").read_text()) == ["cat", "dog"]
    results = json.loads((run / "results.json").read_text())
    record = results["results"]["SimCLR h/knn"]
    assert record["train_examples"] + record["test_examples"] == 80
    assert results["dataset"].endswith("photos")
    assert (run / "report.html").stat().st_size > 10_000


def test_a_manifest_gray_rectangles_and_three_views(tmp_path, place):
    rows = ["path,label,split"]
    for i in range(24):
        picture(tmp_path / "files" / f"{i}.png", i)
        rows.append(f"files/{i}.png,{'ab'[i % 2]},{'train' if i < 16 else 'test'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    done = command_line.run(
        *SMALL,
        f"--manifest={tmp_path / 'labels.csv'}",
        "--image_channels=1",
        "--image_size=16x24",
        "--num_views=3",
        "--eval_split=test",
        *place,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "1 channel" in done.stderr
    code = (
        "import sys, keras; m = keras.models.load_model(sys.argv[1]);"
        "print(m.input_shape, m(keras.ops.zeros([2, 16, 24, 1])).shape)"
    )
    shown = command_line.python(code, tmp_path / "run" / "encoder.keras")
    assert "1)" in shown and "(2, 64)" in shown.replace("TensorShape", "")
    flags = (tmp_path / "run" / "flags.txt").read_text()
    assert "--image_size=16x24" in flags


def test_tfrecords_and_arrays(tmp_path, place):
    images = np.random.default_rng(0).integers(0, 255, [16, 18, 18, 3], np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(16) % 2)
    with tf.io.TFRecordWriter(str(tmp_path / "train-0.tfrecord")) as writer:
        for image in images:
            value = {"value": [tf.io.encode_png(image).numpy()]}
            feature = {"image": tf.train.Feature(bytes_list=value)}
            writer.write(
                tf.train.Example(features={"feature": feature}).SerializeToString()
            )
    found = []
    for name, source in (
        ("records", f"--tfrecords={tmp_path}/{{split}}-*.tfrecord"),
        ("arrays", f"--dataset={tmp_path / 'set.npz'}"),
    ):
        done = command_line.run(
            *SMALL,
            source,
            f"--data_dir={tmp_path / 'data'}",
            f"--model_dir={tmp_path / name}",
            f"--train_split={'all' if name == 'arrays' else 'train'}",
            "--nolineareval_while_pretraining",
            "--deterministic",
            "--protocols=",
            "--noreport",
            "--export_formats=",
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(losses(tmp_path / name))
    # The same images in the same order. Once the third loss differed by a bit.
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_one_seed_gives_identical_losses_and_another_seed_others(tmp_path):
    for i in range(12):
        picture(tmp_path / "photos" / f"{i}.png", i)
    runs = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        done = command_line.run(
            *SMALL,
            f"--image_dir={tmp_path / 'photos'}",
            f"--data_dir={tmp_path / 'data'}",
            f"--model_dir={tmp_path / name}",
            f"--seed={seed}",
            "--deterministic",
            "--noreport",
            "--export_formats=",
        )
        assert done.returncode == 0, done.stderr[-2000:]
        runs.append(losses(tmp_path / name))
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.slow
def test_a_file_that_breaks_while_training_is_named(tmp_path, place):
    for i in range(8):
        picture(tmp_path / "photos" / f"{i}.png", i)
    arguments = [a for a in SMALL if not a.startswith("--train_steps")]
    arguments += [f"--image_dir={tmp_path / 'photos'}", "--train_steps=100000", *place]
    training = command_line.start(*arguments, "--cache=off", "--log_steps=20")
    try:
        end = time.monotonic() + 120
        while not (tmp_path / "run" / "ckpt-3.index").exists():
            assert time.monotonic() < end and training.poll() is None
            time.sleep(0.2)
        (tmp_path / "photos" / "5.png").write_bytes(b"gone")
        output, _ = training.communicate(timeout=120)
    finally:
        training.send_signal(signal.SIGKILL)
    assert training.returncode == 1, output[-2000:]
    last = output.strip().splitlines()[-1]
    assert last.startswith("error: ") and "5.png" in last
    assert "Traceback" not in output


def test_scan_names_every_broken_sample_and_draws_a_picture(tmp_path):
    done = command_line.run(
        "--mode=scan",
        f"--image_dir={ROOT / 'data' / 'samples'}",
        f"--data_dir={tmp_path / 'data'}",
        f"--model_dir={tmp_path}",
        "--image_size=32",
        f"--preview={tmp_path / 'views.png'}",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    scan = json.loads((tmp_path / "scan.json").read_text())
    bad = {b["path"]: b["why"] for b in scan["bad"]}
    assert set(bad) == {
        f"bad/{p.name}" for p in (ROOT / "data" / "samples" / "bad").iterdir()
    }
    assert all(bad.values()) and scan["images"] > 20
    assert re.search(r"suggested: .*--image_size=32", done.stdout)
    picture = tf.io.decode_png((tmp_path / "views.png").read_bytes())
    assert min(picture.shape[:2]) > 300


def test_scan_of_a_prepared_data_set_counts_its_classes(tmp_path, data_dir):
    done = command_line.run(
        "--mode=scan",
        "--dataset=simclr_shapes/tiny",
        f"--data_dir={data_dir}",
        f"--model_dir={tmp_path}",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    scan = json.loads((tmp_path / "scan.json").read_text())
    assert scan["images"] == sum(scan["classes"].values())
    assert scan["size"] == "32x32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image_dir={0}/none"], "none"),
        (["--image_dir={0}"], "holds no image"),
        (["--image_dir={0}/one"], "less than one batch"),
        (["--image_dir={0}/a", "--tfrecords=x"], "pass one"),
        (["--tfrecords={0}/x-*"], "no file for split"),
        (["--dataset={0}/none.npz"], "cannot be read"),
        (["--image_dir={0}/one", "--image_channels=2"], "pass --image_channels=3"),
        (["--image_size=16x16x3"], "HEIGHTxWIDTH"),
        (["--label_columns=a"], "--manifest"),
        (["--data_service=localhost"], "grpc://host"),
        (["--semi_hard"], "--semi_hard"),
        (["--manifest={0}/none.csv"], "cannot be read"),
    ],
)
def test_what_cannot_be_trained_on_is_said_in_one_line(tmp_path, arguments, message):
    picture(tmp_path / "pictures" / "one" / "1.png", 1)
    (tmp_path / "empty").mkdir()
    root = tmp_path / ("pictures" if "one" in arguments[0] else "empty")
    code, stderr = command_line.main(
        *SMALL,
        *(a.format(root) for a in arguments),
        f"--data_dir={tmp_path / 'data'}",
        f"--model_dir={tmp_path / 'run'}",
    )
    lines = stderr.strip().splitlines()
    assert code == 2, stderr[-2000:]
    assert lines[-1].startswith("error: ") and message in lines[-1]
    assert not (tmp_path / "run").exists()
