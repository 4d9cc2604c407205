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
    assert "flagfile" not in text and "\n--optimizer=muon\n" in text
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


def test_a_recipe_by_name_says_how_to_learn_and_nothing_else():
    own = ["--mode=pretrain", "--image_dir=photos", "--model_dir=x"]
    found = config_of("--recipe=quickstart", *own, "--train_epochs=3")
    whole = config_of("--flagfile=quickstart")
    assert found.model == whole.model and found.loss == whole.loss
    assert found.optimizer == whole.optimizer and found.data.image_size == 32
    assert found.augmentation == whole.augmentation
    assert found.training.train_batch_size == 64 and found.training.train_epochs == 3
    assert (found.data.train_split, found.training.log_steps) == ("train", 50)
    assert (found.data.image_dir, found.model_dir) == ("photos", "x")
    assert found.recipe == "quickstart" and found.given == {
        "mode",
        "image_dir",
        "model_dir",
        "train_epochs",
        "recipe",
    }
    assert "learning_rate" in found.chosen and "train_epochs" not in found.chosen
    by_name = config_of("--recipe=small_gpu", "--dataset=stl10")
    assert by_name.model.resnet_depth == 18 and by_name.data.dataset == "stl10"


@pytest.mark.parametrize("name", recipe_files.names())
def test_each_recipe_is_taken_by_name_or_refused_for_its_mode(name):
    pretrains = config_of(f"--flagfile={name}").workflow == "pretrain"
    if pretrains:
        assert config_of(f"--recipe={name}").chosen >= {"resnet_depth", "train_epochs"}
        return
    with pytest.raises(ConfigError, match="is a recipe of --mode=finetune"):
        config_of(f"--recipe={name}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe=quickstrat"], "nor a recipe; did you mean quickstart? The recipes"),
        (["--recipe=atuo"], "did you mean auto?"),
        (["--recipe=zzzz"], "is neither auto nor reference nor a recipe; the recipes:"),
        (["--recipe=recipes/quickstart.flags"], "is neither auto nor reference nor"),
        (["--recipe=quickstart", "--optimizer=adamw"], "has a learning rate for muon"),
    ],
)
def test_a_recipe_that_cannot_be_taken_is_refused_in_one_line(arguments, message):
    with pytest.raises(ConfigError) as caught:
        config_of(*arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_flag_file_of_a_recipe_stays_all_that_is_said(tmp_path, monkeypatch):
    """Nothing is chosen besides it for own images, unless that is asked for."""
    monkeypatch.chdir(tmp_path)
    own = ["--flagfile=quickstart", "--image_dir=photos"]
    assert config_of(*own).recipe_kind == "reference"
    assert config_of(*own, "--recipe=auto").recipe_kind == "auto"
    (tmp_path / "mine.txt").write_text("--temperature=0.5\n")
    assert config_of("--flagfile=mine.txt", "--image_dir=x").recipe_kind == "auto"
    assert config_of("--flagfile=quickstart").recipe is None  # a data set by name
    assert config_of("--image_dir=photos", "--mode=finetune").recipe is None


def test_flags_txt_of_a_recipe_by_name_is_the_same_run(tmp_path):
    asked = config_of("--recipe=quickstart", "--image_dir=photos", "--temperature=0.3")
    (tmp_path / "flags.txt").write_text(flag_file.text(asked))
    assert config_of(f"--flagfile={tmp_path / 'flags.txt'}") == asked
