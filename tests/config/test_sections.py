"""Each section refuses what cannot be."""

import pytest

from simclr_tf2 import config as config_lib

VIEWS = config_lib.AugmentationConfig


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (config_lib.DataConfig, {"image_size": 4}, "--image_size"),
        (config_lib.AugmentationConfig, {"early_image_sizes": ("24", "16")}, "ascend"),
        (config_lib.AugmentationConfig, {"early_image_sizes": ("16x24",)}, "whole num"),
        (config_lib.AugmentationConfig, {"early_image_sizes": (4, 16)}, "from 8"),
        (config_lib.AugmentationConfig, {"early_share": 1.0}, "--early_share must be"),
        (VIEWS, {"color_jitter_impl": "v1"}, "one of simclrv2, simclrv1"),
        (VIEWS, {"color_jitter_probability": 1.1}, "--color_jitter_p.* from 0 to 1"),
        (VIEWS, {"grayscale_probability": -0.1}, "--grayscale_p.* from 0 to 1"),
        (VIEWS, {"blur_probability": 2.0}, "--blur_probability must be from 0 to 1"),
        (VIEWS, {"flip_probability": 5.0}, "--flip_probability must be from 0 to 1"),
        (VIEWS, {"vertical_flip_probability": 5.0}, "--vertical_flip_p.* from 0 to 1"),
        (VIEWS, {"solarize_probability": -1.0}, "--solarize_p.* from 0 to 1"),
        (VIEWS, {"solarize_threshold": 128.0}, "--solarize_t.* from 0 to 1"),
        (VIEWS, {"crop_area": (0.5, 0.2)}, "LEAST,GREATEST, .* Received: 0.5,0.2"),
        (VIEWS, {"crop_area": ("0", "1")}, "greater than 0 and at most 1"),
        (VIEWS, {"crop_area": ("0.2",)}, "two numbers"),
        (VIEWS, {"crop_area": (0.2, 1.2)}, "--crop_area must .* at most 1"),
        (VIEWS, {"crop_aspect": ("3/4", "4/3")}, "--crop_aspect .* Received: 3/4,4/3"),
        (VIEWS, {"crop_aspect": (1, 20)}, "at most 10"),
        (VIEWS, {"blur_sigma": (0, 2)}, "--blur_sigma must be two numbers"),
        (VIEWS, {"blur_sigma": ("nan", "2")}, "--blur_sigma must be two numbers"),
        (
            VIEWS,
            {"quarter_turns": True, "local_image_size": "8x12"},
            "--local_image_size must be square with --quarter_turns",
        ),
        (config_lib.ModelConfig, {"resnet_depth": 20}, "--resnet_depth must be one of"),
        (
            config_lib.ModelConfig,
            {"normalize_mean": ("123.7",), "normalize_std": ("58.4",)},
            "--normalize_mean must be numbers from 0 to 1 .*pixels are in .0, 1.",
        ),
        (
            config_lib.ModelConfig,
            {"normalize_mean": (0.5,), "normalize_std": (0.0,)},
            "--normalize_std must be numbers from above 0 to 1",
        ),
        (
            config_lib.ModelConfig,
            {"normalize_mean": (0.5, 0.5, 0.5), "normalize_std": (0.2,)},
            "--normalize_std must be as many numbers as --normalize_mean .3.",
        ),
        (config_lib.ModelConfig, {"normalize_std": (0.2,)}, "as many numbers"),
        (config_lib.ModelConfig, {"normalize_mean": "a,b"}, "--normalize_mean must"),
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


def test_turns_of_images_that_are_not_square_are_refused():
    flat = {"quarter_turns": True, "image_size": "64x96"}
    with pytest.raises(config_lib.ConfigError) as caught:
        config_lib.from_flat(flat)
    assert str(caught.value) == (
        "--image_size must be square with --quarter_turns. Received: 64x96."
    )


def test_means_are_one_for_all_channels_or_one_for_each():
    flat = {"normalize_mean": (0.4, 0.5), "normalize_std": (0.2, 0.2)}
    config_lib.from_flat({**flat, "image_channels": 2})
    with pytest.raises(config_lib.ConfigError) as caught:
        config_lib.from_flat(flat)
    assert str(caught.value) == (
        "--normalize_mean must be one number, or one for each of the 3 channels. "
        "Received: 0.4,0.5."
    )


def test_ranges_of_views_are_read_from_text():
    found = VIEWS(crop_area=("0.2", "1"), blur_sigma=["0.5", "1e0"])
    assert (found.crop_area, found.blur_sigma) == ((0.2, 1.0), (0.5, 1.0))
