"""The reference's command lines are ours: names, meanings and defaults.

Facts of google-research/simclr: tf2/run.py (flags), README.md and tf2/README.md
(commands). What differs is listed here with its reason, and in
docs/differences.md.
"""

import re
from pathlib import Path

import pytest

import flags
from simclr_tf2 import config as config_lib
from tests.support.program_flags import parsed
from tests.support.reference_commands import COMMANDS, LEFTOVERS, arguments

DIFFERENCES = Path(__file__).resolve().parent.parent / "docs" / "differences.md"

# Every flag of tf2/run.py with its default.
REFERENCE_DEFAULTS = {
    "learning_rate": 0.3,
    "learning_rate_scaling": "linear",
    "warmup_epochs": 10,
    "weight_decay": 1e-6,
    "batch_norm_decay": 0.9,
    "train_batch_size": 512,
    "train_split": "train",
    "train_epochs": 100,
    "train_steps": 0,
    "eval_steps": 0,
    "eval_batch_size": 256,
    "checkpoint_epochs": 1,
    "checkpoint_steps": 0,
    "eval_split": "validation",
    "dataset": "imagenet2012",
    "cache_dataset": False,
    "mode": "train",
    "train_mode": "pretrain",
    "lineareval_while_pretraining": True,
    "checkpoint": None,
    "zero_init_logits_layer": False,
    "fine_tune_after_block": -1,
    "master": None,
    "model_dir": None,
    "data_dir": None,
    "use_tpu": True,
    "tpu_name": None,
    "tpu_zone": None,
    "gcp_project": None,
    "optimizer": "lars",
    "momentum": 0.9,
    "eval_name": None,
    "keep_checkpoint_max": 5,
    "keep_hub_module_max": 1,
    "temperature": 0.1,
    "hidden_norm": True,
    "proj_head_mode": "nonlinear",
    "proj_out_dim": 128,
    "num_proj_layers": 3,
    "ft_proj_selector": 0,
    "global_bn": True,
    "width_multiplier": 1,
    "resnet_depth": 50,
    "sk_ratio": 0.0,
    "se_ratio": 0.0,
    "image_size": 224,
    "color_jitter_strength": 1.0,
    "use_blur": True,
}
# Flag -> (our default, reason).
DEVIATIONS = {
    "use_tpu": (None, "most users have no TPU: detected unless said"),
    "data_dir": ("data", "prepared sets stay beside the code"),
}
REFERENCE_CHOICES = {
    "learning_rate_scaling": ("linear", "sqrt"),
    "mode": ("train", "eval", "train_then_eval"),
    "train_mode": ("pretrain", "finetune"),
    "optimizer": ("momentum", "adam", "lars"),
    "proj_head_mode": ("none", "linear", "nonlinear"),
}


def check_config(command, config):
    """What the command sets is set, everything else is at its default."""
    flat, default = config_lib.to_flat(config), config_lib.field_defaults()
    wanted = {k: v for k, v in command.items() if k not in LEFTOVERS}
    assert flat == {**default, **wanted}


def test_the_table_holds_every_reference_flag_once():
    assert len(REFERENCE_DEFAULTS) == 48
    assert set(REFERENCE_DEFAULTS) <= set(flags.flag_names())


@pytest.mark.parametrize("name", sorted(set(REFERENCE_DEFAULTS) - set(DEVIATIONS)))
def test_a_default_is_the_references(name):
    config = config_lib.to_flat(flags.config_from_flags(parsed()))
    assert config[name] == REFERENCE_DEFAULTS[name]


@pytest.mark.parametrize("name", sorted(DEVIATIONS))
def test_a_default_that_differs_is_listed_with_its_reason(name):
    ours, reason = DEVIATIONS[name]
    assert config_lib.field_defaults()[name] == ours != REFERENCE_DEFAULTS[name]
    assert reason
    assert any(f"`--{name}`" in row[0] for row in rows())


@pytest.mark.parametrize("name", sorted(REFERENCE_CHOICES))
def test_every_word_the_reference_knows_is_accepted(name):
    for word in REFERENCE_CHOICES[name]:
        config = flags.config_from_flags(parsed(f"--{name}={word}"))
        assert config_lib.to_flat(config)[name] == word


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_readme_command_means_what_it_meant(name):
    command = COMMANDS[name]
    config = flags.config_from_flags(parsed(*arguments(command, leftovers=False)))
    check_config(command, config)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_readme_command_runs_unchanged_with_what_is_left_in_it(name):
    command = COMMANDS[name]
    if not set(command) & set(LEFTOVERS):
        command = {**command, "train_summary_steps": 0}
    config = flags.config_from_flags(parsed(*arguments(command, leftovers=True)))
    check_config(command, config)


def test_the_words_of_absl_for_booleans_work():
    for text in ("--nouse_blur", "--use_blur=false", "--use_blur=False"):
        config = flags.config_from_flags(parsed(text))
        assert config.augmentation.use_blur is False


def rows():
    """Cells of every row of the tables of differences in docs/differences.md."""
    tables = re.findall(
        r"^\| What .*\n\|[-|]+\n((?:\|.*\n)+)", DIFFERENCES.read_text(), re.MULTILINE
    )
    lines = [line for table in tables for line in table.splitlines()]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_row_of_the_differences_is_complete():
    found = rows()
    assert len(found) > 40
    assert all(len(row) in (3, 4) and all(row) for row in found)
    names = [row[0] for row in found]
    assert len(names) == len(set(names))


def test_every_flag_that_the_differences_name_exists():
    named = re.findall(r"--(\w+)", DIFFERENCES.read_text())
    assert named
    known = set(flags.flag_names()) | {f"no{name}" for name in flags.flag_names()}
    assert set(named) <= known
