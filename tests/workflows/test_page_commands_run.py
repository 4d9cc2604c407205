"""Commands of README and docs that need no download run, in the order of the page.

Each page is followed in an empty folder with the photos that it speaks of, so paths
stay as they are written. Flags after a command make it small; where it names the
embedded data, or none after an ellipsis, ``simclr_shapes/tiny`` stands in.
"""

import re
import shutil
import tarfile

import pytest

import flags
from simclr_tf2 import workflows
from tests.command_line import ROOT
from tests.support import drawn, page_commands, program_flags

BRIEF = "--noreport --nobaselines --export_formats=keras"
SMALL = {
    "scan": "",
    "pretrain": "--resnet_depth=10 --width_multiplier=0.125 --num_proj_layers=2 "
    f"--proj_out_dim=16 --mixed_precision=off --protocols=knn {BRIEF}",
    "finetune": f"--train_epochs=1 {BRIEF},classifier,classifier_saved_model",
    "predict": "",
    "eval": "--nobaselines --noreport --features_epochs=1 --features_milestones=0.5 "
    "--semi_epochs=1 --transfer_datasets=mine=photos --transfer_steps=2 "
    "--transfer_grid=1x1 --transfer_batch_size=8",
    "embed": "",
    "export": "--export_formats=keras",
}
# What a command needs that is neither drawn nor made by a command before it.
NOT_HERE = (
    "cifar10",
    "fashion_mnist",
    "imagenet",
    "HOST",
    "voc/2007",
    "places205",
    "gs://",
    "keras.applications",
)
SHAPES = "--dataset=simclr_shapes/tiny --train_split=train --eval_split=test"


def sections(page):
    """Heading -> commands of this program below it that need no download."""
    headings = [
        (number, line.removeprefix("## "))
        for number, line in enumerate((ROOT / page).read_text().splitlines(), 1)
        if line.startswith("## ")
    ]
    found = {}
    for command in page_commands.commands(page):
        if command.program != "run.py" or any(
            word in argument for argument in command.arguments for word in NOT_HERE
        ):
            continue
        heading = [text for number, text in headings if number < command.line]
        found.setdefault(heading[-1] if heading else "", []).append(command)
    return found


def smaller(command, data_dir):
    """Arguments of a command with those that shrink it."""
    values = program_flags.absl_flags.FLAGS
    program_flags.forget()
    flags.parse(["run.py", *command.arguments])
    mode = flags.config_from_flags(values).workflow
    more = [x for x in SMALL[mode].split() if _may_change(values, x)]
    if mode != "scan" and not (values.image_dir or values.manifest):
        more += [f"--data_dir={data_dir}"]
    if values["dataset"].present and values.dataset == "simclr_shapes":
        more += ["--dataset=simclr_shapes/tiny"]
    if mode == "pretrain":  # 100 epochs become one, and 200 two
        more += [f"--train_epochs={max(1, values.train_epochs // 100)}"]
    if "..." in command.words and mode == "finetune":
        more += [*SHAPES.split(), f"--model_dir=runs/line_{command.line}"]
    return [*command.arguments, *more]


def _may_change(values, argument):
    """Not what the command itself says is exported, or measured by pretraining."""
    name = argument.removeprefix("--").partition("=")[0]
    kept = ("export_formats", "protocols", "report", "baselines")
    return name not in kept or not values[name].present


def follow(commands, data_dir):
    """Run the commands in this process, one after the other."""
    for command in commands:
        arguments = smaller(command, data_dir)
        print(f"{command}: run.py {' '.join(arguments)}")  # shown if it fails
        program_flags.forget()
        flags.parse(["run.py", *arguments])
        workflows.run(flags.config_from_flags(program_flags.absl_flags.FLAGS))
    program_flags.forget()


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An empty current folder with the photos of the pages."""
    monkeypatch.chdir(tmp_path)
    drawn.in_class_colours(tmp_path / "photos", {"cat": 24, "dog": 24}, size=(40, 44))
    drawn.in_class_colours(tmp_path / "labelled", {"cat": 12, "dog": 12}, size=(40, 44))
    drawn.in_class_colours(tmp_path / "new", {"cat": 3, "dog": 4}, size=(30, 44))
    shutil.copy("photos/cat/0.png", "query.jpg")
    return tmp_path


@pytest.mark.slow
def test_the_commands_of_readme_run(desk, data_dir):
    with tarfile.open(ROOT / "tests/golden/reference_run/files.tar.xz") as archive:
        archive.extractall(desk / "path/to", filter="data")
    found = sections("README.md")
    follow([command for part in found.values() for command in part], data_dir)
    assert sum(map(len, found.values())) >= 12
    made = sorted(path.parent.name for path in desk.glob("runs/*/results.json"))
    assert made == ["classifier", "linear", "photos", "quickstart"]
    assert (desk / "runs/converted/encoder.keras").exists()
    assert {path.name for path in desk.glob("*.*")} >= {"views.png", "near.png"}
    assert (desk / "h.parquet").exists()


def test_the_commands_of_the_page_on_data_run(desk, data_dir):
    found = sections("docs/data.md")
    assert sum(map(len, found.values())) >= 2
    follow([command for part in found.values() for command in part], data_dir)
    assert (desk / "runs/photos/results.json").exists()


def test_the_commands_of_the_page_on_the_encoder_run(desk, data_dir, finished):
    for name in ("quickstart", "photos"):
        shutil.copytree(finished[0], desk / "runs" / name)
    found = sections("docs/encoder.md")
    assert sum(map(len, found.values())) >= 3
    follow([command for part in found.values() for command in part], data_dir)
    assert (desk / "runs/quickstart/encoder_uint8.keras").exists()
    assert (desk / "h.parquet").exists() and (desk / "near.png").exists()


def test_the_commands_and_programs_of_the_page_on_labels_run(
    desk, data_dir, finished, capsys
):
    shutil.copytree(finished[0], desk / "runs" / "quickstart")
    found = sections("docs/predict.md")
    commands = [command for part in found.values() for command in part]
    assert [command.arguments[0] for command in commands] == [
        f"--mode={mode}" for mode in ("pretrain", "finetune", "predict", "eval")
    ] + ["--mode=predict"]
    follow(commands[:3], data_dir)
    rows = (desk / "labels.csv").read_text().splitlines()
    assert rows[0] == "name,true_label,label,probability" and len(rows) == 8
    shutil.copy(desk / "new" / "dog" / "0.png", "photo.jpg")
    page = (ROOT / "docs/predict.md").read_text()
    programs = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    capsys.readouterr()
    for code in programs:
        exec(compile(code, "docs/predict.md", "exec"), {})
    here, served = capsys.readouterr().out.split()[:2]
    assert here == served and here in ("cat", "dog")
    follow(commands[3:], data_dir)
    assert (desk / "runs/quickstart/classifier.keras").exists()


@pytest.mark.slow
@pytest.mark.parametrize("heading", sections("docs/evaluation.md"))
def test_the_commands_of_the_page_on_evaluation_run(heading, desk, data_dir, finished):
    commands = sections("docs/evaluation.md")[heading]
    for name in ("quickstart", "photos", "places", "inat", "early", "a", "b"):
        shutil.copytree(finished[0], desk / "runs" / name)
    follow(commands, data_dir)
