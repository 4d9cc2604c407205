"""What is fitted to own images, and that scan suggests the same."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

import flags
from simclr_tf2 import config as config_lib
from simclr_tf2 import workflows
from simclr_tf2.config import DataConfig
from simclr_tf2.data import fitting, image_sets
from simclr_tf2.errors import ConfigError
from simclr_tf2.runs import flag_file
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.training import fitted
from tests.support.program_flags import parsed


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
    assert fitting.image_size(*shape, most=96) == min(expected, 96)


@pytest.mark.parametrize(
    ("recipe", "device", "expected"),
    [("auto", "cpu", 96), ("auto", "gpu", 224), ("reference", "cpu", 224)],
)
def test_auto_takes_smaller_views_of_large_images_on_a_cpu(
    tmp_path, recipe, device, expected
):
    draw(tmp_path / "photos", [(300, 400)] * 3)
    asked = config_lib.from_flat(flat(tmp_path, recipe=recipe))
    found = fitted.to_images(asked, train_of(asked), device=device)
    assert found.data.image_size == expected
    given = config_lib.from_flat(flat(tmp_path, recipe=recipe, image_size=160))
    found = fitted.to_images(given, train_of(given), device=device)
    assert found.data.image_size == 160


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


def train_of(config):
    return image_sets.open_image_set(config.data).open("train")


def flat(photos, **settings):
    return {
        "image_dir": str(photos / "photos"),
        "data_dir": str(photos / "data"),
        "model_dir": str(photos / "run"),
        **settings,
    }


@pytest.mark.parametrize("recipe", [None, "reference"])
def test_scan_suggests_what_pretraining_takes(photos, recipe):
    config = config_lib.from_flat(flat(photos, recipe=recipe))
    taken = fitted.to_images(config, train_of(config))
    assert (taken.data.image_size, taken.training.train_batch_size) == (64, 16)
    scan = dataclasses.replace(config, mode="scan", model_dir=str(photos / "scan"))
    suggested = workflows.run(scan)["suggested"]
    assert suggested == flag_file.chosen_flags(taken)
    assert ("--resnet_depth" in suggested) is (recipe is None)
    written = json.loads((photos / "scan" / "scan.json").read_text())["suggested"]
    assert written == suggested


@pytest.mark.parametrize(
    ("side", "count", "suggested"),
    [
        (28, 40, "--image_size=32 --nouse_blur --train_batch_size=16"),
        (
            36,
            400,
            "--valid_size=0.05 --image_size=32 --nouse_blur --train_batch_size=64",
        ),
        (64, 40, "--image_size=64 --train_batch_size=16"),
    ],
)
def test_scan_and_pretraining_print_the_same(
    tmp_path, side, count, suggested, caplog, capsys
):
    draw(tmp_path / "photos", [(side, side)] * count)
    settings = {"mode": "scan", "model_dir": None, "recipe": "reference"}
    config = config_lib.from_flat(flat(tmp_path, **settings))
    workflows.run(config)
    assert f"suggested: {suggested}\n" in capsys.readouterr().out
    caplog.set_level("INFO", "simclr_tf2")
    train = image_sets.open_image_set(config.data).open("train")
    taken = fitted.to_images(config, train)
    assert taken.given == {"mode", "image_dir", "data_dir", "recipe"}
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
    settings = {"train_batch_size": 32, "image_size": 48, "recipe": "reference"}
    config = config_lib.from_flat(flat(photos, **settings))
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
    (photos / "run" / "results.json").write_text("{}")
    train = image_sets.open_image_set(asked.data).open("train")
    again = fitted.to_images(fitted.with_earlier_choices(asked), train)
    assert again.training.train_batch_size == 24 and again.data.valid_size == 0.1
    assert again.data.image_size == before.data.image_size == 224
    assert not again.augmentation.use_blur  # though its views are large
    # A run of 0.2.0 had no recipe, and no later version puts one on it.
    assert (again.recipe, again.model) == ("reference", before.model)
    assert (again.optimizer, again.loss) == (before.optimizer, before.loss)
    run_folder.check(again)
    auto = fitted.with_earlier_choices(dataclasses.replace(asked, recipe="auto"))
    with pytest.raises(ConfigError, match=r"recipe \(there not set, now auto\)"):
        run_folder.check(auto)
    other = config_lib.from_flat(flat(photos, train_batch_size=32))
    assert fitted.with_earlier_choices(other).training.train_batch_size == 32


def test_a_data_set_by_name_keeps_its_choices_when_it_goes_on(photos):
    """Also where its run is older than recipes."""
    settings = flat(photos, image_dir=None, dataset="cifar10")
    before = config_lib.from_flat(settings)
    (photos / "run").mkdir()
    text = fitted.run_folder.config_json(before)
    (photos / "run" / "config.json").write_text(text)
    (photos / "run" / "results.json").write_text("{}")
    for recipe in (None, "reference"):
        asked = config_lib.from_flat({**settings, "recipe": recipe})
        run_folder.check(fitted.with_earlier_choices(asked))


def test_auto_goes_on_with_its_choices_on_another_device_and_with_more_images(photos):
    asked = config_lib.from_flat(flat(photos, temperature=0.3))
    before = fitted.to_images(asked, train_of(asked))
    assert before.recipe == "auto" and before.optimizer.learning_rate == 0.02
    (photos / "run").mkdir()
    text = fitted.run_folder.config_json(before)
    (photos / "run" / "config.json").write_text(text)
    (photos / "run" / "results.json").write_text("{}")
    draw(photos / "photos" / "more", [(64, 64)] * 200)
    again = fitted.with_earlier_choices(asked)
    again = fitted.to_images(again, train_of(again), replicas=2, device="gpu")
    assert again == before
    run_folder.check(again)
    other = config_lib.from_flat(flat(photos, recipe="reference"))
    with pytest.raises(ConfigError, match=r"recipe \(there auto, now reference\)"):
        run_folder.check(fitted.with_earlier_choices(other))


def test_auto_chooses_everything_once_and_says_so(photos, caplog):
    caplog.set_level("INFO", "simclr_tf2")
    config = config_lib.from_flat(flat(photos, num_views=3))
    taken = fitted.to_images(config, train_of(config))
    assert taken.chosen == {*fitted.IMAGES, *fitted.LEARNING} - {"num_views"}
    assert taken.given == config_lib.given_settings(config)
    assert taken.augmentation.num_views == 3 and not taken.model.zero_init_residual
    line, flags = caplog.messages
    assert line == (
        "recipe auto for 40 images of 64 px on a CPU: ResNet-10 x 0.25, 3 views, "
        "batch 16, Muon 0.02, 800 epochs (1,600 steps); flags you give win, "
        "--recipe=reference takes the paper's settings"
    )
    assert flags.startswith("chosen: --image_size=64 --train_batch_size=16") or (
        "--image_size=64" in flags and "--nozero_init_residual" in flags
    )
    assert "--num_views" not in flags  # it was given
    caplog.clear()
    assert fitted.to_images(taken, train_of(config)) == taken and not caplog.messages


@pytest.mark.parametrize("name", fitted.LEARNING)
def test_each_given_setting_wins(photos, name):
    """Also with its default, which counts as given on the command line."""
    config = config_lib.from_flat(flat(photos))
    config = dataclasses.replace(config, given=frozenset({"image_dir", name}))
    taken = config_lib.to_flat(fitted.to_images(config, train_of(config)))
    assert taken[name] == config_lib.field_defaults()[name]


def test_a_checkpoint_brings_its_network(photos):
    network = {"resnet_depth": 18, "stem": "auto", "sk_ratio": 0.1, "image_size": 32}
    before = config_lib.from_flat(flat(photos, **network))
    (photos / "first").mkdir()
    text = fitted.run_folder.config_json(before)
    (photos / "first" / "config.json").write_text(text)
    prefix = str(photos / "first" / "ckpt-3")
    tf.train.Checkpoint(step=tf.Variable(3)).write(prefix)
    config = config_lib.from_flat(flat(photos, checkpoint=prefix))
    model = fitted.to_images(config, train_of(config)).model
    assert (model.resnet_depth, model.sk_ratio, model.stem) == (18, 0.1, "cifar")
    assert (model.num_proj_layers, model.proj_out_dim) == (3, 128)


def test_a_data_set_by_name_takes_auto_on_request(photos):
    config = config_lib.from_flat(flat(photos))
    train = train_of(config)
    by_name = config_lib.Config(data=DataConfig(dataset="cifar10"), recipe="auto")
    taken = fitted.to_images(by_name, train, device="gpu")
    assert taken.model.resnet_depth == 18 and "stem" in taken.chosen


def test_a_recipe_by_name_is_of_the_command_line(photos):
    config = config_lib.from_flat(flat(photos, recipe="quickstart"))
    with pytest.raises(ConfigError, match="only the command line reads recipes"):
        fitted.to_images(config, train_of(config))


def test_flags_txt_starts_the_same_run_on_another_device(photos, tmp_path):
    asked = config_lib.from_flat(flat(photos, optimizer="adamw"))
    config = fitted.to_images(asked, train_of(asked))
    text = flag_file.text(asked, config)
    assert text.startswith("# chosen by --recipe=auto: ")
    assert "\n--resnet_d=true\n" in text and "\n--optimizer=adamw\n" in text
    (tmp_path / "flags.txt").write_text(text)
    again = flags.config_from_flags(parsed(f"--flagfile={tmp_path / 'flags.txt'}"))
    draw(photos / "photos" / "more", [(128, 128)] * 400)
    again = fitted.to_images(again, train_of(again), replicas=4, device="gpu")
    assert again == config
