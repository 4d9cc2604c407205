"""Encoders with named outputs are those of the network they are cut from."""

import keras
import numpy as np
import pytest

from simclr_tf2 import models, saved_model
from simclr_tf2.config import EXPORT_ENDPOINTS, ExportConfig, ModelConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.exports import formats
from simclr_tf2.run_paths import RunFolder
from tests import command_line


@pytest.fixture(scope="module", params=["nonlinear", "none"])
def model(request):
    keras.utils.set_random_seed(0)
    network = ModelConfig(
        resnet_depth=10, width_multiplier=0.0625, proj_head_mode=request.param
    )
    return models.build_simclr(network, image_size=32, export=True, any_size=True)


def test_every_endpoint_is_a_tensor_of_the_network(model):
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    found = models.build_endpoints(model, EXPORT_ENDPOINTS)(images)
    inner, hidden = model.backbone(images), model.hiddens(images)
    expected = {
        **inner,
        "proj_head_input": inner["final_avg_pool"],
        "proj_head_output": hidden[-1],
    }
    assert set(found) == set(expected) == set(EXPORT_ENDPOINTS)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)


def test_the_file_gives_the_dict_and_other_modes_read_h_of_it(model, tmp_path):
    names = ("block_group2", "final_avg_pool", "proj_head_output")
    asked = ExportConfig(export_formats=("keras",), export_endpoints=names)
    ((path, _),) = formats.write_exports(
        asked, model, RunFolder(tmp_path), image_size=32, step=3
    )
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    found = keras.models.load_model(path)(images)
    assert set(found) == set(names)
    h = saved_model.load_encoder(path)(images)
    np.testing.assert_allclose(h, model.representation(images), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(h, found["final_avg_pool"])


def test_a_file_without_h_is_refused_where_h_is_needed(model, tmp_path):
    path = tmp_path / "encoder.keras"
    saved_model.save_encoder(models.build_endpoints(model, ["block_group1"]), path)
    with pytest.raises(ConfigError, match="final_avg_pool in --export_endpoints"):
        saved_model.load_encoder(path)


def test_an_unknown_endpoint_is_refused_in_one_line():
    code, said = command_line.main(
        "--mode=pretrain", "--image_dir=photos", "--export_endpoints=h"
    )
    assert code != 0
    assert "export_endpoints" in said and "proj_head_output" in said
    assert len(said.strip().splitlines()) == 1
