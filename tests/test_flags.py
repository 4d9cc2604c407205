"""The command line and the config are one surface, in both directions."""

import pytest
from absl import flags as absl_flags

import flags
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


def parsed(*arguments):
    """The program's flags, parsed afresh."""
    absl_flags.FLAGS.unparse_flags()
    for name in flags.flag_names():
        absl_flags.FLAGS[name].unparse()
    absl_flags.FLAGS(["run.py", *arguments])
    return absl_flags.FLAGS


def test_flags_are_the_config_fields_with_equal_defaults():
    defaults = config_lib.field_defaults()
    assert set(flags.flag_names()) == set(defaults)
    assert flags.config_from_flags(parsed()) == config_lib.Config()


def test_every_reference_flag_is_accepted():
    assert set(REFERENCE_FLAGS) <= set(flags.flag_names())


@pytest.mark.parametrize("name", flags.flag_names())
def test_every_flag_has_help_a_user_can_read(name):
    text = absl_flags.FLAGS[name].help
    assert len(text) > 20 and text.endswith(".")


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
    file.write_text(flags.flagfile_text(config))
    again = flags.config_from_flags(parsed(f"--flagfile={file}"))
    assert again == config and config.evaluation.protocols == ()
    # What was not asked for is written down, and not asked for by the file either.
    assert "# --label_fraction=1.0\n" in file.read_text()
    assert again.given == config.given and "label_fraction" not in again.given


def test_config_survives_its_flat_form():
    config = config_lib.Config(
        mode="pretrain", model=config_lib.ModelConfig(resnet_depth=18, sk_ratio=0.0625)
    )
    assert config_lib.from_flat(config_lib.to_flat(config)) == config


def test_an_unknown_setting_is_refused():
    with pytest.raises(config_lib.ConfigError, match="unknown setting.*colour"):
        config_lib.from_flat({"colour": 1})


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (config_lib.DataConfig, {"image_size": 4}, "--image_size"),
        (config_lib.ModelConfig, {"resnet_depth": 20}, "--resnet_depth must be one of"),
        (config_lib.ModelConfig, {"width_multiplier": 0}, "--width_multiplier"),
        (config_lib.ModelConfig, {"sk_ratio": -0.1}, "--sk_ratio"),
        (config_lib.ModelConfig, {"proj_head_mode": "mlp"}, "nonlinear"),
        (config_lib.ModelConfig, {"ft_proj_selector": 4}, "--ft_proj_selector"),
        (config_lib.ModelConfig, {"fine_tune_after_block": 5}, "--fine_tune_after"),
        (config_lib.LossConfig, {"temperature": 0.0}, "--temperature"),
        (config_lib.OptimizerConfig, {"learning_rate": 0.0}, "--learning_rate"),
        (config_lib.OptimizerConfig, {"momentum": 1.0}, "--momentum"),
        (config_lib.OptimizerConfig, {"optimizer": "sgd"}, "momentum"),
        (config_lib.TrainingConfig, {"train_batch_size": 1}, "--train_batch_size"),
        (config_lib.TrainingConfig, {"train_epochs": 0}, "--train_epochs"),
        (config_lib.TrainingConfig, {"mixed_precision": "fp16"}, "bfloat16"),
        (config_lib.TrainingConfig, {"remat": "layers"}, "off, blocks, groups"),
        (config_lib.TrainingConfig, {"steps_per_loop": "0"}, "--steps_per_loop must"),
        (config_lib.DistributionConfig, {"gradient_pack_mib": -1}, "--gradient_pack"),
        (config_lib.EvaluationConfig, {"protocols": ("svd",)}, "logreg, knn"),
        (config_lib.DistributionConfig, {"num_virtual_devices": -1}, "--num_virtual"),
        (config_lib.ExportConfig, {"export_formats": ("onnx",)}, "keras, saved_model"),
        (config_lib.ExportConfig, {"output": "h.txt"}, "--output"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(section, values, message):
    with pytest.raises(config_lib.ConfigError, match=message) as caught:
        section(**values)
    assert "\n" not in str(caught.value)
