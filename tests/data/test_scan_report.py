"""The odd files of data/samples, one by one; folders with next to nothing in them."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageOps

from simclr_tf2.config import FILE_CHECKS
from simclr_tf2.data import file_index, image_files, layouts, scan_report
from simclr_tf2.errors import ConfigError

_SAMPLES = pathlib.Path(__file__).parents[2] / "data" / "samples"
GOOD = sorted(
    str(p.relative_to(_SAMPLES / "good"))
    for p in (_SAMPLES / "good").rglob("*")
    if p.is_file()
)
CHECKS = ("header", "decode")
# Name -> what the error must say, by the header check and by decoding.
BAD = {
    "truncated.jpg": ("cut off", "cut off"),
    "truncated.png": ("cut off", "cut off"),
    "truncated.gif": ("cut off", "cut off"),
    "truncated.bmp": ("cut off", "cut off"),
    "truncated.webp": ("cut off", "cut off"),
    "header_only.jpg": ("within its header", "within its header"),
    "empty.jpg": ("empty file", "empty file"),
    "html.jpg": ("HTML", "HTML"),
    "flipped_bytes.jpg": ("", "damaged"),  # only decoding can tell
    "60000x60000.png": ("60000x60000 pixels exceed",) * 2,
    "60000x60000.jpg": ("60000x60000 pixels exceed",) * 2,
    "bomb.png": ("20000x20000 pixels exceed",) * 2,
    "bomb.gif": ("60000x60000 pixels exceed",) * 2,
    "zero_height.jpg": ("says it is 0x0",) * 2,
    "zeros.png": ("zero bytes",) * 2,
    "cut_off.tif": ("cut off",) * 2,
    "damaged_lzw.tif": ("", "damaged: TIFF that cannot be decoded"),
    "60000x60000.tif": ("60000x60000 pixels exceed",) * 2,
    "nan.tif": ("holds no finite value",) * 2,
    "git_lfs_pointer.png": ("git lfs pull",) * 2,
}


@pytest.fixture(scope="module")
def indices():
    """Check -> (file -> row, index) of the whole folder of samples."""
    listing = layouts.list_folder(str(_SAMPLES))
    assert set(CHECKS) == set(FILE_CHECKS)
    found = {}
    for check in CHECKS:
        index = file_index.build_index(listing, check=check)
        found[check] = ({p: i for i, p in enumerate(index.paths)}, index)
    return found


def _make_samples():
    path = _SAMPLES / "make_samples.py"
    spec = importlib.util.spec_from_file_location("make_samples", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_committed_sample_is_listed_and_stated_here(indices):
    rows, _ = indices["header"]
    expected = {f"good/{n}" for n in GOOD} | {f"bad/{n}" for n in BAD}
    assert set(rows) == expected and len(GOOD) == 40


def test_the_script_makes_the_committed_samples():
    made = _make_samples()
    assert {name for name, _ in made.good_samples()} == set(GOOD)
    for name, contents in made.bad_samples():
        committed = (_SAMPLES / "bad" / name).stat().st_size
        assert 0.9 * committed <= len(contents) <= 1.1 * committed + 50, name


def test_samples_are_small():
    sizes = [p.stat().st_size for p in _SAMPLES.rglob("*") if p.is_file()]
    assert sum(sizes) < 200_000


@pytest.mark.parametrize("name", GOOD)
def test_good_sample_is_read_as_pillow_reads_it(indices, name):
    rows, index = indices["decode"]
    row = rows[f"good/{name}"]
    assert index.error[row] == "" and index.decoded[row]
    path = _SAMPLES / "good" / name
    found = image_files.decode(
        path.read_bytes(), orientation=int(index.orientation[row])
    )
    height, width = (int(side[row]) for side in index.upright_shape())
    assert found.shape == (height, width, 3)
    with Image.open(path) as image:
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    difference = np.abs(found.numpy().astype(int) - expected)
    lossy = index.format[row] == "jpeg"
    assert difference.max() <= (16 if lossy else 0) and difference.mean() < 2


@pytest.mark.parametrize("check", [0, 1], ids=CHECKS)
@pytest.mark.parametrize("name", BAD)
def test_bad_sample_is_named_with_why(indices, name, check):
    rows, index = indices[CHECKS[check]]
    row, words = rows[f"bad/{name}"], BAD[name][check]
    assert words in index.error[row] and "\n" not in index.error[row]
    assert bool(index.error[row]) == bool(words)
    assert bool(index.good[row]) == (not words)


_LITTLE_MEMORY = """
import resource, sys
from simclr_tf2.data import file_index, image_files, layouts
listing = layouts.list_folder(sys.argv[1])
image_files.decode(open(sys.argv[2], "rb").read())  # TensorFlow's own memory
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
index = file_index.build_index(listing, check="decode")
bombs = [p for p, e in zip(index.paths, index.error) if "exceed the cap" in e]
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(bombs), (after - before) // 1024)
"""


def test_bombs_allocate_nothing():
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            _LITTLE_MEMORY,
            str(_SAMPLES / "bad"),
            str(_SAMPLES / "good" / "rgb.png"),
        ],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    bombs, mebibytes = map(int, run.stdout.split())
    assert bombs == 5
    assert mebibytes < 50  # the smallest bomb would be 1,144 MiB as pixels


def test_no_images_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="holds no image"):
        layouts.list_folder(str(tmp_path))


def test_one_image_is_a_data_set(tmp_path):
    os.link(_SAMPLES / "good" / "rgb.png", tmp_path / "only.png")
    listing = layouts.list_folder(str(tmp_path))
    summary = scan_report.summarize(listing, file_index.build_index(listing))
    assert summary["images"] == 1 and summary["bad"] == []
    assert summary["height"] == {"min": 24, "median": 24, "max": 24}
    assert "suggested" not in scan_report.render(summary)  # nothing to be given


def test_only_bad_images_are_reported_and_nothing_is_suggested():
    listing = layouts.list_folder(str(_SAMPLES / "bad"))
    index = file_index.build_index(listing, check="decode")
    summary = scan_report.summarize(listing, index)
    assert summary["images"] == 0 and summary["bad_fraction"] == 1.0
    assert summary["suggested"] == {} and summary["height"] is None
    assert "bad files: 20 (100.00 %)" in scan_report.render(summary)


def test_one_class_is_reported(tmp_path):
    (tmp_path / "cat").mkdir()
    os.link(_SAMPLES / "good" / "gray.png", tmp_path / "cat" / "a.png")
    listing = layouts.list_folder(str(tmp_path), layout="class")
    summary = scan_report.summarize(listing, file_index.build_index(listing))
    assert summary["classes"] == {"cat": {"(all)": 1}}
    assert summary["suggested"]["--image_channels"] == "1"


def test_scan_counts_classes_splits_and_duplicates(tmp_path):
    for path, source in (
        ("train/a/1.png", "good/rgb.png"),
        ("train/a/2.jpg", "good/exif_6.jpg"),
        ("train/b/3.png", "good/gray.png"),
        ("test/b/4.png", "good/rgb.png"),
        ("test/b/5\n.jpg", "bad/empty.jpg"),
        ("test/c/notes.txt", "README.md"),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(_SAMPLES / source, tmp_path / path)
    listing = layouts.list_folder(str(tmp_path))
    summary = scan_report.summarize(listing, file_index.build_index(listing))
    assert json.loads(json.dumps(summary)) == summary
    assert summary["splits"] == {"train": 3, "test": 1}
    assert summary["classes"] == {"a": {"train": 2}, "b": {"test": 1, "train": 1}}
    assert summary["duplicates"] == [
        {
            "paths": ["test/b/4.png", "train/a/1.png"],
            "across_splits": True,
            "across_classes": True,
        }
    ]
    assert summary["bad"] == [{"path": "test/b/5\n.jpg", "why": "empty file (0 bytes)"}]
    assert summary["bad_fraction"] == 0.2
    assert summary["turned_by_exif"] == 1
    assert summary["height"] == {"min": 24, "median": 24, "max": 32}
    assert summary["others"] == {".txt": 1}
    assert "--image_channels" not in summary["suggested"]
    text = scan_report.render(summary)
    assert "'test/b/5\\n.jpg': empty file" in text
    assert "[across splits] [across classes]" in text
    assert "suggested" not in text  # the scan adds what a recipe chooses


def test_scan_takes_splits_made_elsewhere():
    listing = layouts.list_folder(str(_SAMPLES / "good"), layout="flat")
    index = file_index.build_index(listing)
    split_of = ["train" if i % 2 else "test" for i in range(len(listing))]
    summary = scan_report.summarize(listing, index, split_of)
    assert summary["splits"] == {"test": 20, "train": 20}
    assert summary["duplicates"][0]["across_splits"]
