"""Data that changed between two starts of a run is said or refused, never silent."""

import dataclasses
import json
import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from simclr_tf2 import files
from simclr_tf2.config import Config, DataConfig, TrainingConfig
from simclr_tf2.data import identity, opening, pipeline, records
from simclr_tf2.errors import ConfigError
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs import history as run_history


def draw(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path):
    for number in range(20):
        draw(
            tmp_path / "photos" / ("cats", "dogs")[number % 2] / f"{number}.png", number
        )
    return tmp_path / "photos"


def config_of(photos, tmp_path, **training):
    return Config(
        model_dir=str(tmp_path / "run"),
        data=DataConfig(
            image_dir=str(photos), data_dir=str(tmp_path / "data"), train_split="all"
        ),
        training=TrainingConfig(**training),
    )


def stopped_at_step_3(config):
    """A run folder as training leaves it."""
    train = opening.open_split(config.data, "all")
    folder = run_folder.create(config)
    classes = train.class_names
    run_history.write(folder, train, classes=classes, start_step=0, total_steps=8)
    for path in (folder.checkpoint_state, folder.checkpoint_index(3)):
        path.write_text("")
    return folder


def check(config, total_steps=8, **options):
    from simclr_tf2.data import image_sets

    image_sets._open_image_set.cache_clear()  # another process would look again
    run_folder.check(config)
    train = opening.open_split(config.data, "all")
    run_history.check(
        config, train, classes=train.class_names, total_steps=total_steps, **options
    )
    return train


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.path.iterdir()}


def test_the_same_images_and_classes_are_nothing_to_talk_about(
    photos, tmp_path, caplog
):
    config = config_of(photos, tmp_path)
    stopped_at_step_3(config)
    with caplog.at_level(logging.INFO):
        check(config)
    assert "image" not in caplog.text.replace("image_index", "")


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda p: shutil.copytree(p / "cats", p / "ants"), r"\(new: ants\)"),
        (lambda p: (p / "cats").rename(p / "ants"), r"\(new: ants; gone: cats\)"),
        (lambda p: (p / "dogs").rename(p / "Xs"), r"\(new: Xs; gone: dogs\)"),
    ],
    ids=["added", "renamed first", "renamed last"],
)
def test_other_classes_are_refused_by_name_and_nothing_is_written(
    photos, tmp_path, change, difference
):
    config = config_of(photos, tmp_path)
    folder = stopped_at_step_3(config)
    before = contents(folder)
    change(photos)
    with pytest.raises(ConfigError, match=f"other classes {difference}") as caught:
        check(config)
    assert "\n" not in str(caught.value) and contents(folder) == before


def test_classes_in_another_order_are_refused(photos, tmp_path):
    config = config_of(photos, tmp_path)
    folder = stopped_at_step_3(config)
    train = opening.open_split(config.data, "all")
    with pytest.raises(ConfigError, match="another order: there cats, dogs, now dogs"):
        run_history.check(config, train, classes=("dogs", "cats"), total_steps=8)
    assert json.loads(folder.classes.read_text()) == ["cats", "dogs"]


def test_a_run_of_an_earlier_version_is_held_to_its_classes(photos, tmp_path):
    config = config_of(photos, tmp_path)
    folder = stopped_at_step_3(config)
    folder.history.unlink()
    check(config)
    (photos / "cats").rename(photos / "ants")
    with pytest.raises(ConfigError, match="new: ants"):
        check(config)


def test_images_that_came_or_went_are_said_with_what_it_means(photos, tmp_path, caplog):
    config = config_of(photos, tmp_path)
    stopped_at_step_3(config)
    for number in range(8):
        draw(photos / "cats" / f"more{number}.png", 100 + number)
    check(config, total_steps=9)
    assert "20 images before, 28 now. The run goes on from step 3" in caplog.text
    assert "last step moves from 8 to 9" in caplog.text
    caplog.clear()
    for number in range(8):
        (photos / "cats" / f"more{number}.png").unlink()
    (photos / "cats" / "0.png").rename(photos / "cats" / "zero.png")
    check(config)
    assert "20 images as before, but names or sizes have changed" in caplog.text


def test_a_run_that_is_trained_to_its_end_is_not_said_to_go_on(
    photos, tmp_path, caplog
):
    config = config_of(photos, tmp_path)
    stopped_at_step_3(config)
    (photos / "cats" / "0.png").rename(photos / "cats" / "zero.png")
    check(config, total_steps=3)
    assert "The run is trained to its last step, 3" in caplog.text
    assert "goes on" not in caplog.text


def test_labels_chosen_among_other_images_are_refused(photos, tmp_path):
    config = config_of(photos, tmp_path)
    stopped_at_step_3(config)
    draw(photos / "cats" / "more.png", 100)
    with pytest.raises(ConfigError, match="20 images before, 21 now.*were chosen"):
        check(config, fixed=True)


def test_a_folder_that_was_moved_goes_on_only_with_the_same_images(
    photos, tmp_path, caplog
):
    config = config_of(photos, tmp_path)
    stopped_at_step_3(config)
    elsewhere = tmp_path / "disk" / "pictures"
    elsewhere.parent.mkdir()
    photos.rename(elsewhere)
    moved = config_of(elsewhere, tmp_path)
    with caplog.at_level(logging.INFO):
        check(moved)
    assert "the same 20 images as in" in caplog.text
    draw(elsewhere / "cats" / "more.png", 100)
    with pytest.raises(ConfigError, match="20 images before, 21 now, and a run goes"):
        check(moved)


def test_before_the_first_checkpoint_all_may_change(photos, tmp_path, caplog):
    config = config_of(photos, tmp_path)
    folder = stopped_at_step_3(config)
    folder.checkpoint_index(3).unlink()
    folder.checkpoint_state.unlink()
    (photos / "cats").rename(photos / "ants")
    other = dataclasses.replace(config, seed=7)
    check(other)
    assert "no checkpoint yet: it is started anew" in caplog.text


def test_another_length_is_refused_with_both_ways_to_go_on(photos, tmp_path):
    config = config_of(photos, tmp_path, train_epochs=2.0)
    folder = stopped_at_step_3(config)
    with pytest.raises(ConfigError, match="train_epochs") as caught:
        check(config_of(photos, tmp_path, train_epochs=4.0), 16)
    assert "--extend" in str(caught.value)
    assert f"--checkpoint={folder} --model_dir=NEW" in str(caught.value)


def test_extend_goes_on_to_another_length_and_to_nothing_else(photos, tmp_path, caplog):
    stopped_at_step_3(config_of(photos, tmp_path, train_epochs=2.0))
    longer = config_of(photos, tmp_path, train_epochs=4.0, extend=True)
    with caplog.at_level(logging.INFO):
        check(longer, 16)
    assert "from step 3 on to step 16 (it was 8)" in caplog.text
    with pytest.raises(ConfigError, match="trained for 3 steps already"):
        check(longer, 2)
    with pytest.raises(ConfigError, match="holds another run.*seed"):
        check(dataclasses.replace(longer, seed=7), 16)


def test_the_history_keeps_each_change_and_the_step_it_came_at(photos, tmp_path):
    config = config_of(photos, tmp_path)
    folder = stopped_at_step_3(config)

    def start(step, total):
        train = check(config, total)
        run_history.write(
            folder,
            train,
            classes=train.class_names,
            start_step=step,
            total_steps=total,
        )
        return [
            (s["from_step"], s["last_step"], s["images"]["count"])
            for s in run_history.starts(folder)
        ]

    assert start(3, 8) == [(0, 8, 20)]
    assert start(5, 16) == [(0, 8, 20), (5, 16, 20)]
    draw(photos / "cats" / "more.png", 100)
    assert start(6, 16) == [(0, 8, 20), (5, 16, 20), (6, 16, 21)]
    assert start(4, 16) == [(0, 8, 20), (4, 16, 21)]  # from an older checkpoint


def test_results_that_further_training_outdates_are_no_longer_final(photos, tmp_path):
    config = config_of(photos, tmp_path)
    folder = stopped_at_step_3(config)
    files.write_json(folder.results, {"step": 3, "finished": True})
    run_folder.create(config)
    assert json.loads(folder.results.read_text())["finished"]
    run_folder.create(config_of(photos, tmp_path, train_epochs=9.0))
    assert "finished" not in json.loads(folder.results.read_text())


def test_the_digest_of_images_is_of_names_and_sizes_not_of_the_place(photos, tmp_path):
    def digest(folder):
        data = DataConfig(image_dir=str(folder), data_dir=str(tmp_path / "data"))
        return identity.images_digest(opening.open_split(data, "all").source)

    first = digest(photos)
    copy = tmp_path / "copy"
    shutil.copytree(photos, copy)
    assert digest(copy) == first
    shutil.copytree(photos, tmp_path / "other")
    (tmp_path / "other/cats/0.png").rename(tmp_path / "other/cats/a.png")
    assert digest(tmp_path / "other") != first


def test_a_run_whose_images_were_streamed_in_another_order_is_warned_of(
    photos, tmp_path, monkeypatch, caplog
):
    config = config_of(photos, tmp_path)
    folder = stopped_at_step_3(config)  # as an earlier version leaves it
    monkeypatch.setattr(pipeline, "is_readable_by_index", lambda *_: False)
    train = check(config)
    assert "streamed in another order than at the last start" in caplog.text
    assert "goes on from step 3" in caplog.text
    classes = train.class_names
    run_history.write(folder, train, classes=classes, start_step=3, total_steps=8)
    assert [s.get("stream_order") for s in run_history.starts(folder)] == [None, 2]
    caplog.clear()
    check(config)
    assert "another order" not in caplog.text
    monkeypatch.setattr(records, "ORDER_VERSION", 3)
    check(config)
    assert "another order" in caplog.text
