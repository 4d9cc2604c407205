"""What a run without labels shows: numbers with a direction, other runs, pictures."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from simclr_tf2 import workflows
from simclr_tf2.errors import ConfigError
from simclr_tf2.results import label_free_comparison
from tests.support.drawn import photos
from tests.support.program_flags import parsed

TINY = (
    "--mode=pretrain --image_size=32 --resnet_depth=10 --width_multiplier=0.125 "
    "--stem=stride2 --num_proj_layers=2 --proj_out_dim=16 --train_batch_size=8 "
    "--train_steps=2 --warmup_epochs=0 --nouse_blur --export_formats=keras "
    "--image_layout=flat --progress=none"
).split()


def run(*arguments):
    import flags

    return workflows.run(flags.config_from_flags(parsed(*map(str, arguments))))


@pytest.fixture(name="runs", scope="module")
def _runs(tmp_path_factory):
    """A folder of 24 unlabelled photos, and two runs on it."""
    place = tmp_path_factory.mktemp("label_free")
    photos(place / "photos", 24)
    found = []
    for seed in (0, 1):
        folder = place / f"run{seed}"
        run(
            *TINY,
            f"--image_dir={place / 'photos'}",
            f"--data_dir={place / 'data'}",
            f"--model_dir={folder}",
            f"--seed={seed}",
        )
        found.append(folder)
    return place / "photos", *found


def test_numbers_stand_beside_those_of_a_random_encoder(runs, capsys):
    _, folder, _ = runs
    found = json.loads((folder / "results.json").read_text())["label_free"]
    random = found["random_encoder"]
    assert set(random) == {name for name in found if name[:2] in ("h_", "z_")}
    assert random["h_rankme_max"] == found["h_rankme_max"]
    assert random["h_alignment"] != found["h_alignment"]
    page = (folder / "report.html").read_text()
    assert "h, random encoder" in page and "Better: higher" in page


def test_two_runs_are_compared_in_one_table(runs, capsys):
    _, here, there = runs
    found = run(
        "--mode=eval",
        f"--model_dir={here}",
        "--protocols=label_free",
        f"--compare_with={there},{here}",
    )
    first, other, itself, random = found["label_free_comparison"]
    assert [first["run"], other["run"]] == [str(here), str(there)]
    assert random["run"] == "Random encoder"
    assert itself["same_neighbours"] == 1
    assert 0 <= other["same_neighbours"] < 1
    assert other["expected_by_chance"] == pytest.approx(10 / 23)
    assert first["h_rankme"] == found["label_free"]["h_rankme"]
    printed = capsys.readouterr().out
    assert re.search(rf"{there} .* {100 * other['same_neighbours']:.1f} %", printed)
    assert "higher" in printed and "lower" in printed
    lines = printed.splitlines()
    for title in ("without labels ", "runs compared "):
        assert sum(line.startswith(title) for line in lines) == 1, printed
    assert str(there) in (here / "report.html").read_text()


def test_another_set_of_images_is_refused_before_measuring(runs, tmp_path):
    photographs, here, there = runs
    other = tmp_path / "other"
    shutil.copytree(there, other)
    kept = label_free_comparison.load(str(there), name=None)
    label_free_comparison.save(
        other / "neighbours.npz", kept.neighbours, kept.images | {"digest": "x"}
    )
    for folder, message in (
        (other, "measured on other images: there 24 images of"),
        (tmp_path / "none", "is not a folder: name a run folder"),
        (photographs, "has no label_free results"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(
                "--mode=eval",
                f"--model_dir={here}",
                "--protocols=label_free",
                f"--compare_with={folder}",
            )


def test_tensorboard_has_pairs_neighbours_and_a_projector(runs):
    _photographs, folder, _ = runs
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    tags = events.Tags()["tensors"]
    assert {"augmented pairs", "nearest images"} <= set(tags)
    text = (folder / "tensorboard" / "projector_config.pbtxt").read_text()
    for name in re.findall(r'path: "(.*?)"', text):
        assert (folder / "tensorboard" / name).exists()
    vectors = np.loadtxt(folder / "tensorboard" / "vectors.tsv")
    lines = (folder / "tensorboard" / "metadata.tsv").read_text().splitlines()
    assert len(vectors) == 24 and len(lines) == 25  # and one heading
    with Image.open(folder / "tensorboard" / "sprite.png") as sprite:
        assert sprite.size == (5 * 32, 5 * 32)  # 24 images in five rows


def test_the_nearest_images_of_a_picture_are_listed_and_drawn(runs, tmp_path, capsys):
    photographs, folder, _ = runs
    query = photographs / "003.png"
    copy = tmp_path / "copy.png"
    shutil.copy(photographs / "005.png", copy)
    found = run(
        "--mode=embed",
        f"--model_dir={folder}",
        f"--input={photographs}",
        f"--neighbours_of={query},{copy}",
        "--num_neighbours=3",
        f"--preview={tmp_path / 'near.png'}",
    )
    inside, outside = found["nearest"]
    assert "003.png" not in {row["name"] for row in inside["neighbours"]}
    assert outside["neighbours"][0]["name"] == "005.png"
    assert outside["neighbours"][0]["cosine"] == pytest.approx(1, abs=1e-5)
    for record in (inside, outside):
        cosines = [row["cosine"] for row in record["neighbours"]]
        assert len(cosines) == 3 and cosines == sorted(cosines, reverse=True)
    printed = capsys.readouterr().out
    assert f"nearest to {query}" in printed and "005.png" in printed
    with Image.open(tmp_path / "near.png") as picture:
        assert picture.width > 300


def test_a_picture_that_cannot_be_read_is_named(runs, tmp_path):
    photographs, folder, _ = runs
    with pytest.raises(ConfigError, match="neighbours_of=.*none.png cannot be read"):
        run(
            "--mode=embed",
            f"--model_dir={folder}",
            f"--input={photographs}",
            f"--neighbours_of={tmp_path / 'none.png'}",
        )
