"""Each section refuses what cannot be."""

import pytest

from simclr_tf2 import config as config_lib


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (config_lib.DataConfig, {"image_size": 4}, "--image_size"),
        (config_lib.AugmentationConfig, {"early_image_sizes": ("24", "16")}, "ascend"),
        (config_lib.AugmentationConfig, {"early_image_sizes": ("16x24",)}, "whole num"),
        (config_lib.AugmentationConfig, {"early_image_sizes": (4, 16)}, "from 8"),
        (config_lib.AugmentationConfig, {"early_share": 1.0}, "--early_share must be"),
        (config_lib.ModelConfig, {"resnet_depth": 20}, "--resnet_depth must be one of"),
        (config_lib.ModelConfig, {"width_multiplier": 0}, "--width_multiplier"),
        (config_lib.ModelConfig, {"sk_ratio": -0.1}, "--sk_ratio"),
        (config_lib.ModelConfig, {"resnet_d": "maybe"}, "--resnet_d"),
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
        (config_lib.TrainingConfig, {"weights_ema": 1.0}, "from 0 .off. to below 1"),
        (config_lib.TrainingConfig, {"steps_per_loop": "0"}, "--steps_per_loop must"),
        (config_lib.DistributionConfig, {"gradient_pack_mib": -1}, "--gradient_pack"),
        (config_lib.EvaluationConfig, {"protocols": ("svd",)}, "logreg, knn"),
        (config_lib.DistributionConfig, {"num_virtual_devices": -1}, "--num_virtual"),
        (
            config_lib.ExportConfig,
            {"export_formats": ("onnx",)},
            "keras, .*saved_mo",
        ),
        (config_lib.ExportConfig, {"output": "h.txt"}, "--output"),
        (config_lib.PlanConfig, {"hardware": ()}, "--hardware"),
        (config_lib.PlanConfig, {"plan_devices": -1}, "--plan_devices"),
        (config_lib.PlanConfig, {"plan_examples": -1}, "--plan_examples"),
        (config_lib.PlanConfig, {"plan_scaling": 2_000_000}, "--plan_scaling"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(section, values, message):
    with pytest.raises(config_lib.ConfigError, match=message) as caught:
        section(**values)
    assert "\n" not in str(caught.value)
