"""Every command of README, docs and the other pages parses into a valid Config."""

import importlib.util
import re

import pytest

import flags
from simclr_tf2 import config as config_lib
from tests.command_line import ROOT
from tests.support import page_commands, program_flags

COMMANDS = page_commands.of_program()
# Flags named in running text: `--train_epochs=60 --model_dir=runs/longer`.
SPANS = page_commands.spans_of_flags()
# Flags that pages name and that are not ours: absl's, scripts', pytest's, benchmarks'.
FOREIGN = {"flagfile", "help", "helpfull", "source", "randomly-seed"}
FOREIGN |= {"batches", "depth", "steps", "whole", "width"}
FOREIGN |= {"dry_run", "network", "spot", "version", "volume"}  # tpu_vm.sh, docker


@pytest.fixture(autouse=True)
def _flags_as_before():
    yield
    program_flags.forget()


def test_no_command_of_the_pages_is_overlooked():
    """As many as there were when this test was written; and no line that calls it."""
    assert len(COMMANDS) >= 58
    text = "\n".join((ROOT / page).read_text() for page in page_commands.PAGES)
    started = re.findall(r"^[^`|\n]*(?:python run\.py|simclr-tf2) +-", text, re.M)
    assert len(COMMANDS) == len(started)


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_of_a_page_is_valid(command):
    complete = "..." not in command.words
    program_flags.assert_valid(command.arguments, complete=complete)


@pytest.mark.parametrize(
    "arguments",
    [command.arguments for command in page_commands.of_overview()],
    ids=" ".join,
)
def test_a_command_that_the_help_shows_is_valid(arguments):
    program_flags.assert_valid(arguments)


@pytest.mark.parametrize("span", SPANS, ids=str)
def test_flags_in_the_text_of_a_page_exist_and_have_such_values(span):
    known = {*flags.flag_names(), *(f"no{name}" for name in flags.flag_names())}
    for word in span.words:
        name, value = re.fullmatch(r"--([\w-]+)(.*)", word).groups()
        if name in FOREIGN:
            continue
        assert name in known
        if value[:1] == "=" and not re.search(r"\b[A-Z_]+\b|\.\.\.|…", value):
            program_flags.forget()
            flags.parse(["run.py", word])


@pytest.mark.parametrize(
    "command", [c for c in page_commands.of_python() if c not in COMMANDS], ids=str
)
def test_a_python_program_of_a_page_exists(command):
    if command.program.endswith(".py"):
        assert (ROOT / command.program).is_file()
    else:
        assert importlib.util.find_spec(command.program)


@pytest.mark.parametrize("page", page_commands.PAGES)
def test_a_module_that_the_text_of_a_page_starts_exists(page):
    text = (ROOT / page).read_text()
    for name in set(re.findall(r"`python -m ([\w.]+)", text)):
        assert importlib.util.find_spec(name), name


def test_commands_are_read_as_a_shell_reads_them(tmp_path, monkeypatch):
    page = """
Text with `python run.py --a`.

```bash
python run.py --mode=scan \\
  --image_dir="two words"   # a comment
X=1 .venv/bin/python -m simclr_tf2 --seed=1 && simclr-tf2 --seed=2
(cd $tree && "$OLD"/python run.py --seed=3 ...)
python - <<'END'
python run.py --seed=4
END
```

```python
python run.py --seed=5
```

    $ python run.py --seed=6
"""
    monkeypatch.setattr(page_commands, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(page)
    found = page_commands.commands("page.md")
    ours = [(c.line, c.arguments) for c in found if c.program == "run.py"]
    assert ours == [
        (5, ["--mode=scan", "--image_dir=two words"]),
        (7, ["--seed=1"]),
        (7, ["--seed=2"]),
        (8, ["--seed=3"]),
        (18, ["--seed=6"]),
    ]


@pytest.mark.parametrize("wrong", ["--no_such_flag=1", "--mode=sing", "--seed=one"])
def test_a_command_with_a_wrong_flag_or_value_is_refused(wrong):
    with pytest.raises(config_lib.ConfigError):
        program_flags.read([*COMMANDS[0].arguments, wrong])
