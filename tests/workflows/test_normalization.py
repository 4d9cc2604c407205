"""--normalize_mean and --normalize_std, from pretraining to exports and fine-tuning."""

import json

import keras
import numpy as np
import pytest

import flags
from simclr_tf2 import workflows
from simclr_tf2.errors import ConfigError
from tests.command_line import TINY
from tests.support.program_flags import parsed

MEAN = "--normalize_mean=0.5,0.4,0.3"
STD_EACH = "--normalize_std=0.25,0.2,0.3"
QUICK = """--strategy=one_device --train_steps=1 --train_batch_size=16 --progress=none
--protocols= --noreport --monitor_epochs=0""".split()
FINETUNE = """--mode=finetune --dataset=simclr_shapes/tiny --train_split=train
--eval_split=test --train_steps=1 --train_batch_size=8 --strategy=one_device
--noreport --export_formats= --progress=none""".split()


def run(*arguments):
    return workflows.run(flags.config_from_flags(parsed(*arguments)))


@pytest.fixture(scope="module")
def normalized(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("normalized") / "run"
    exports = "--export_formats=keras,keras_uint8"
    run(*TINY, *QUICK, MEAN, STD_EACH, exports, *places(folder, data_dir))
    return folder


def places(folder, data_dir):
    return f"--model_dir={folder}", f"--data_dir={data_dir}"


def test_exports_of_a_run_normalize_and_take_unit_or_byte_pixels(normalized):
    kept = (normalized / "flags.txt").read_text()
    assert MEAN in kept and STD_EACH in kept
    encoder = keras.models.load_model(normalized / "encoder.keras")
    layer = encoder.get_layer("stem_normalization")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    images = pixels / np.float32(255)
    np.testing.assert_allclose(
        layer(images), (images - [0.5, 0.4, 0.3]) / [0.25, 0.2, 0.3], atol=1e-5
    )
    of_pixels = keras.models.load_model(normalized / "encoder_uint8.keras")
    np.testing.assert_allclose(of_pixels(pixels), encoder(images), atol=1e-4)


def test_another_normalization_is_refused(normalized, data_dir, tmp_path):
    more = ("--train_steps=2", "--extend", *places(normalized, data_dir))
    with pytest.raises(ConfigError, match="normalize_mean"):
        run(*TINY, *QUICK, *more)
    start = (f"--checkpoint={normalized}", *places(tmp_path / "next", data_dir))
    with pytest.raises(ConfigError, match=f"differs: .* with {MEAN} .*give the same"):
        run(*TINY, *QUICK, *start)
    plain = tmp_path / "plain"
    with pytest.raises(ConfigError, match=f"{MEAN.split('=')[0]}=.* leave it out"):
        other = "--normalize_mean=0.1,0.2,0.3"
        run(*FINETUNE, other, STD_EACH, start[0], *places(plain, data_dir))
    assert not plain.exists() and not (tmp_path / "next").exists()


def test_fine_tuning_takes_it_from_the_checkpoint(normalized, data_dir, tmp_path):
    folder = tmp_path / "classifier"
    run(*FINETUNE, f"--checkpoint={normalized}", *places(folder, data_dir))
    settings = json.loads((folder / "config.json").read_text())
    assert settings["normalize_mean"] == [0.5, 0.4, 0.3]
    assert settings["normalize_std"] == [0.25, 0.2, 0.3]
