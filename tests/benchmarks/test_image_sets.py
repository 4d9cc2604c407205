"""benchmarks/image_sets.py: layout, counts, and disjoint parts of the sets."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import image_sets
from simclr_tf2.config import DataConfig
from simclr_tf2.data import opening, shapes_drawing


def counted(examples):
    found = {}
    for part, label, image in examples:
        assert image.dtype == np.uint8
        found.setdefault(part, []).append((label, image))
    return found


def test_crops_for_validation_show_no_pixel_that_others_show():
    photo = np.zeros([200, 400, 3], np.uint8)
    for i, j in np.ndindex(2, 4):  # a chessboard
        photo[100 * i : 100 * (i + 1), 100 * j : 100 * (j + 1)] = 255 * ((i + j) % 2)
    counts = {"unlabeled": 40, "train": 40, "validation": 40}
    found = counted(image_sets.crops({"one": photo}, counts))
    assert {part: len(rows) for part, rows in found.items()} == counts
    # A light scales the images: black stays black, and white has no second value.
    assert all(
        np.ptp(image, axis=(0, 1)).max() == 0 for _, image in found["validation"]
    )
    assert all(image.min() > 0 for _, image in found["validation"])
    for part in ("unlabeled", "train"):
        assert all(image.max() == 0 for _, image in found[part])


def test_plain_squares_are_left_out():
    photo = np.full([300, 300, 3], 90, np.uint8)
    photo[200:, 200:] = np.indices([100, 100])[1][..., None] // 10 % 2 * 255
    counts = {"unlabeled": 20, "train": 0, "validation": 0}
    found = counted(image_sets.crops({"one": photo}, counts))
    # A plain square has one value in a channel, under any light.
    assert all(np.ptp(image[..., 0]) > 50 for _, image in found["unlabeled"])


@pytest.mark.parametrize("size", [(200, 400), (101, 333), (90, 300), (1411, 1411)])
def test_the_tiles_of_both_colours_cover_a_photograph_once(size):
    seen = np.zeros(size, int)
    for black in (False, True):
        for top, bottom, left, right in image_sets.tiles(*size, black=black):
            seen[top:bottom, left:right] += 1
    assert (seen == 1).all()


def test_a_light_scales_the_channels_of_an_image():
    image = np.full([2, 2, 3], 100, np.uint8)
    lights = [image_sets.relight(image, np.random.default_rng(i)) for i in range(500)]
    for found in lights:
        assert np.ptp(found, axis=(0, 1)).max() == 0  # the same for all pixels
    gains = np.log(np.stack([found[0, 0] for found in lights]) / 100)
    gains = gains[(gains < np.log(2.5)).all(axis=-1)]  # others are cut at 255
    total = np.hypot(image_sets.EXPOSURE, image_sets.WHITE_BALANCE)
    np.testing.assert_allclose(gains.std(axis=0), total, rtol=0.15)
    differences = gains[:, 0] - gains[:, 1]
    np.testing.assert_allclose(
        differences.std(), np.sqrt(2) * image_sets.WHITE_BALANCE, rtol=0.15
    )


def test_crops_have_one_size_and_the_photograph_as_class():
    rng = np.random.default_rng(0)
    photos = {n: rng.integers(0, 256, [90, 300, 3], np.uint8) for n in ("a", "b")}
    counts = {"unlabeled": 2, "train": 2, "validation": 2}
    found = counted(image_sets.crops(photos, counts))
    assert [label for label, _ in found["train"]] == ["a", "a", "b", "b"]
    assert {label for label, _ in found["unlabeled"]} == {""}
    shapes = {image.shape for rows in found.values() for _, image in rows}
    assert shapes == {(64, 64, 3)}


def test_shapes_are_labelled_from_train_in_disjoint_parts(monkeypatch):
    monkeypatch.setitem(image_sets.SHAPES, 32, (4, 10))
    found = counted(image_sets.shapes(32))
    labelled = shapes_drawing.draw(range(10), split="train", image_size=32)
    images = [image for _, image in found["train"] + found["validation"]]
    np.testing.assert_array_equal(images, labelled.images)
    assert [len(found[part]) for part in image_sets.PARTS] == [4, 6, 4]


def test_parts_of_fashion_mnist_are_of_train_and_disjoint():
    numbers = []
    for split in image_sets.FASHION.values():
        name, ends = split.rstrip("]").split("[")
        assert name == "train"
        first, last = ends.split(":")
        numbers += range(int(first or 0), int(last))
    assert len(numbers) == len(set(numbers)) and max(numbers) < 60_000


def test_a_cut_keeps_every_labelled_image_and_spreads_the_others():
    rows = [("unlabeled", "", i) for i in range(101)] + [("train", "a", -1)]
    kept = list(image_sets.cut(iter(rows), 11))
    assert [row[2] for row in kept] == [*range(0, 101, 10), -1]


def few_examples():
    image = np.zeros([8, 8, 3], np.uint8)
    yield from [("unlabeled", "", image + i) for i in range(3)]
    yield from [("train", label, image + 9) for label in ("a", "b")]
    yield from [("validation", label, image) for label in ("a", "b")]


def test_a_set_is_written_once_and_its_record_tells_the_counts(tmp_path):
    made = []

    def examples():
        made.append(1)
        return few_examples()

    found = image_sets.prepare("one", examples, tmp_path)
    assert found["images"] == {"unlabeled": 3, "train": 2, "validation": 2}
    assert (found["classes"], found["image_size"]) == (2, 8)
    assert image_sets.prepare("one", examples, tmp_path) == found
    assert len(made) == 1
    third = Image.open(tmp_path / "one/unlabeled/00002.png")
    assert np.asarray(third).max() == 2


def test_a_set_that_was_not_finished_or_is_old_is_written_anew(tmp_path):
    (tmp_path / "one/unlabeled").mkdir(parents=True)
    stray = tmp_path / "one/unlabeled/stray.png"
    for record in (None, {"version": image_sets.VERSION - 1}):
        stray.touch()
        if record:
            (tmp_path / "one.json").write_text(json.dumps(record))
        image_sets.prepare("one", few_examples, tmp_path)
        assert not stray.exists()


def test_the_program_reads_the_three_parts_of_a_set(tmp_path):
    image_sets.prepare("one", few_examples, tmp_path)
    data = DataConfig(image_dir=str(tmp_path / "one"), data_dir=str(tmp_path / "index"))
    counts = [opening.open_split(data, p).num_examples for p in image_sets.PARTS]
    assert counts == [3, 2, 2]
    assert opening.open_split(data, "validation").num_classes == 2


def test_an_unknown_set_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["image_sets", "--sets=shapes33"])
    with pytest.raises(SystemExit) as stopped:
        image_sets.main()
    assert stopped.value.code == 2
    assert "shapes33" in capsys.readouterr().err
