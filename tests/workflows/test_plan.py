"""``--mode=plan`` through the command line: every ImageNet recipe, mistakes, files."""

import json
import re

import pytest
import tensorflow as tf

from tests import command_line
from tests.command_line import ROOT
from tests.support import page_commands

RECIPES = sorted(
    path.stem
    for path in (ROOT / "recipes").glob("*.flags")
    if "--dataset=imagenet2012" in path.read_text()
)
FINE_TUNING = {name for name in RECIPES if "finetune" in name or "linear" in name}


def plan(capsys, *arguments):
    """Exit code, stdout and stderr of ``--mode=plan``, in this process."""
    code, errors = command_line.main(*arguments)
    return code, capsys.readouterr().out, errors


def test_there_are_recipes_of_imagenet():
    assert len(RECIPES) >= 18 and len(FINE_TUNING) == 8


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_plan_is_printed_for_a_recipe(capsys, recipe):
    code, out, errors = plan(capsys, f"--flagfile={recipe}", "--mode=plan")
    assert code == 0, errors
    kind = "fine-tuning" if recipe in FINE_TUNING else "pretraining"
    assert out.startswith(f"Plan of {kind} on imagenet2012")
    for name in ("tpu_v3_32", "tpu_v4_128", "8xh100", "1xa100", "2_cpu_cores"):
        assert f"\n{name}: tightest limit is " in out
    rows = {line.split("   ")[0].strip(): line for line in out.splitlines()}
    hours = rows["the run, hours"].removeprefix("the run, hours").split()
    assert len(hours) == 5
    assert all(float(value.replace(",", "")) > 0 for value in hours)
    assert "All numbers are estimates" in out


def test_the_plan_of_the_published_run_is_its_six_hours(capsys):
    arguments = ("--flagfile=imagenet_r50_100ep", "--mode=plan")
    _, out, _ = plan(capsys, *arguments, "--hardware=tpu_v3_32")
    (line,) = [line for line in out.splitlines() if line.startswith("the run, hours")]
    assert float(line.split()[-1]) == pytest.approx(6, rel=0.05)


def test_a_recipe_of_fine_tuning_can_be_planned_as_pretraining(capsys):
    arguments = ("--flagfile=finetune_1pct", "--mode=plan", "--hardware=1xa100")
    _, out, _ = plan(capsys, *arguments, "--train_mode=pretrain")
    assert out.startswith("Plan of pretraining")


def test_a_plan_is_written_only_where_output_says(capsys, tmp_path):
    path = tmp_path / "plans" / "plan.json"
    arguments = (
        "--mode=plan",
        "--dataset=cifar10",
        "--resnet_depth=18",
        "--image_size=32",
        "--hardware=1xa100,8xh100",
        f"--model_dir={tmp_path / 'run'}",
    )
    assert plan(capsys, *arguments)[0] == 0
    assert list(tmp_path.iterdir()) == []
    code, out, _ = plan(capsys, *arguments, f"--output={path}")
    assert code == 0 and f"{path}: the same" in out
    found = json.loads(path.read_text())
    assert found["images"]["count"] == 50_000
    assert set(found["hardware"]) == {"1xa100", "8xh100"}
    assert list(tmp_path.iterdir()) == [path.parent]


def test_a_plan_is_written_to_a_remote_address(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = "ram://plans/plan.json"
    arguments = ("--mode=plan", "--dataset=cifar10", "--hardware=1xa100")
    code, out, _ = plan(capsys, *arguments, f"--output={place}")
    assert code == 0 and f"{place}: the same" in out
    found = json.loads(tf.io.read_file(place).numpy())
    assert set(found["hardware"]) == {"1xa100"}
    assert not (tmp_path / "ram:").exists()


def test_ten_thousand_devices_are_planned_on_paper(capsys):
    arguments = ("--flagfile=imagenet_r50_100ep", "--mode=plan")
    more = ("--hardware=tpu_v4_128", "--plan_scaling=10000")
    code, out, _ = plan(capsys, *arguments, *more)
    assert code == 0
    assert "What breaks first:" in out and "\n10,000 " in out


def test_the_page_shows_what_its_commands_print(capsys):
    page = (ROOT / "docs/plan.md").read_text()
    commands = [
        x
        for x in page_commands.commands("docs/plan.md")
        if "--mode=plan" in x.arguments
    ]
    shown = re.findall(r"```text\n(.*?)\n```", page, re.DOTALL)
    assert len(commands) == len(shown) == 2
    for command, block in zip(commands, shown, strict=True):
        code, out, errors = plan(capsys, *command.arguments)
        assert code == 0, errors
        assert out.rstrip().endswith(block)


def test_the_number_of_images_is_that_given_known_or_counted(capsys, tmp_path):
    import numpy as np

    path = tmp_path / "images.npz"
    np.savez(path, images=np.zeros([48, 8, 8, 3], np.uint8), labels=np.arange(48) % 3)
    small = ("--mode=plan", "--resnet_depth=18", "--hardware=2_cpu_cores")
    own = (*small, f"--dataset={path}", "--train_split=all", "--image_size=8")
    own = (*own, "--train_batch_size=16")
    _, out, errors = plan(capsys, *own)
    assert "48 images (counted)" in out, errors
    _, out, _ = plan(capsys, *own, "--plan_examples=1000")
    assert "1,000 images (--plan_examples)" in out
    _, out, _ = plan(capsys, *small, "--dataset=imagenet2012")
    assert "1,281,167 images (catalogue of tensorflow-datasets)" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hardware=8xh200"], "did you mean 8xh100?"),
        (["--hardware="], "--hardware must be a name from recipes/hardware"),
        (
            ["--hardware=tpu_v3_32", "--train_batch_size=100"],
            "--hardware=tpu_v3_32: --train_batch_size=100 must be divisible by the 32",
        ),
        (["--hardware=1xa100", "--micro_batch_size=100"], "must divide the 512 images"),
        (
            ["--hardware=8xh100", "--plan_devices=7"],
            "must be divisible by the 7 replicas",
        ),
        (
            ["--hardware=tpu_v3_32", "--plan_scaling=8"],
            "must be more than the 32 devices",
        ),
        (["--hardware=1xa100", "--output=plan.csv"], "a path that ends in .json"),
        (
            [
                "--hardware=1xa100",
                "--dataset=simclr_shapes",
                "--train_split=train+test",
            ],
            "is not known; pass --plan_examples=N",
        ),
        (["--hardware=1xa100", "--dataset=food101/x"], "or pass --plan_examples=N"),
        (["--plan_scaling=-1"], "--plan_scaling must be from 0"),
        (["--plan_devices=-1"], "--plan_devices must be 0 or greater"),
    ],
    ids=str,
)
def test_a_plan_that_cannot_be_is_refused_in_one_line(capsys, arguments, message):
    code, out, errors = plan(capsys, "--mode=plan", *arguments)
    assert code == 2 and out == ""
    assert message in errors.splitlines()[-1]


def test_json_is_no_form_of_representations(capsys):
    arguments = ("--mode=embed", "--model_dir=x", "--input=y", "--output=h.json")
    code, _, errors = plan(capsys, *arguments)
    assert code == 2 and "ends in .npz, .csv, .parquet or / in --mode=embed" in errors


def test_fine_tuning_is_planned_for_its_part_of_the_labels(capsys):
    arguments = ("--flagfile=finetune_100pct", "--mode=plan", "--hardware=1xa100")
    _, out, _ = plan(capsys, *arguments, "--label_fraction=0.1")
    assert "128,117 images" in out
    _, out, _ = plan(capsys, *arguments, "--labels_per_class=10")
    assert "10,000 images" in out


def test_automatic_precision_is_bfloat16_where_the_hardware_has_it(capsys):
    arguments = ("--flagfile=quickstart", "--mode=plan")
    _, out, _ = plan(capsys, *arguments, "--hardware=2_cpu_cores,8xv100")
    (line,) = [line for line in out.splitlines() if line.startswith("precision")]
    assert line.split() == ["precision", "bfloat16", "float32"]
