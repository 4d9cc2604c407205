"""Endpoints of a checkpoint of the reference code, as that code computed them."""

import numpy as np
import pytest
import tensorflow as tf

import flags
from simclr_tf2 import saved_model, workflows
from simclr_tf2.config import EMBED_ENDPOINTS
from tests.support.program_flags import parsed


@pytest.mark.golden
@pytest.mark.parametrize("name", EMBED_ENDPOINTS)
def test_endpoints_are_those_of_the_reference_code(
    reference_run, reference_outputs, name
):
    model = saved_model.load_endpoint(reference_run / "ckpt-8", name)
    found = model(reference_outputs["input"], training=False)
    is_vector = name in ("final_avg_pool", "proj_head_output")
    expected = reference_outputs[f"infer_{name}" + ("" if is_vector else ":space")]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_reference_checkpoint_embeds_a_folder(reference_run, tmp_path):
    photos, output = tmp_path / "photos", tmp_path / "z.npz"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    for i, image in enumerate(pixels):
        (photos / f"{i}.png").write_bytes(tf.io.encode_png(image).numpy())
    arguments = ["--mode=embed", f"--input={photos}", f"--output={output}"]
    arguments += ["--embed_endpoint=proj_head_output", "--image_size=32"]
    values = parsed(*arguments, f"--checkpoint={reference_run / 'ckpt-8'}")
    workflows.run(flags.config_from_flags(values))
    model = saved_model.load_endpoint(reference_run, "proj_head_output")
    with np.load(output) as file:
        np.testing.assert_allclose(
            file["features"],
            model(pixels / np.float32(255), training=False),
            rtol=1e-4,
            atol=1e-5,
        )
