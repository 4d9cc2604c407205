"""flags.txt says what was given as flags, and what was chosen as comments."""

import dataclasses

import pytest

import flags
from simclr_tf2 import config as config_lib
from simclr_tf2.config import Config, DataConfig, TrainingConfig
from simclr_tf2.runs import flag_file
from tests.support.program_flags import parsed


def test_flags_txt_gives_the_same_config(tmp_path):
    config = flags.config_from_flags(
        parsed(
            "--mode=pretrain",
            "--nouse_blur",
            "--protocols=",
            "--model_dir=a b",
            "--width_multiplier=0.5",
            "--dataset=simclr_shapes/tiny",
            "--use_tpu=False",
        )
    )
    file = tmp_path / "flags.txt"
    file.write_text(flag_file.text(config))
    again = flags.config_from_flags(parsed(f"--flagfile={file}"))
    assert again == config and config.evaluation.protocols == ()
    # What was not asked for is written down, and not asked for by the file either.
    assert "# --label_fraction=1.0\n" in file.read_text()
    assert again.given == config.given and "label_fraction" not in again.given


def test_a_default_that_was_given_is_no_comment():
    given = frozenset({"train_batch_size"})
    lines = flag_file.text(Config(given=given)).splitlines()
    assert f"--train_batch_size={TrainingConfig().train_batch_size}" in lines


def test_what_was_given_stays_as_it_was_given():
    asked = Config(mode="pretrain", training=TrainingConfig(mixed_precision="auto"))
    config = dataclasses.replace(
        asked, training=TrainingConfig(mixed_precision="bfloat16")
    )
    lines = flag_file.text(asked, config).splitlines()
    assert "--mode=pretrain" in lines and "--mixed_precision=auto" in lines


def test_what_was_chosen_is_a_comment():
    asked = Config(mode="pretrain")
    config = dataclasses.replace(
        asked,
        data=DataConfig(image_size=(32, 48)),
        training=TrainingConfig(train_batch_size=24),
    )
    lines = flag_file.text(asked, config).splitlines()
    assert "# --image_size=32x48" in lines and "# --train_batch_size=24" in lines


@pytest.mark.parametrize("name", sorted(flag_file.DECIDED_AT_A_START))
def test_what_a_later_start_decides_anew_is_the_default_in_the_comment(name):
    asked = Config()
    chosen = {"pixel_range": "0,4095", "extend": True}
    flat = config_lib.to_flat(asked) | {name: chosen[name]}
    lines = flag_file.text(asked, config_lib.from_flat(flat)).splitlines()
    default = flag_file.typed(name, config_lib.field_defaults()[name])
    assert f"# --{name}={default}" in lines


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("image_size", (32, 48), "32x48"),
        ("protocols", ("knn", "logreg"), "knn,logreg"),
        ("protocols", (), ""),
        ("use_blur", False, "false"),
        ("temperature", 0.5, "0.5"),
        ("image_dir", None, None),
    ],
)
def test_values_are_written_as_they_are_typed(name, value, text):
    assert flag_file.typed(name, value) == text
