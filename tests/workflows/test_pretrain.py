"""Pretrain, look, stop, resume, evaluate, export, embed: as a user would."""

import json
import shutil
import signal

import numpy as np
import pandas as pd
import tensorflow as tf

from simclr_tf2 import startup
from tests import command_line
from tests.command_line import TINY


def checkpoint_values(prefix):
    reader = tf.train.load_checkpoint(str(prefix))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH"
    }


def test_a_run_leaves_every_promised_file(finished):
    folder, _ = finished
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.json",
        "flags.txt",
        "metrics.jsonl",
        "results.json",
        "report.html",
        "encoder.keras",
        "saved_model",
        "tensorboard",
        "ckpt-12.index",
        "ckpt-12.config.json",
    } <= names
    assert (folder / "saved_model" / "12" / "saved_model.pb").exists()
    assert list((folder / "tensorboard").glob("events*"))


def test_the_log_shows_loss_with_its_chance_level_and_every_cadence(finished):
    folder, done = finished
    lines = [line for line in done.stdout.splitlines() if line.startswith("step")]
    assert len(lines) == 6 and "(chance 4.844)" in lines[0]  # ln(2 * 64 - 1)
    steps = [json.loads(x)["step"] for x in (folder / "metrics.jsonl").open()]
    assert steps == [2, 4, 6, 8, 10, 12]
    assert "Traceback" not in done.stderr and "WARNING" not in done.stderr


def test_results_say_what_they_rest_on(finished):
    document = json.loads((finished[0] / "results.json").read_text())
    assert document["step"] == 12 and document["finished"]
    assert set(document["results"]) == {
        f"{row}/{protocol}"
        for row in ("SimCLR h", "Random encoder h", "PCA-256 of pixels")
        for protocol in ("logreg", "knn")
    }
    for record in document["results"].values():
        assert 0 <= record["value"] <= 1
        assert record["test_split"] == "test" and record["train_split"] == "train"
        assert record["seed"] == 0 and record["test_examples"] > 0
    assert document["results"]["SimCLR h/logreg"]["C"] == 1


def test_log_results_and_report_name_the_kernels(finished):
    """Those of this process: both have the same environment."""
    folder, done = finished
    state = "on" if startup.onednn_is_on() else "off"
    (line,) = (x for x in done.stderr.splitlines() if x.startswith("kernels: "))
    assert line == startup.kernels() and line.startswith(f"kernels: oneDNN {state}")
    found = json.loads((folder / "results.json").read_text())["environment"]
    assert startup.describe_cpu().items() <= found.items()
    report = (folder / "report.html").read_text()
    assert found["instruction_set"] in report and "onednn" in report


def test_the_table_is_printed_last(finished):
    out = finished[1].stdout
    assert "SimCLR h" in out and "PCA-256 of pixels" in out and "encoder.keras" in out


def test_a_finished_run_exits_at_once(finished, data_dir):
    folder, _ = finished
    before = (folder / "results.json").stat().st_mtime_ns
    again = command_line.run(*TINY, f"--model_dir={folder}", f"--data_dir={data_dir}")
    assert again.returncode == 0 and "finished at step 12" in again.stderr
    assert "SimCLR h" in again.stdout
    assert (folder / "results.json").stat().st_mtime_ns == before


def test_sigterm_saves_and_resuming_gives_the_uninterrupted_run_bit_for_bit(
    finished, data_dir, tmp_path
):
    folder = tmp_path / "stopped"
    arguments = [*TINY, f"--model_dir={folder}", f"--data_dir={data_dir}"]
    process = command_line.start(*arguments)
    for line in process.stdout:
        if line.startswith("step"):
            process.send_signal(signal.SIGTERM)
            break
    rest = process.stdout.read()
    assert process.wait(timeout=120) == 42, rest
    assert "stopped by a signal at step" in rest
    stopped_at = max(int(p.name[5:-6]) for p in folder.glob("ckpt-*.index"))
    assert 0 < stopped_at < 12

    done = command_line.run(*arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"at step {stopped_at}" in done.stderr
    ours = checkpoint_values(folder / "ckpt-12")
    theirs = checkpoint_values(finished[0] / "ckpt-12")
    assert set(ours) == set(theirs) and len(ours) > 50
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def test_a_damaged_newest_checkpoint_falls_back_loudly(finished, data_dir, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(finished[0], folder)
    (folder / "results.json").unlink()
    data = folder / "ckpt-12.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    done = command_line.run(
        *TINY,
        f"--model_dir={folder}",
        f"--data_dir={data_dir}",
        "--protocols=",
        "--export_formats=",
        "--noreport",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "ckpt-12 cannot be used" in done.stderr and "at step 8" in done.stderr


def test_another_config_is_refused_and_names_the_fields(finished, data_dir):
    folder, _ = finished
    before = sorted((p.name, p.stat().st_mtime_ns) for p in folder.iterdir())
    code, stderr = command_line.main(
        *TINY, f"--model_dir={folder}", f"--data_dir={data_dir}", "--temperature=0.5"
    )
    assert code == 2 and "temperature (there 0.2, now 0.5)" in stderr
    assert sorted((p.name, p.stat().st_mtime_ns) for p in folder.iterdir()) == before


def test_eval_measures_again_with_other_settings(finished):
    folder, _ = finished
    done = command_line.run(
        "--mode=eval",
        f"--model_dir={folder}",
        "--protocols=knn",
        "--eval_steps=1",
        "--eval_batch_size=50",
        "--nobaselines",
        "--eval_name=short",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((folder / "results_short.json").read_text())["results"]
    assert list(results) == ["SimCLR h/knn"]
    assert results["SimCLR h/knn"]["test_examples"] == 50


def test_export_rebuilds_the_same_encoder_from_the_checkpoint(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    (folder / "encoder.keras").unlink()
    shutil.rmtree(folder / "saved_model")
    done = command_line.run("--mode=export", f"--model_dir={folder}")
    assert done.returncode == 0, done.stderr[-2000:]
    import keras

    images = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    first, second = (
        keras.models.load_model(f / "encoder.keras")(images).numpy()
        for f in (finished[0], folder)
    )
    np.testing.assert_array_equal(first, second)
    assert (folder / "saved_model" / "12").is_dir()


def table_of(path):
    """Names of the rows and columns, and the numbers, of a csv or parquet file."""
    if path.suffix == ".csv":
        table = pd.read_csv(path)
        return list(table["name"]), list(table)[1:], table.iloc[:, 1:].to_numpy("f4")
    table = pd.read_parquet(path)
    return list(table["name"]), list(table)[1:], np.stack(table["embedding"])


def test_embed_writes_one_row_per_image_and_names_the_broken_one(finished, tmp_path):
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    (photos / "a.png").write_bytes(tf.io.encode_png(pixels).numpy())
    (photos / "deep" / "b.JPG").write_bytes(tf.io.encode_jpeg(pixels).numpy())
    (photos / "broken.jpg").write_bytes(b"<html>not found</html>")
    arguments = ["--mode=embed", f"--model_dir={finished[0]}", f"--input={photos}"]
    done = command_line.run(*arguments, f"--output={tmp_path / 'h.npz'}")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "broken.jpg" in done.stderr
    with np.load(tmp_path / "h.npz") as file:
        names, features = list(file["names"]), file["features"]
    assert names == ["a.png", "deep/b.JPG"]
    assert features.shape == (2, 64) and (features.std(axis=1) > 0).all()
    columns = {"csv": [f"f{i}" for i in range(64)], "parquet": ["embedding"]}
    for suffix, heads in columns.items():
        output = tmp_path / f"h.{suffix}"
        code, stderr = command_line.main(*arguments, f"--output={output}")
        found = table_of(output)
        assert code == 0 and found[:2] == (names, heads), stderr
        np.testing.assert_allclose(found[2], features, rtol=1e-5, atol=1e-6)


def test_two_virtual_devices_log_the_losses_of_one(finished, data_dir, tmp_path):
    folder = tmp_path / "two"
    done = command_line.run(
        *TINY,
        f"--model_dir={folder}",
        f"--data_dir={data_dir}",
        "--protocols=",
        "--export_formats=",
        "--noreport",
        "--num_virtual_devices=2",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (
        [json.loads(x)["loss"] for x in (f / "metrics.jsonl").open()]
        for f in (finished[0], folder)
    )
    # float32 sums in another order, amplified over 12 steps of AdamW
    np.testing.assert_allclose(two[:2], one[:2], rtol=1e-4)
    np.testing.assert_allclose(two, one, rtol=2e-2)
