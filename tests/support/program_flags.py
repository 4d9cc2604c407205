"""The program's flags, parsed afresh; absl keeps them for the whole process."""

from absl import flags as absl_flags

import flags
from simclr_tf2 import command_help
from simclr_tf2 import config as config_lib

# Every flag of the reference code's tf2 run.py.
REFERENCE_FLAGS = """learning_rate learning_rate_scaling warmup_epochs weight_decay
batch_norm_decay train_batch_size train_split train_epochs train_steps eval_steps
eval_batch_size checkpoint_epochs checkpoint_steps eval_split dataset cache_dataset mode
train_mode lineareval_while_pretraining checkpoint zero_init_logits_layer
fine_tune_after_block master model_dir data_dir use_tpu tpu_name tpu_zone gcp_project
optimizer momentum eval_name keep_checkpoint_max keep_hub_module_max temperature
hidden_norm proj_head_mode proj_out_dim num_proj_layers ft_proj_selector global_bn
width_multiplier resnet_depth sk_ratio se_ratio image_size color_jitter_strength
use_blur""".split()


def forget():
    """Make the program's flags as if none had been parsed."""
    absl_flags.FLAGS.unparse_flags()
    for name in flags.flag_names():
        absl_flags.FLAGS[name].unparse()


def parsed(*arguments):
    """The program's flags, parsed afresh."""
    forget()
    absl_flags.FLAGS(["run.py", *arguments])
    return absl_flags.FLAGS


def read(arguments):
    """The flags and the Config of a command line, checked as ``run.py`` checks it."""
    forget()
    flags.parse(["run.py", *arguments])
    return absl_flags.FLAGS, flags.config_from_flags(absl_flags.FLAGS)


def assert_valid(arguments, *, complete=True):
    """Each flag exists, has such values and an effect in its mode.

    Without ``complete`` the flags that the mode requires may be missing.
    """
    values, config = read(arguments)
    mode = config.workflow
    assert flags.leftovers(values) == []
    assert flags.of_other_modes(values, mode) == []
    assert flags.measured_later(values, mode) == []
    if complete:
        assert command_help.missing_flags(mode, config_lib.to_flat(config)) == ""
