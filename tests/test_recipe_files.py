"""``--flagfile=NAME``: recipes by name, from any folder."""

import pytest
from absl import flags as absl_flags

import flags
from simclr_tf2.command_line import recipe_files
from simclr_tf2.errors import ConfigError
from simclr_tf2.runs import flag_file
from tests import command_line
from tests.support.program_flags import forget

RECIPE = str(command_line.ROOT / "recipes" / "quickstart.flags")


def config_of(*arguments):
    """The config of a command line, by the program's own parser."""
    forget()
    flags.parse(["run.py", *arguments])
    return flags.config_from_flags(absl_flags.FLAGS)


@pytest.mark.parametrize(
    "text", ["quickstart", "quickstart.flags", "recipes/quickstart.flags"]
)
def test_a_recipe_is_found_by_name_in_a_folder_without_it(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recipe_files.find(text) == RECIPE
    by_path = config_of(f"--flagfile={RECIPE}")
    for arguments in (
        [f"--flagfile={text}"],
        ["--flagfile", text],
        [f"-flagfile={text}"],
    ):
        found = config_of(*arguments)
        assert found == by_path and found.given == by_path.given


def test_a_file_of_that_name_comes_first_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small_gpu").mkdir()
    assert recipe_files.find("small_gpu").endswith("recipes/small_gpu.flags")
    (tmp_path / "quickstart").write_text("--mode=scan\n")
    assert config_of("--flagfile=quickstart").mode == "scan"


def test_flags_after_the_recipe_win(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = config_of("--flagfile=quickstart", "--train_epochs=3", "--model_dir=x")
    assert config.training.train_epochs == 3 and config.model_dir == "x"


def test_what_is_recorded_is_the_run_and_not_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = config_of("--flagfile=quickstart")
    text = flag_file.text(config)
    assert "flagfile" not in text and "\n--sk_ratio=0.0625\n" in text
    (tmp_path / "flags.txt").write_text(text)
    again = config_of("--flagfile=flags.txt")
    assert again == config and again.given == config.given


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quickstrat", "did you mean quickstart? The recipes: cifar100_r18, "),
        ("cifar10-r18", "did you mean cifar10_r18?"),
        ("recipes/no_such.flags", "=recipes/no_such.flags is neither a file nor a "),
        ("zzzz", "is neither a file nor a recipe; the recipes: "),
        ("elsewhere/quickstart", "--flagfile=elsewhere/quickstart cannot be read"),
        ("quickstart.txt", "--flagfile=quickstart.txt cannot be read: no such file"),
    ],
)
def test_what_is_no_recipe_is_refused_in_one_line(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        config_of(f"--flagfile={text}")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_all_recipes_of_the_repository_have_names():
    folder = command_line.ROOT / "recipes"
    assert recipe_files.names() == sorted(p.stem for p in folder.glob("*.flags"))
