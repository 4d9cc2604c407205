"""The config by the names of its flags."""

import pytest

from simclr_tf2 import config as config_lib


def test_config_survives_its_flat_form():
    config = config_lib.Config(
        mode="pretrain", model=config_lib.ModelConfig(resnet_depth=18, sk_ratio=0.0625)
    )
    assert config_lib.from_flat(config_lib.to_flat(config)) == config


def test_an_unknown_setting_is_refused():
    with pytest.raises(config_lib.ConfigError, match="unknown setting.*colour"):
        config_lib.from_flat({"colour": 1})
