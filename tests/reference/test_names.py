"""Errors and partial use; that all names are right is shown in test_resnet.py."""

import keras
import numpy as np
import pytest

from simclr_tf2.config import ModelConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.models import build_simclr
from simclr_tf2.reference.names import (
    assign_reference_weights,
    reference_variables,
    reference_weight_names,
)


def build(**arguments):
    arguments = {"resnet_depth": 10, "width_multiplier": 0.05, **arguments}
    return build_simclr(ModelConfig(**arguments), image_size=9, num_classes=3)


def arrays(model):
    rng = np.random.default_rng(0)
    return {
        name: rng.random(tuple(v.shape)).astype(np.float32)
        for name, v in reference_variables(model)
    }


def test_backbone_takes_its_own_and_returns_the_heads_names():
    model = build()
    weights = arrays(model)
    unused = assign_reference_weights(model.backbone, weights)
    assert unused == sorted(name for name in weights if not name.startswith("resnet/"))
    for name, variable in reference_variables(model.backbone):
        np.testing.assert_array_equal(variable.numpy(), weights[name])


def test_suffix_and_synchronisation_in_names_do_not_matter():
    model = build()
    weights = {
        name.replace("sync_batch_normalization", "batch_normalization")[:-2]: value
        for name, value in arrays(model).items()
    }
    assert assign_reference_weights(model, weights) == []
    name, variable = reference_variables(model)[1]
    assert name == "resnet/batch_norm_relu/sync_batch_normalization/gamma:0"
    key = "resnet/batch_norm_relu/batch_normalization/gamma"
    np.testing.assert_array_equal(variable.numpy(), weights[key])


def test_every_missing_or_misshaped_variable_is_named_and_nothing_assigned():
    model = build()
    weights = arrays(model)
    names = reference_weight_names(model)
    del weights[names[0]], weights[names[-1]]
    weights[names[1]] = np.zeros(99, np.float32)
    before = model.get_weights()
    with pytest.raises(ConfigError) as caught:
        assign_reference_weights(model, weights)
    message = str(caught.value)
    assert message.startswith("3 variable(s) not set") and "\n" not in message
    assert "stem_conv_1/kernel [3, 3, 3, 3]" in message
    assert "stem_batch_normalization_1/gamma [3]" in message and "is [99]" in message
    assert "head_supervised/bias [3]" in message
    for got, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("mode", "count"), [("none", 0), ("linear", 4)])
def test_other_heads_have_names_too(mode, count):
    names = reference_weight_names(build(proj_head_mode=mode))
    heads = [name for name in names if name.startswith("projection_head/l_0/")]
    assert len(heads) == count
    dense = "dense_1" if mode == "linear" else "dense"
    assert names[-1] == f"head_supervised/linear_layer/{dense}/bias:0"


def test_foreign_models_are_refused():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="mine")])
    with pytest.raises(ConfigError, match="no reference name.*mine"):
        reference_weight_names(model)
