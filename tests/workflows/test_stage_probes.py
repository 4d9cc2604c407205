"""benchmarks/stage_probes.py: joined stages, and h as the program measures it."""

import numpy as np
import pytest

from benchmarks import stage_probes
from simclr_tf2 import models
from simclr_tf2.config import ModelConfig
from tests.support.tiny_runs import measure, run


def test_stages_are_pooled_and_joined():
    network = ModelConfig(resnet_depth=10, width_multiplier=0.125)
    backbone = models.build_simclr(network, image_size=32, export=True).backbone
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    outputs = backbone(images, training=False)
    for names in stage_probes.STAGES.values():
        parts = [np.asarray(outputs[name]) for name in names]
        parts = [x.mean(axis=(1, 2)) if x.ndim == 4 else x for x in parts]
        found = stage_probes.joined(backbone, names)(images)
        np.testing.assert_allclose(found, np.concatenate(parts, axis=1), rtol=1e-5)


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert stage_probes.main([f"--model_dir={tmp_path}"]) == 2
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.slow
def test_the_row_of_h_is_what_the_program_measures(tmp_path, data_dir, capsys):
    run(tmp_path / "run", data_dir)
    found = stage_probes.measure(tmp_path / "run", "train", "test", str(data_dir))
    assert found.keys() == stage_probes.STAGES.keys()
    results = measure(tmp_path / "run", "--protocols=logreg,knn")["results"]
    for protocol in ("logreg", "knn"):
        value = results[f"SimCLR h/{protocol}"]["value"]
        assert found["h"][protocol] == pytest.approx(100 * value, abs=1e-6)
    wanted = [f"--model_dir={tmp_path / 'run'}", f"--data_dir={data_dir}"]
    assert stage_probes.main(wanted) == 0
    assert capsys.readouterr().out.count(": LogReg ") == 3
