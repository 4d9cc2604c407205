"""The wheel: one name in site-packages, and a program that runs from any folder."""

import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests import command_line
from tests.command_line import ROOT
from tests.support.wheel_sources import SOURCES, TEXTS

pytestmark = pytest.mark.slow
RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.flags"))
TINY = (
    "--flagfile=quickstart --dataset=simclr_shapes/tiny --train_steps=2 "
    "--train_batch_size=16 --mixed_precision=off --resnet_depth=10 "
    "--width_multiplier=0.125 --protocols=knn --nobaselines --noreport "
    "--export_formats=keras --model_dir=run"
).split()


def call(command, folder, **extra):
    """Run a command that must succeed; return what it prints."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env=command_line.environment(PYTHONPATH=None, **extra),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def build(kind, folder):
    """Build a distribution of the project in ``folder``; return its path."""
    code = f"from setuptools import build_meta as b; print(b.build_{kind}('dist'))"
    name = call([sys.executable, "-c", code], folder).splitlines()[-1]
    return folder / "dist" / name


def copied(folder):
    """Copy what the build reads into ``folder``: no earlier build has touched it."""
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    for name in (*SOURCES, *TEXTS):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def environment(folder):
    """Make an environment that sees the packages of this one; return its Python."""
    call([sys.executable, "-m", "venv", "--without-pip", folder], folder.parent)
    python = folder / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(call([python, "-c", code], folder).strip())
    others = [path for path in sys.path if path.endswith("site-packages")]
    others.append(sysconfig.get_path("purelib"))
    (own / "dependencies.pth").write_text("\n".join(dict.fromkeys(others)))
    return python


def install(python, *arguments):
    """Install without a download."""
    options = ["--no-deps", "--no-index", "--quiet", *arguments]
    pip = [sys.executable, "-m", "pip", "--python", python, "install"]
    call([*pip, *options], python.parent)


@pytest.fixture(scope="session")
def sdist(tmp_path_factory):
    """The source distribution."""
    pytest.importorskip("setuptools", minversion="77.0.3")
    return build("sdist", copied(tmp_path_factory.mktemp("sdist") / "sources"))


@pytest.fixture(scope="session")
def wheel(sdist, tmp_path_factory):
    """The wheel, built from the source distribution."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return build("wheel", next(folder.iterdir()))


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """``bin`` of an environment with the wheel."""
    python = environment(tmp_path_factory.mktemp("installed") / "environment")
    install(python, wheel)
    return python.parent


def names_in(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_brings_one_name(wheel):
    tops = {name.split("/")[0] for name in names_in(wheel)}
    (information,) = (name for name in tops if name.endswith(".dist-info"))
    assert tops == {"simclr_tf2", information}
    with zipfile.ZipFile(wheel) as archive:
        listed = archive.read(f"{information}/top_level.txt").decode().split()
        metadata = archive.read(f"{information}/METADATA").decode()
    assert listed == ["simclr_tf2"]
    assert "License-Expression: Apache-2.0\n" in metadata
    assert f"{information}/licenses/LICENSE" in names_in(wheel)


def test_the_wheel_has_the_command_line_the_recipes_and_what_the_report_needs(wheel):
    names = set(names_in(wheel))
    command = "simclr_tf2/command_line"
    wanted = {f"{command}/{name}.py" for name in ("__init__", "run", "flags")}
    wanted |= {f"{command}/recipes/{name}.flags" for name in RECIPES}
    hardware = [path.name for path in (ROOT / "recipes/hardware").glob("*.json")]
    assert len(hardware) >= 5
    wanted |= {f"{command}/recipes/hardware/{name}" for name in hardware}
    wanted |= {"simclr_tf2/py.typed", "simclr_tf2/report/template.html"}
    assert wanted <= names
    sources = {path.relative_to(ROOT) for path in (ROOT / "simclr_tf2").rglob("*.py")}
    assert {path.as_posix() for path in sources} <= names


def test_the_commands_show_their_help_in_an_empty_folder(installed, tmp_path):
    done = subprocess.run(
        [installed / "simclr-tf2"],
        cwd=tmp_path,
        env=command_line.environment(PYTHONPATH=None),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert "    simclr-tf2 --flagfile=quickstart\n" in done.stdout
    text = call([installed / "python", "-m", "simclr_tf2", "--help"], tmp_path)
    assert "usage: simclr-tf2 --mode" in text and "quickstart" in text
    assert not list(tmp_path.iterdir())


def test_a_recipe_trains_by_name_in_an_empty_folder(installed, tmp_path):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    places = {"HOME": str(home), "TFDS_DATA_DIR": None}
    call([installed / "simclr-tf2", *TINY], work, **places)
    assert [path.name for path in work.iterdir()] == ["run"]
    assert (home / "tensorflow_datasets" / "simclr_shapes").is_dir()
    config = json.loads((work / "run" / "config.json").read_text())
    assert config["learning_rate"] == 0.02 and config["train_steps"] == 2
    assert config["data_dir"] == "~/tensorflow_datasets"
    lines = (work / "run" / "flags.txt").read_text().splitlines()
    assert "--optimizer=muon" in lines and not [x for x in lines if "flagfile" in x]
    # The run is complete, so that its own flag file finds it so.
    again = [installed / "python", "-m", "simclr_tf2", "--flagfile=run/flags.txt"]
    call(again, work, **places)


def test_a_recipe_is_planned_by_name_in_an_empty_folder(installed, tmp_path):
    command = [installed / "simclr-tf2", "--flagfile=imagenet_r50_100ep", "--mode=plan"]
    text = call([*command, "--hardware=tpu_v3_32"], tmp_path)
    assert "tpu_v3_32: tightest limit is " in text
    assert not list(tmp_path.iterdir())


def test_an_unknown_recipe_is_one_line_that_lists_them(installed, tmp_path):
    done = subprocess.run(
        [installed / "simclr-tf2", "--flagfile=quickstrat"],
        cwd=tmp_path,
        env=command_line.environment(PYTHONPATH=None),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "did you mean quickstart?" in done.stderr
    assert all(name in done.stderr for name in RECIPES)


def test_an_editable_installation_reads_the_repository(tmp_path):
    pytest.importorskip("setuptools", minversion="77.0.3")
    sources, work = copied(tmp_path / "sources"), tmp_path / "work"
    work.mkdir()
    python = environment(tmp_path / "environment")
    install(python, "--no-build-isolation", "--editable", sources)
    code = (
        "from simclr_tf2.command_line import flags, run; "
        "print(flags.__file__, run.__file__, flags is run.flags)"
    )
    out = call([python, "-c", code], work)
    assert out.split() == [f"{sources}/flags.py", f"{sources}/run.py", "True"]
    text = call([python.parent / "simclr-tf2", "--help"], work)
    assert "RECIPES" in text and "--data_dir=~/tensorflow_datasets" in text
    assert "python run.py --mode=scan" in call([python, "run.py", "--help"], sources)
