"""Each setting says who reads it and what a change of it means; the pages agree."""

import re
import typing

import pytest

from simclr_tf2 import config as config_lib
from simclr_tf2.config import modes, settings
from tests import command_line
from tests.support.program_flags import REFERENCE_FLAGS

FIELDS = config_lib.fields()
PAGE = (command_line.ROOT / "docs/differences.md").read_text()


def flags_of(text):
    """Names of settings in flags; --noNAME is NAME unless there is a flag noNAME."""
    found = re.findall(r"--(\w+)", text)
    return {x if x in FIELDS else x.removeprefix("no") for x in found}


def declared(key):
    """Map each setting to what its field says under ``key``."""
    return {name: field.metadata[key] for name, field in FIELDS.items()}


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_declares_what_it_changes_who_reads_it_and_whether_it_is_ours(
    name,
):
    says = FIELDS[name].metadata
    assert set(says) == {"changes", "modes", "protocols", "ours"}
    assert says["changes"] in typing.get_args(settings.Changes)
    assert says["modes"] and says["modes"] <= modes.EVERY_MODE
    assert isinstance(says["ours"], bool)
    # A tuple, not a word; protocols are measured in pretraining and in evaluation.
    assert isinstance(says["protocols"], tuple)
    assert set(says["protocols"]) <= set(config_lib.PROTOCOLS)
    assert not says["protocols"] or not {"pretrain", "eval"} <= says["modes"]
    # What changes weights or measurements is read where there are such.
    readers = {"weights": modes.TRAINING, "measurement": modes.MEASURING}
    assert says["modes"] & readers.get(says["changes"], modes.EVERY_MODE)


@pytest.mark.parametrize("left_out", ["changes", "modes"])
def test_a_setting_cannot_leave_out_what_it_changes_or_who_reads_it(left_out):
    says = {"changes": settings.SPEED, "modes": modes.EVERY_MODE}
    del says[left_out]
    with pytest.raises(TypeError, match=left_out):
        settings.setting(0, **says)


def test_the_modes_of_settings_are_those_of_the_program():
    assert set(config_lib.WORKFLOW_MODES) == modes.EVERY_MODE
    words_of_the_reference = {"train", "train_then_eval"}
    assert set(config_lib.MODES) == modes.EVERY_MODE | words_of_the_reference
    assert set(config_lib.TRAIN_MODES) == modes.TRAINING


def test_every_setting_says_what_a_change_of_it_means():
    """The names that a run may change are pinned: a slip here would mix two runs."""
    changes = declared("changes")
    assert set(changes.values()) == set(typing.get_args(settings.Changes))
    learned = {name for name, change in changes.items() if change == "weights"}
    assert learned == config_lib.learned_settings()
    assert learned == set(
        """
        backbone_lr_multiplier batch_norm_decay blur_probability blur_sigma checkpoint
        color_jitter_impl color_jitter_probability color_jitter_strength
        crop_area crop_aspect
        dataset deterministic early_image_sizes early_share fine_tune_after_block
        finetune_validation flip_probability
        ft_proj_selector global_bn grayscale_probability
        head_lr_multiplier hidden_norm image_channels
        image_dir image_key image_layout image_size label_columns label_fraction
        label_key labels_per_class learning_rate learning_rate_scaling
        lineareval_while_pretraining local_image_size loss manifest margin
        max_image_pixels micro_batch_norm micro_batch_size mixed_precision momentum
        normalize_mean normalize_std
        num_local_views num_proj_layers num_views optimizer pixel_range
        proj_head_mode proj_out_dim quarter_turns recipe resnet_d resnet_depth se_ratio
        seed semi_hard sk_ratio solarize_probability solarize_threshold
        stem temperature tfrecords train_batch_size train_epochs train_split
        train_steps use_blur valid_size vertical_flip_probability
        warmup_epochs weight_decay
        weights_ema width_multiplier zero_init_logits_layer zero_init_residual
        """.split()
    )


def test_a_protocol_makes_pretraining_read_more():
    of_semi = {"label_fraction", "labels_per_class", "finetune_baselines"}
    assert {name for name, found in declared("protocols").items() if found} == of_semi
    with_semi = set(config_lib.unread("pretrain", ("knn", "semi")))
    assert set(config_lib.unread("pretrain", ("knn",))) - with_semi == of_semi


def test_only_settings_of_ours_are_missing_in_the_reference_code():
    theirs = {name for name, ours in declared("ours").items() if not ours}
    other_default = {"data_dir", "use_tpu"}
    assert theirs | other_default == set(REFERENCE_FLAGS)
    assert not theirs & other_default


def test_the_page_of_differences_names_each_setting_of_ours():
    """Settings that the reference code lacks, or whose default differs."""
    named = flags_of(PAGE) | set(re.findall(r"`(\w+)`", PAGE))
    ours = {name for name, ours in declared("ours").items() if ours}
    assert sorted(ours - named) == []


def test_the_page_lists_settings_of_ours_by_whether_they_change_what_is_learned():
    part = PAGE.split("\n## Settings that the reference code does not have\n")[1]
    part = part.split("\n## ")[0]
    first, second = part.split("\nThese settings change where, how fast")
    listed = [set(re.findall(r"`--(\w+)`", text)) for text in (first, second)]
    ours = {name for name, ours in declared("ours").items() if ours}
    ours -= set(REFERENCE_FLAGS)
    learned = config_lib.learned_settings()
    assert listed == [ours & learned, ours - learned]


def test_all_flags_that_the_page_names_exist():
    named = flags_of(PAGE)
    assert {name for name in named if name not in FIELDS} == set()
