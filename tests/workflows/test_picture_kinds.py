"""Two folders of many kinds of files, from the command line: scan to embeddings."""

import io
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import flags
from simclr_tf2 import workflows
from simclr_tf2.data import image_sets, once
from tests import command_line
from tests.support.program_flags import parsed
from tests.workflows.test_own_images import SMALL, losses

RNG = np.random.default_rng(0)
NETWORK = [*SMALL, "--strategy=one_device", "--noreport", "--progress=none"]


def picture(kind):
    """Bytes of a random 12-bit picture of 20x24 pixels."""
    pixels = RNG.integers(0, 4096, (20, 24, 3)).astype(np.uint16)
    if kind == "png":
        return tf.io.encode_png(pixels).numpy()
    if kind == "ppm":
        return b"P6 24 20 4095\n" + pixels.astype(">u2").tobytes()
    file = io.BytesIO()
    pytest.importorskip("tifffile").imwrite(file, pixels, photometric="rgb")
    return file.getvalue()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """a and b with the classes cat and dog, as --image_dir takes them."""
    top = tmp_path_factory.mktemp("pictures")
    for folder in "ab":
        for label in ("cat", "dog"):
            place = top / folder / label
            place.mkdir(parents=True)
            for i, kind in enumerate(("png", "ppm", "tif") * 4):
                (place / f"{i:02}.{kind}").write_bytes(picture(kind))
    return top


def run(top, *arguments):
    """What the program returns for these flags, in this process."""
    once.warn.cache_clear()
    image_sets._open_image_set.cache_clear()
    values = parsed(f"--data_dir={top / 'data'}", *arguments)
    return workflows.run(flags.config_from_flags(values))


@pytest.fixture(scope="module")
def pretrained(folders):
    arguments = [*NETWORK, f"--image_dir={folders}/a,{folders}/b"]
    arguments += ["--protocols=", "--export_formats=keras"]
    arguments += [f"--data_dir={folders / 'data'}", f"--model_dir={folders / 'run'}"]
    done = command_line.run(*arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "--pixel_range=0,4095" in done.stderr
    return folders / "run"


def test_a_scan_counts_both_folders(folders):
    found = run(folders, "--mode=scan", f"--image_dir={folders}/a,{folders}/b")
    assert found["images"] == 48 and found["bad"] == []
    assert found["formats"] == {"png": 16, "pnm": 16, "tiff": 16}
    assert found["pixels"]["read_as"] == "0,4095" and found["bits"] == {"16": 48}
    assert list(found["classes"]) == ["cat", "dog"]


def test_a_run_goes_on_when_both_folders_have_moved(folders, pretrained, caplog):
    folder, top = folders / "again", folders / "moved"
    shutil.copytree(pretrained, folder)
    top.mkdir()
    for name in "ab":
        shutil.copytree(folders / name, top / name)
    changed = [f"--image_dir={top}/a,{top}/b", f"--model_dir={folder}"]
    changed += ["--train_steps=4", "--extend", "--protocols=", "--export_formats="]
    run(folders, *NETWORK, *changed)
    assert len(losses(folder)) == 4
    assert "images before" not in caplog.text
    config = json.loads((folder / "config.json").read_text())
    assert config["image_dir"] == f"{top}/a,{top}/b"


def test_both_folders_are_classified_and_embedded(folders, pretrained, tmp_path):
    both = f"{folders}/a,{folders}/b"
    found = run(
        folders,
        *NETWORK,
        "--mode=finetune",
        f"--checkpoint={pretrained}",
        f"--image_dir={both}",
        f"--model_dir={tmp_path / 'classifier'}",
        "--export_formats=",
    )
    assert found["step"] == 3
    classes = json.loads((tmp_path / "classifier" / "classes.json").read_text())
    assert "cat" in str(classes) and "dog" in str(classes)
    output = tmp_path / "h.npz"
    run(
        folders,
        "--mode=embed",
        f"--model_dir={pretrained}",
        f"--input={both}",
        f"--output={output}",
    )
    with np.load(output) as file:
        names = file["names"].tolist()
    assert len(names) == 48 and names[0] == "a/cat/00.png"
    assert names[-1] == "b/dog/11.tif"
