"""What is fitted to own images, and that scan suggests the same."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import config as config_lib
from simclr_tf2 import workflows
from simclr_tf2.config import DataConfig
from simclr_tf2.data import fitting, image_sets, scan_report
from simclr_tf2.runs import flag_file
from simclr_tf2.training import fitted


@pytest.mark.parametrize(
    ("images", "replicas", "expected"),
    [
        (1, 1, 1),
        (12, 1, 12),
        (63, 1, 16),
        (64, 1, 16),
        (400, 1, 64),  # 128 would make 3 steps an epoch
        (511, 1, 64),
        (512, 1, 128),
        (2_048, 1, 512),
        (1_000_000, 1, 512),  # the default at most
        (400, 3, 63),  # what three replicas can share
    ],
)
def test_a_batch_leaves_four_steps_an_epoch(images, replicas, expected):
    assert fitting.batch_size(images, replicas=replicas) == expected


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((20, 24), 32), ((64, 500), 64), ((130, 120), 96), ((3000, 4000), 224)],
)
def test_an_image_size_enlarges_no_typical_image(shape, expected):
    assert fitting.image_size(*shape) == expected


@pytest.mark.parametrize(
    ("images", "labelled", "expected"),
    [(400, False, 0.05), (399, False, 0.0), (400, True, 0.0)],
)
def test_enough_images_without_labels_hold_a_part_out(images, labelled, expected):
    assert fitting.valid_size(images, labelled=labelled) == expected


@pytest.fixture
def photos(tmp_path):
    """40 unlabelled images of 70 x 100 to 90 x 100 pixels."""
    draw(tmp_path / "photos", [(70 + i // 2, 100) for i in range(40)])
    return tmp_path


def draw(folder, sizes):
    folder.mkdir()
    for i, size in enumerate(sizes):
        pixels = np.random.default_rng(i).integers(0, 255, [*size, 3], np.uint8)
        (folder / f"{i}.png").write_bytes(tf.io.encode_png(pixels).numpy())


def flat(photos, **settings):
    return {
        "image_dir": str(photos / "photos"),
        "data_dir": str(photos / "data"),
        "model_dir": str(photos / "run"),
        **settings,
    }


def test_scan_suggests_what_pretraining_takes(photos):
    config = config_lib.from_flat(flat(photos))
    images = image_sets.open_image_set(config.data)
    summary = scan_report.summarize(images.listing, images.index)
    taken = fitted.to_images(config, images.open("train"))
    assert (taken.data.image_size, taken.training.train_batch_size) == (64, 16)
    assert summary["suggested"] == {"--image_size": "64", "--train_batch_size": "16"}


@pytest.mark.parametrize(
    ("side", "count", "suggested"),
    [
        (28, 40, "--image_size=32 --nouse_blur --train_batch_size=16"),
        (
            36,
            400,
            "--image_size=32 --nouse_blur --valid_size=0.05 --train_batch_size=64",
        ),
        (64, 40, "--image_size=64 --train_batch_size=16"),
    ],
)
def test_scan_and_pretraining_print_the_same(
    tmp_path, side, count, suggested, caplog, capsys
):
    draw(tmp_path / "photos", [(side, side)] * count)
    config = config_lib.from_flat(flat(tmp_path, mode="scan", model_dir=None))
    workflows.run(config)
    assert f"suggested: {suggested}\n" in capsys.readouterr().out
    caplog.set_level("INFO", "simclr_tf2")
    train = image_sets.open_image_set(config.data).open("train")
    taken = fitted.to_images(config, train)
    assert f"fitted to {count} images: {suggested}" in caplog.messages
    assert taken.augmentation.use_blur == (side > 36)


@pytest.mark.parametrize(
    ("settings", "given", "blur"),
    [
        ({}, (), False),
        ({}, ("use_blur",), True),  # the default, but asked for
        ({"image_size": 64}, ("image_size",), True),
        ({"image_size": (16, 40)}, ("image_size",), True),
        ({"image_size": (16, 32)}, ("image_size",), False),
    ],
)
def test_blur_is_left_out_of_small_views_unless_it_was_given(
    tmp_path, settings, given, blur
):
    draw(tmp_path / "photos", [(30, 30)] * 3)
    config = config_lib.from_flat(flat(tmp_path, **settings))
    config = dataclasses.replace(config, given=frozenset(given))
    train = image_sets.open_image_set(config.data).open("train")
    assert fitted.to_images(config, train).augmentation.use_blur is blur


def test_what_was_given_is_kept_and_a_large_batch_is_warned_of(photos, caplog):
    config = config_lib.from_flat(flat(photos, train_batch_size=32, image_size=48))
    train = image_sets.open_image_set(config.data).open("train")
    with caplog.at_level("INFO", "simclr_tf2"):
        taken = fitted.to_images(config, train)
    assert taken.training == config.training and taken.data.image_size == 48
    assert (
        "--train_batch_size=32 makes 1 step an epoch of 40 images, and 8 of them are "
        "left out of each epoch; --train_batch_size=16 makes 2" in caplog.text
    )


def test_a_data_set_by_name_keeps_every_default():
    config = config_lib.Config(data=DataConfig(dataset="cifar10"))
    assert fitted.to_images(config, train=None) is config


def test_a_run_that_goes_on_keeps_what_it_chose(photos):
    settings = {"train_batch_size": 24, "valid_size": 0.1, "use_blur": False}
    before = config_lib.from_flat(flat(photos, **settings))
    (photos / "run").mkdir()
    text = fitted.run_folder.config_json(before)
    (photos / "run" / "config.json").write_text(text)
    asked = dataclasses.replace(
        config_lib.from_flat(flat(photos)), given=frozenset({"image_dir"})
    )
    assert fitted.with_earlier_choices(asked) is asked  # nothing was trained yet
    (photos / "run" / "checkpoint").write_text("")
    train = image_sets.open_image_set(asked.data).open("train")
    again = fitted.to_images(fitted.with_earlier_choices(asked), train)
    assert again.training.train_batch_size == 24 and again.data.valid_size == 0.1
    assert again.data.image_size == before.data.image_size == 224
    assert not again.augmentation.use_blur  # though its views are large
    other = config_lib.from_flat(flat(photos, train_batch_size=32))
    assert fitted.with_earlier_choices(other).training.train_batch_size == 32


def test_flags_txt_shows_what_was_fitted_as_a_comment(photos):
    asked = config_lib.from_flat(flat(photos))
    config = config_lib.from_flat(flat(photos, train_batch_size=16, use_blur=False))
    lines = flag_file.text(asked, config).splitlines()
    for line in (
        f"--image_dir={photos / 'photos'}",
        "# --train_batch_size=16",
        "# --use_blur=false",
    ):
        assert line in lines
