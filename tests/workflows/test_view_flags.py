"""The flags of views: what they do from the command line to a run folder."""

import json

import numpy as np
import pytest
from PIL import Image

import flags
from simclr_tf2 import augmentations, workflows
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.errors import ConfigError
from tests.command_line import TINY
from tests.support.program_flags import parsed, read

FLAGS = """--crop_area=0.3,0.9 --crop_aspect=0.8,1.25 --flip_probability=0.25
--vertical_flip_probability=0.5 --quarter_turns --color_jitter_impl=simclrv1
--color_jitter_probability=0.7 --grayscale_probability=0.1 --use_blur
--blur_probability=0.4 --blur_sigma=0.3,1.5 --solarize_probability=0.2
--solarize_threshold=0.6""".split()
RULES = augmentations.ViewRules(
    crop_area=(0.3, 0.9),
    crop_aspect=(0.8, 1.25),
    flip_probability=0.25,
    vertical_flip_probability=0.5,
    quarter_turns=True,
    jitter_probability=0.7,
    additive_brightness=True,
    grayscale_probability=0.1,
    blur_probability=0.4,
    blur_sigma=(0.3, 1.5),
    solarize_probability=0.2,
    solarize_threshold=0.6,
)
QUICK = """--strategy=one_device --train_steps=2 --train_batch_size=16 --log_steps=1
--progress=none --protocols= --export_formats= --noreport""".split()


def run(*arguments):
    values = parsed(*TINY, *QUICK, *arguments)
    return workflows.run(flags.config_from_flags(values))


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize(
    "kind", [ViewSpec.for_pairs, lambda c, s: ViewSpec.for_training(c, s, backend="tf")]
)
def test_flags_are_the_rules_of_the_views(kind):
    _, config = read(["--mode=pretrain", *FLAGS])
    assert kind(config.augmentation, (32, 32)).rules == RULES


def test_a_run_has_these_views_on_every_path_and_refuses_others(data_dir, tmp_path):
    folder, data = tmp_path / "run", f"--data_dir={data_dir}"
    run(*FLAGS, data, f"--model_dir={folder}", "--augment_backend=numba")
    kept = (folder / "flags.txt").read_text().splitlines()
    settings = json.loads((folder / "config.json").read_text())
    assert "--crop_area=0.3,0.9" in kept and settings["crop_area"] == [0.3, 0.9]
    assert "--quarter_turns=true" in kept and settings["quarter_turns"] is True
    assert "--color_jitter_impl=simclrv1" in kept
    _, config = read(["--mode=pretrain", f"--flagfile={folder / 'flags.txt'}"])
    assert ViewSpec.for_pairs(config.augmentation, 32).rules == RULES

    run(*FLAGS, data, f"--model_dir={tmp_path / 'device'}", "--augment_on=device")
    np.testing.assert_allclose(losses(tmp_path / "device"), losses(folder), rtol=1e-3)
    run(data, f"--model_dir={tmp_path / 'paper'}")
    other = losses(tmp_path / "paper")
    assert abs(other[0] - losses(folder)[0]) > 1e-3

    changed = [f for f in FLAGS if "solarize_p" not in f]
    with pytest.raises(ConfigError, match="solarize_probability"):
        run(*changed, data, f"--model_dir={folder}", "--train_steps=3", "--extend")


def test_a_preview_of_a_scan_shows_these_views(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(3):
        pixels = random.integers(0, 256, (50, 60, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    pictures = []
    for name, options in (("plain", []), ("turned", FLAGS)):
        place = tmp_path / f"{name}.png"
        arguments = ["--mode=scan", f"--image_dir={folder}", f"--preview={place}"]
        workflows.run(flags.config_from_flags(parsed(*arguments, *options)))
        pictures.append(place.read_bytes())
    assert pictures[0] != pictures[1]
