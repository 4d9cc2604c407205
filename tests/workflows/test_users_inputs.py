"""Folders, lists and arrays as users have them, through scan, pretrain and embed."""

import csv
import json
import logging
import shlex
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simclr_tf2 import config as config_lib
from simclr_tf2 import workflows
from simclr_tf2.data import image_sets, subset
from simclr_tf2.errors import ConfigError
from simclr_tf2.training import labelled
from tests import command_line

TINY = {
    "mode": "pretrain",
    "image_size": 16,
    "resnet_depth": 10,
    "width_multiplier": 0.125,
    "stem": "stride2",
    "num_proj_layers": 2,
    "proj_out_dim": 16,
    "train_batch_size": 8,
    "train_steps": 2,
    "optimizer": "adamw",
    "learning_rate": 0.002,
    "learning_rate_scaling": "none",
    "warmup_epochs": 0,
    "use_blur": False,
    "monitor_epochs": 0,
    "baselines": False,
    "report": False,
    "max_bad_fraction": 0.2,
}


@pytest.fixture
def run(tmp_path, monkeypatch, caplog):
    """Run a workflow with a tiny network; everything is kept below tmp_path."""
    monkeypatch.setattr(logging.getLogger("simclr_tf2"), "propagate", True)
    caplog.set_level(logging.INFO, logger="simclr_tf2")
    monkeypatch.chdir(tmp_path)

    def run(mode, **settings):
        image_sets._open_image_set.cache_clear()
        places = {"mode": mode, "data_dir": str(tmp_path / "cache")}
        return workflows.run(config_lib.from_flat({**TINY, **places, **settings}))

    return run


def picture(path, seed, size=(16, 20), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, [*size, 3], np.uint8)
    kind = {"tif": "TIFF", "png": "PNG"}.get(path.suffix[1:].lower(), "JPEG")
    Image.fromarray(pixels).save(path, kind, **options)


def class_folders(root, each=12, suffix=".jpg", names=("cats", "dogs")):
    for c, name in enumerate(names):
        for i in range(each):
            picture(root / name / f"{i:02}{suffix}", 100 * c + i)


def scanned(run, capsys, **settings):
    run("scan", **settings)
    return capsys.readouterr().out


def test_folders_of_a_nas_are_left_out_and_said(run, tmp_path, capsys, caplog):
    root = tmp_path / "photos"
    class_folders(root)
    for name in ("cats", "dogs"):
        for i in range(12):
            picture(root / name / "@eaDir" / f"{i:02}.jpg" / "THUMB_SM.jpg", i, (8, 8))
        picture(root / name / ".ipynb_checkpoints" / "0-checkpoint.jpg", 1)
    said = scanned(run, capsys, image_dir=str(root))
    assert "24 images" in said and "classes: 2" in said and "@eaDir (2)" in said
    results = run("pretrain", image_dir=str(root), protocols=("knn",), model_dir="run")
    assert results["results"]["SimCLR h/knn"]["num_classes"] == 2
    lines = [r.message for r in caplog.records if "not read" in r.message]
    assert len(lines) == 1 and "@eaDir (2)" in lines[0]


def test_splits_of_years_are_splits_and_validation_is_not_trained_on(
    run, tmp_path, capsys, caplog
):
    class_folders(tmp_path / "coco" / "train2017")
    class_folders(tmp_path / "coco" / "val2017", each=4)
    said = scanned(run, capsys, image_dir=str(tmp_path / "coco"))
    assert "splits: train 24, validation 8" in said and "classes: 2" in said
    assert "note: read as the split validation: val2017/" in said
    said += caplog.text  # a terminal shows both
    assert said.count("read as the split validation") == 1


def test_tiff_is_trained_on_and_embedded_and_backups_are_named(
    run, tmp_path, capsys, caplog
):
    root = tmp_path / "photos"
    class_folders(root, suffix=".tif")
    class_folders(root, each=2, suffix=".jfif")
    class_folders(root, each=2, suffix=".JPE")
    (root / "cats" / "00.jpg~").write_bytes(b"backup")
    said = scanned(run, capsys, image_dir=str(root))
    assert "formats: tiff 24, jpeg 8" in said and "not read: 1 .jpg~" in said
    run(
        "pretrain",
        image_dir=str(root),
        protocols=(),
        model_dir="run",
        export_formats=("keras",),
    )
    assert json.loads(Path("run/scan.json").read_text())["formats"]["tiff"] == 24
    assert "not read: 1 .jpg~" in caplog.text
    caplog.clear()
    done = run("embed", model_dir="run", input=str(root), output="h.csv")
    assert done["images"] == 32 and "not read: 1 .jpg~" in caplog.text
    names = [row["name"] for row in csv.DictReader(Path("h.csv").open())]
    assert "cats/03.tif" in names and "dogs/01.JPE" in names


def test_archives_are_named_with_the_remedy(run, tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("folder/part1.zip", "photos.zip"):
        (tmp_path / name).write_bytes(b"PK\3\4")
    with pytest.raises(ConfigError, match="an archive, folder/part1.zip; unpack"):
        run("pretrain", image_dir="folder", model_dir="run")
    with pytest.raises(ConfigError, match="unzip photos.zip -d photos"):
        run("pretrain", image_dir="photos.zip", model_dir="run")
    assert not Path("run").exists()


def manifest(path, rows, head=("path", "label"), **options):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, **options)
        writer.writerows([head, *rows])
    return str(path)


@pytest.fixture
def rows(tmp_path):
    """24 images of two classes: path and label."""
    found = []
    for i in range(24):
        name = unicodedata.normalize("NFC", f"images/{'ab'[i % 2]}/{i:02} Müller.jpg")
        picture(tmp_path / name, i)
        found.append((name, "ab"[i % 2]))
    return found


def test_minus_one_is_no_label_in_scan_and_in_training(run, tmp_path, rows, capsys):
    marked = [(n, "-1" if i % 4 == 3 else str(i % 2)) for i, (n, _) in enumerate(rows)]
    listed = [(*row, "val" if i % 3 == 0 else "train") for i, row in enumerate(marked)]
    path = manifest(tmp_path / "l.csv", listed, ("path", "label", "split"))
    said = scanned(run, capsys, manifest=path)
    assert "classes: 2" in said and "(no label)" in said and "\n  -1" not in said
    results = run(
        "pretrain",
        manifest=path,
        protocols=("knn",),
        eval_split="val",
        model_dir="run",
    )
    record = results["results"]["SimCLR h/knn"]
    labelled = {
        s: sum(x != "-1" and t == s for _, x, t in listed) for s in ("train", "val")
    }
    assert record["train_examples"] == labelled["train"] < 16
    assert record["test_examples"] == labelled["val"] < 8
    assert json.loads(Path("run/classes.json").read_text()) == ["0", "1"]


def test_finetune_uses_the_images_that_have_a_label(run, tmp_path, rows):
    listed = [
        (n, "-1" if i % 4 == 3 else c, "val" if i % 3 == 0 else "train")
        for i, (n, c) in enumerate(rows)
    ]
    path = manifest(tmp_path / "l.csv", listed, ("path", "label", "split"))
    places = {"manifest": path, "data_dir": str(tmp_path / "cache"), "model_dir": "x"}
    config = config_lib.from_flat({**TINY, **places, "mode": "finetune"})
    opened = labelled.open_labelled(config)
    for split, name in ((opened.train, "train"), (opened.test, "val")):
        with_label = sum(c != "-1" and s == name for _, c, s in listed)
        assert split.num_examples == with_label and split.has_labels
        assert (subset.labels_of(split) >= 0).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name.replace("/", "\\"),
        lambda name: "D:\\data\\" + name.replace("/", "\\"),
        lambda name: unicodedata.normalize("NFD", name),
        lambda name: f" {name}",
    ],
    ids=("backslashes", "drive", "decomposed", "spaces"),
)
def test_a_list_of_another_machine_is_found(run, tmp_path, rows, capsys, change):
    path = manifest(tmp_path / "l.csv", [(change(n), f"{c} ") for n, c in rows])
    said = scanned(run, capsys, manifest=path)
    assert "24 images" in said and "bad files: none" in said and "classes: 2" in said
    assert "note: 24 of 24 paths were found" in said


def test_a_list_of_files_that_are_nowhere_is_one_line_and_no_success(
    run, tmp_path, capsys
):
    path = manifest(tmp_path / "l.csv", [(f"E:\\x\\{i}.jpg", "a") for i in range(40)])
    with pytest.raises(ConfigError, match="40 of 40 paths lead to no file.*looked for"):
        run("scan", manifest=path)
    said = capsys.readouterr().out
    assert said.count("no such file") == 1 and "and 37 more" in said


def test_a_missing_file_is_named_and_the_others_are_used(run, tmp_path, rows, capsys):
    path = manifest(tmp_path / "l.csv", [*rows, ("images/a/gone.jpg", "a")])
    said = scanned(run, capsys, manifest=path)
    assert "24 images" in said and "images/a/gone.jpg: no such file" in said


def test_semicolons_and_tabs_are_read(run, tmp_path, rows, capsys):
    for delimiter in ";\t":
        path = manifest(tmp_path / "l.csv", rows, delimiter=delimiter)
        assert "classes: 2" in scanned(run, capsys, manifest=path)


def test_scan_writes_nothing_that_was_not_asked_for(run, tmp_path, capsys, monkeypatch):
    class_folders(tmp_path / "photos", each=2)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run("scan", image_dir="../photos", data_dir="data")
    assert "4 images" in capsys.readouterr().out
    assert list((tmp_path / "here").iterdir()) == []
    run("scan", image_dir="../photos", data_dir="data", model_dir="kept")
    assert Path("kept/scan.json").exists()


def test_scan_from_a_folder_without_write_permission_exits_0(tmp_path):
    class_folders(tmp_path / "photos", each=2)
    done = command_line.run("--mode=scan", f"--image_dir={tmp_path / 'photos'}")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "4 images" in done.stdout
    assert not (command_line.ROOT / "scan.json").exists()


def test_arrays_without_labels_in_an_npy_file_are_trained_on(run, tmp_path, caplog):
    images = np.random.default_rng(0).integers(0, 256, [16, 16, 16, 3], np.uint8)
    np.save(tmp_path / "patches.npy", images)
    run("pretrain", dataset="patches.npy", model_dir="run")
    assert "patches.npy has no labels" in caplog.text
    assert Path("run/encoder.keras").exists()


def test_labelled_arrays_of_one_split_are_scored_on_a_tenth(run, tmp_path, caplog):
    images = np.random.default_rng(0).integers(0, 256, [60, 16, 16, 3], np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(60) % 2)
    results = run("pretrain", dataset="set.npz", protocols=("knn",), model_dir="run")
    record = results["results"]["SimCLR h/knn"]
    assert (record["train_examples"], record["test_examples"]) == (55, 5)
    assert caplog.text.count("set.npz: only train has labels, so 5 of its 60") == 1
    done = run("embed", model_dir="run", input="set.npz", output="h.csv")
    assert done["images"] == 60  # all, in the order of the file
    names = [row["name"] for row in csv.DictReader(Path("h.csv").open())]
    assert names == [f"set.npz/{i}" for i in range(60)]


def test_scan_counts_arrays_without_a_label(run, tmp_path, capsys):
    images = np.zeros([5, 8, 8, 3], np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.array([0, 1, -1, 1, -1]))
    said = scanned(run, capsys, dataset="a.npz")
    assert "classes: {'0': 1, '1': 2, '(no label)': 2}" in said


@pytest.mark.parametrize(
    ("dataset", "message"),
    [("photos", "pass --image_dir=photos"), ("CIFAR10", "did you mean cifar10[?]")],
)
def test_what_is_no_data_set_names_what_is_meant(run, tmp_path, dataset, message):
    class_folders(tmp_path / "photos", each=1)
    with pytest.raises(ConfigError, match=message):
        run("pretrain", dataset=dataset, model_dir="run")
    assert not Path("run").exists()


def test_odd_names_are_read_and_what_they_hold_is_said(run, tmp_path, capsys):
    inner = '[2021] 100% #1 – Müller\'s "best"/im*ges?'
    for name in ("a [x]", "b %20#"):
        for i in range(6):
            picture(tmp_path / "odd" / inner / name / f"{i} [1] 50%#, ü\n.jpg", i)
    said = scanned(run, capsys, image_dir="odd")
    assert "12 images" in said and "labels: none" in said and "bad files: none" in said
    assert f"pass --image_dir={shlex.quote(f'odd/{inner}')}" in said  # for a shell
    said = scanned(run, capsys, image_dir=f"odd/{inner}")
    assert "classes: 2" in said and "  b %20#: " in said


@pytest.mark.parametrize("stem", ["a,b", 'c "d"', "e;f", "=1+1", "ü", " g ", "h\ni"])
def test_a_file_may_have_any_name_in_folders_and_lists(run, tmp_path, capsys, stem):
    picture(tmp_path / "photos" / f"{stem}.png", 1)
    assert "1 images" in scanned(run, capsys, image_dir="photos")
    path = manifest(tmp_path / "photos" / "l.csv", [(f"{stem}.png", "x")])
    said = scanned(run, capsys, manifest=path)
    assert "1 images" in said and "note:" not in said


def test_pictures_called_train_and_test_are_no_splits(run, tmp_path, capsys):
    for name in ("train", "test", "p1"):
        picture(tmp_path / "photos" / f"{name}.png", 1)
    said = scanned(run, capsys, image_dir="photos")
    assert "splits: (all) 3" in said or "splits: train 3" in said


def test_links_in_a_circle_and_to_nowhere_are_survived(run, tmp_path, capsys):
    class_folders(tmp_path / "photos", each=6)
    (tmp_path / "photos" / "cats" / "self").symlink_to(".")
    (tmp_path / "photos" / "dogs" / "up").symlink_to("..")
    (tmp_path / "photos" / "dogs" / "broken.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "photos" / "dogs" / "round.jpg").symlink_to("round.jpg")
    said = scanned(run, capsys, image_dir="photos")
    assert "12 images" in said and "classes: 2" in said
    assert "a link that leads nowhere (nowhere.jpg)" in said


def test_a_class_that_only_test_has_comes_last_and_is_said(run, tmp_path, capsys):
    class_folders(tmp_path / "photos" / "train", names=("b", "c"))
    class_folders(tmp_path / "photos" / "train", each=1, names=("rare",))
    class_folders(tmp_path / "photos" / "test", each=5, names=("a", "b", "c"))
    said = scanned(run, capsys, image_dir="photos")
    assert "splits: train 25, test 15" in said and "classes: 4" in said
    assert said.index("  rare: train 1") < said.index("  a: test 5")


def test_a_class_called_train_stays_one(run, tmp_path, capsys):
    class_folders(tmp_path / "photos", names=("train", "bus", "truck"))
    said = scanned(run, capsys, image_dir="photos")
    assert "classes: 3" in said and "note:" not in said


def test_na_is_a_class_and_a_byte_order_mark_is_none(run, tmp_path, rows, capsys):
    named = [(n, {"a": "NA", "b": "None"}[c]) for n, c in rows]
    text = "path,label\n" + "".join(f"{n},{c}\n" for n, c in named)
    (tmp_path / "l.csv").write_text(text, encoding="utf-8-sig")
    said = scanned(run, capsys, manifest="l.csv")
    assert "  NA: " in said and "  None: " in said and "24 images" in said
