"""Fine-tuning's settings: the checkpoint's network, fitted batch, recipe, refusals."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import flags
from simclr_tf2 import config as config_lib
from simclr_tf2 import workflows
from simclr_tf2.data import array_files, opening, subset
from simclr_tf2.errors import ConfigError
from simclr_tf2.runs import flag_file
from simclr_tf2.training import finetune_settings
from simclr_tf2.training.labelled import training_images
from tests import command_line
from tests.support import reference_layout
from tests.support.program_flags import parsed
from tests.support.reference_commands import COMMANDS, arguments

NETWORK = {
    "resnet_depth": 10,
    "width_multiplier": 0.125,
    "stem": "stride2",
    "num_proj_layers": 2,
    "proj_out_dim": 16,
    "image_size": 32,
}
RECIPE = {
    "optimizer": "momentum",
    "learning_rate": 0.05,
    "learning_rate_scaling": "linear",
    "warmup_epochs": 0.0,
    "weight_decay": 0.0,
    "momentum": 0.9,
}
REFERENCE = {
    name: config_lib.field_defaults()[name] for name in (*RECIPE, "train_batch_size")
}


def asked(*extra, mode="finetune"):
    return flags.config_from_flags(parsed(f"--mode={mode}", *extra))


def settled_by_checkpoint(*extra, mode="finetune"):
    return config_lib.to_flat(
        finetune_settings.from_checkpoint(asked(*extra, mode=mode))
    )


def images(count, classes=2):
    """So many labelled images."""
    labels = np.arange(count) % classes
    return array_files.from_arrays(np.zeros([count, 8, 8, 3], np.uint8), labels)


@pytest.mark.parametrize("place", ["folder", "prefix", "prefix alone", "moved folder"])
def test_the_network_comes_from_the_checkpoint(finished, tmp_path, place):
    source = finished[0]
    if place == "prefix":
        source = f"{finished[0]}/ckpt-8"
    elif place == "prefix alone":  # copied without its run
        for path in finished[0].glob("ckpt-8.*"):
            shutil.copy(path, tmp_path)
        source = f"{tmp_path}/ckpt-8"
    elif place == "moved folder":  # as best/ is: no config beside the checkpoint
        for path in (*finished[0].glob("ckpt-8.[!c]*"), finished[0] / "config.json"):
            shutil.copy(path, tmp_path)
        source = tmp_path
    found = settled_by_checkpoint(f"--checkpoint={source}")
    assert {name: found[name] for name in NETWORK} == NETWORK
    assert found["image_channels"] == 3
    assert {name: found[name] for name in RECIPE} == RECIPE


def test_the_network_of_a_reference_checkpoint_is_read_from_its_shapes(tmp_path):
    layout = reference_layout.Layout(18, width=0.25, cifar=True).heads(layers=2)
    values = {row.name: np.ones(row.shape, np.float32) for row in layout.rows}
    root = tf.train.Checkpoint(model=reference_layout.objects(layout.rows, values))
    prefix = root.write(str(tmp_path / "ckpt-9"))
    found = settled_by_checkpoint(f"--checkpoint={prefix}")
    expected = {
        "resnet_depth": 18,
        "width_multiplier": 0.25,
        "stem": "cifar",
        "image_size": 32,
    }
    assert {name: found[name] for name in expected} == expected
    with pytest.raises(ConfigError, match=r"--resnet_depth=50 \(there 18\)"):
        settled_by_checkpoint(f"--checkpoint={prefix}", "--resnet_depth=50")
    assert (
        settled_by_checkpoint(f"--checkpoint={prefix}", "--image_size=40")["image_size"]
        == 40
    )


def test_flags_that_name_another_network_are_refused_by_name(finished):
    with pytest.raises(ConfigError) as caught:
        settled_by_checkpoint(
            f"--checkpoint={finished[0]}",
            "--resnet_depth=10",
            "--width_multiplier=0.25",
            "--image_channels=1",
            "--resnet_d=true",
        )
    text = str(caught.value)
    assert "--width_multiplier=0.25 (there 0.125)" in text
    assert "--resnet_d=true (there auto)" in text
    assert "--image_channels=1 (there 3)" in text and "leave them out" in text
    assert "resnet_depth" not in text and "\n" not in text


def test_images_of_another_size_are_taken_as_asked(finished, caplog):
    found = settled_by_checkpoint(f"--checkpoint={finished[0]}", "--image_size=48")
    assert found["image_size"] == 48 and found["stem"] == "stride2"
    # What auto was is kept, so that the weights fit.
    trained = json.loads((finished[0] / "config.json").read_text()) | {"stem": "auto"}
    source = finetune_settings.Source(
        config_lib.from_flat(trained).model, 3, image_size=32
    )
    config = finetune_settings._with_network(asked("--image_size=64"), source)
    assert config.model.stem == "cifar"


def test_nothing_at_the_checkpoint_is_said_at_once():
    with pytest.raises(ConfigError, match="no checkpoint there"):
        settled_by_checkpoint("--checkpoint=/no/such/place")


@pytest.mark.parametrize(
    ("extra", "mode"),
    [
        (["--learning_rate=0.1"], "finetune"),
        (["--optimizer=lars"], "finetune"),
        (["--train_mode=finetune"], "train_then_eval"),
    ],
)
def test_one_optimizer_flag_or_the_references_words_keep_its_defaults(
    finished, extra, mode
):
    found = settled_by_checkpoint(f"--checkpoint={finished[0]}", *extra, mode=mode)
    given = {x.split("=")[0][2:] for x in extra}
    for name in set(RECIPE) - given:
        assert found[name] == REFERENCE[name]


@pytest.mark.parametrize("name", ["linear_cifar10", "finetune_1pct", "linear_imagenet"])
def test_the_references_commands_mean_what_they_say(finished, monkeypatch, name):
    """Nothing but the network of the checkpoint is filled in."""
    command = {k: v for k, v in COMMANDS[name].items() if k != "checkpoint"}
    config = flags.config_from_flags(parsed(*arguments(command, leftovers=False)))
    settings = {"model_dir": None, "checkpoint": "x"}
    config = dataclasses.replace(
        config_lib.from_flat(config_lib.to_flat(config) | settings), given=config.given
    )
    source = finetune_settings.Source(config.model, 3, config.data.image_size)
    monkeypatch.setattr(finetune_settings, "read_source", lambda config: source)
    found = finetune_settings.from_checkpoint(config)
    found = finetune_settings.fitted(found, images(command["train_batch_size"]), 1)
    assert found == config


def test_a_frozen_encoder_has_the_rate_and_length_of_linear_evaluation(finished):
    config = finetune_settings.from_checkpoint(
        asked(f"--checkpoint={finished[0]}", "--fine_tune_after_block=4")
    )
    assert config.optimizer.learning_rate == 0.1
    config = finetune_settings.fitted(config, images(6000), 1)
    assert config.training.train_epochs == 90


@pytest.mark.parametrize(
    ("count", "replicas", "most", "batch"),
    [
        (72, 1, 512, 32),
        (20, 1, 512, 20),
        (21, 1, 512, 20),
        (72, 3, 512, 30),
        (3, 2, 512, 2),
        (1, 2, 512, 0),
        (300, 1, 512, 32),
        (1000, 1, 512, 64),
        (5000, 1, 512, 512),
        (5000, 1, 128, 128),
    ],
)
def test_a_batch_leaves_some_steps_an_epoch(count, replicas, most, batch):
    found = finetune_settings.fitted_batch(count, replicas=replicas, most=most)
    assert found == batch


@pytest.mark.parametrize(
    ("extra", "mode", "batch", "epochs"),
    [
        ([], "finetune", 32, 100),  # few images get more epochs
        (["--train_steps=7"], "finetune", 32, 100),
        (["--train_epochs=3"], "finetune", 32, 3),
        (["--train_batch_size=16"], "finetune", 16, 75),
        (["--train_mode=finetune"], "train", 32, 100),
    ],
)
def test_batch_and_length_are_fitted_where_none_is_given(
    finished, caplog, extra, mode, batch, epochs
):
    caplog.set_level("INFO")
    config = finetune_settings.from_checkpoint(
        asked(f"--checkpoint={finished[0]}", *extra, mode=mode)
    )
    training = finetune_settings.fitted(config, images(72), 1).training
    assert (training.train_batch_size, training.train_epochs) == (batch, epochs)
    told = "--train_batch_size=32: not given, and fitted to 72 labelled images"
    assert (told in caplog.text) == (batch == 32)
    large = finetune_settings.fitted(config, images(6000), 1).training
    if mode == "train":
        assert large.train_batch_size == 512
    elif not extra:  # 64 images of two views are what pretraining had at once
        assert (large.train_batch_size, large.train_epochs) == (128, 30)


def test_a_run_that_goes_on_keeps_what_its_start_chose(finished, tmp_path):
    command = [f"--checkpoint={finished[0]}", f"--model_dir={tmp_path}"]
    first = finetune_settings.from_checkpoint(asked(*command))
    first = finetune_settings.fitted(first, images(72), 1)
    flat = config_lib.to_flat(first) | {"eval_split": "test"}
    (tmp_path / "config.json").write_text(json.dumps(flat))
    (tmp_path / "checkpoint").write_text("")  # something was trained
    again = finetune_settings.from_checkpoint(asked(*command))
    again = finetune_settings.fitted(again, images(3000), 1)
    assert config_lib.to_flat(again) == flat
    other = finetune_settings.from_checkpoint(asked(*command, "--train_batch_size=8"))
    assert other.training.train_batch_size == 8  # which run_folder.check refuses


def test_flags_txt_says_what_was_chosen(finished):
    config = asked(f"--checkpoint={finished[0]}")
    chosen = finetune_settings.fitted(
        finetune_settings.from_checkpoint(config), images(72), 1
    )
    lines = flag_file.text(config, chosen).splitlines()
    for line in ("--resnet_depth=10", "--train_batch_size=32", "--learning_rate=0.05"):
        assert f"# {line}" in lines
    assert "--mode=finetune" in lines and len(lines) == len(
        flag_file.text(config).splitlines()
    )


def draw_photos(folder, count=40, **splits):
    """PNG files of two classes, bright and dark, in folders by class."""
    random = np.random.default_rng(0)
    for split, number in (splits or {"": count}).items():
        for i in range(number):
            name = ("bright", "dark")[i % 2]
            pixels = random.integers(0, 100, [32, 32, 3]) + 150 * (name == "bright")
            path = folder / split / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tf.io.encode_png(pixels.astype(np.uint8)).numpy())
    return folder


def quick(finished, photos, folder, *extra):
    """The command of README, but for its length."""
    return asked(
        f"--checkpoint={finished[0]}",
        f"--image_dir={photos}",
        f"--model_dir={folder}",
        f"--data_dir={folder.parent / 'data'}",
        "--progress=none",
        "--strategy=one_device",
        *extra,
    )


def test_a_small_labelled_folder_is_fine_tuned_at_the_first_try(
    finished, tmp_path, caplog
):
    caplog.set_level("INFO")
    photos, folder = draw_photos(tmp_path / "photos"), tmp_path / "out"
    extra = ("--train_epochs=20", "--finetune_validation=0.25", "--export_formats=")
    extra += ("--monitor_epochs=1",)  # each epoch, however short
    config = quick(finished, photos, folder, *extra)
    document = workflows.run(config)
    record = document["results"]["Fine-tuned network/supervised"]
    assert record["test_split"] == "validation" and record["value"] == 1.0
    assert f"a tenth of {photos}" in caplog.text
    assert "network of" in caplog.text and "fitted to" in caplog.text
    text = (folder / "report.html").read_text()
    for words in ("SimCLR fine-tuned on", "Accuracy of the classifier", "random crops"):
        assert words in text
    assert "Contrastive" not in text and "confusion" in text.lower()
    with np.load(folder / "predictions.npz") as kept:
        assert len(kept["labels"]) == record["test_examples"]
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    watched = [x["validation_top1"] for x in lines if "validation_top1" in x]
    assert len(watched) >= 20 and watched[-1] == 1.0
    assert not any("eval_top1" in line for line in lines)
    # The same command once more finds it finished.
    assert workflows.run(config) == document
    config = config_lib.from_flat(json.loads((folder / "config.json").read_text()))
    split = opening.open_split(config.data, "train")
    counts = np.bincount(subset.labels_of(split))
    rest = split.num_examples - sum(max(1, round(count / 4)) for count in counts)
    assert training_images(config, split).num_examples == rest
    batch = config.training.train_batch_size
    assert document["step"] == 20 * (rest // batch)  # passes of whole batches


def test_without_validation_the_split_test_is_scored(finished, tmp_path, caplog):
    caplog.set_level("INFO")
    photos = draw_photos(tmp_path / "photos", train=20, test=8)
    settings = ("--train_steps=2", "--export_formats=", "--noreport")
    config = quick(finished, photos, tmp_path / "out", *settings)
    document = workflows.run(config)
    (record,) = document["results"].values()
    assert (record["test_split"], record["test_examples"]) == ("test", 8)
    assert "there is no split 'validation'" in caplog.text
    assert not (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("photos", "extra", "message"),
    [
        ({"count": 40}, ["--width_multiplier=0.25"], "width_multiplier=0.25 .there"),
        ({"train": 8, "unlabeled": 4}, ["--eval_split=test"], "no split 'test'"),
        ({"count": 40}, ["--train_batch_size=4096"], "less than one batch"),
        ({"count": 40}, ["--finetune_validation=0.6"], "finetune_validation must"),
        ({"count": 40}, ["--train_split=unlabeled"], "no split 'unlabeled'"),
        ({"count": 40}, ["--image_layout=flat"], "one folder for each class"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    finished, tmp_path, photos, extra, message
):
    draw_photos(tmp_path / "photos", **photos)
    with pytest.raises(ConfigError, match=message):
        workflows.run(quick(finished, tmp_path / "photos", tmp_path / "out", *extra))
    assert not (tmp_path / "out").exists()


def test_damaged_weights_are_refused_before_anything_is_written(finished, tmp_path):
    photos = draw_photos(tmp_path / "photos")
    broken = tmp_path / "broken"
    shutil.copytree(finished[0], broken)
    for path in broken.glob("ckpt-12.data-*"):
        path.write_bytes(path.read_bytes()[:1000])
    config = quick((broken,), photos, tmp_path / "out", "--train_steps=2")
    with pytest.raises(ConfigError, match="damaged or incomplete"):
        workflows.run(config)
    assert not (tmp_path / "out").exists()


def test_images_that_are_trained_on_and_scored_are_warned_of(
    finished, tmp_path, caplog
):
    photos = draw_photos(tmp_path / "photos", train=20, test=8)
    settings = ("--train_steps=1", "--export_formats=", "--noreport")
    extra = ("--train_split=all", "--eval_split=test")
    config = quick(finished, photos, tmp_path / "out", *settings, *extra)
    document = workflows.run(config)
    assert "8 of the 8 images of --eval_split=test are trained on" in caplog.text
    assert document["images_in_both_splits"] == 8


@pytest.mark.slow
def test_from_photos_to_a_fine_tuned_network_by_the_command_line(tmp_path):
    """Unlabelled photos, a labelled folder, two commands; then measured again."""
    photos = draw_photos(tmp_path / "photos")
    labelled = draw_photos(tmp_path / "labelled", count=60)
    data = f"--data_dir={tmp_path / 'data'}"
    network = ["--image_size=40", "--resnet_depth=10", "--width_multiplier=0.125"]
    first = command_line.run(
        "--mode=pretrain",
        f"--image_dir={photos}",
        "--image_layout=flat",
        *network,
        "--train_batch_size=32",
        "--train_steps=3",
        f"--model_dir={tmp_path / 'run'}",
        data,
    )
    assert first.returncode == 0, first.stderr[-3000:]
    command = [
        "--mode=finetune",
        f"--checkpoint={tmp_path / 'run'}",
        f"--image_dir={labelled}",
        f"--model_dir={tmp_path / 'classifier'}",
        data,
    ]
    refused = command_line.run(*command, "--resnet_depth=18")
    assert refused.returncode == 2
    assert "--resnet_depth=18 (there 10)" in refused.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "classifier").exists()
    done = command_line.run(*command, "--train_epochs=3")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "ResNet-10, width 0.125" in done.stderr and "40 px" in done.stderr
    for name in ("report.html", "encoder.keras", "results.json", "predictions.npz"):
        assert (tmp_path / "classifier" / name).exists()
    again = command_line.run(
        "--mode=eval",
        f"--model_dir={tmp_path / 'classifier'}",
        "--protocols=",
        "--eval_name=again",
        data,
    )
    assert again.returncode == 0, again.stderr[-3000:]
    key = "Fine-tuned network/supervised"
    values = [
        json.loads((tmp_path / "classifier" / name).read_text())["results"][key]
        for name in ("results.json", "results_again.json")
    ]
    assert values[0]["value"] == values[1]["value"]
