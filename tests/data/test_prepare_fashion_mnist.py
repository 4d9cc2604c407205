import gzip
import hashlib
import importlib.util
import io
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "data" / "prepare_fashion_mnist.py"


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("prepare_fashion_mnist", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def gzip_without_header(content):
    return gzip.compress(content, mtime=0)


def gzip_with_header(content, name, time_stamp):
    target = io.BytesIO()
    with gzip.GzipFile(name, "wb", fileobj=target, mtime=time_stamp) as file:
        file.write(content)
    return target.getvalue()


@pytest.fixture
def source(script, tmp_path, monkeypatch):
    """A package folder with four small files in place of the published ones."""
    folder = tmp_path / "package"
    folder.mkdir()
    published = {}
    for name, (time_stamp, _) in script.PUBLISHED.items():
        stripped = gzip_without_header(name.encode() * 7)
        (folder / name).write_bytes(stripped)
        whole = script.restore_gzip_header(
            stripped, name=name[:-3], time_stamp=time_stamp
        )
        published[name] = (time_stamp, hashlib.sha256(whole).hexdigest())
    monkeypatch.setattr(script, "PUBLISHED", published)
    return folder


def test_restored_header_equals_what_gzip_writes(script):
    name, time_stamp = "train-images-idx3-ubyte", 0x59A7E9DE
    restored = script.restore_gzip_header(
        gzip_without_header(b"abcde" * 5), name=name, time_stamp=time_stamp
    )
    expected = bytearray(gzip_with_header(b"abcde" * 5, name, time_stamp))
    expected[9] = restored[9]  # the operating system, kept as found
    assert restored == expected
    assert gzip.decompress(restored) == b"abcde" * 5


def test_header_with_a_name_is_left_alone(script):
    whole = gzip_with_header(b"abc", "name", 5)
    assert script.restore_gzip_header(whole, name="other", time_stamp=7) == whole


def test_digests_are_those_of_tfds(script):
    # The checksums TFDS has for the set's four URLs, in its own file.
    import tensorflow_datasets as tfds

    folder = pathlib.Path(tfds.__file__).parent / "url_checksums"
    lines = (folder / "fashion_mnist.txt").read_text().splitlines()
    known = {line.split("\t")[3]: line.split("\t")[2] for line in lines}
    assert known == {name: digest for name, (_, digest) in script.PUBLISHED.items()}


def test_placing_twice_writes_once(script, source, tmp_path):
    paths = script.place_files(source, tmp_path / "data")
    assert [p.name for p in paths] == list(script.PUBLISHED)
    times = [p.stat().st_mtime_ns for p in paths]
    assert script.place_files(source, tmp_path / "data") == paths
    assert [p.stat().st_mtime_ns for p in paths] == times
    assert sorted(p.name for p in paths[0].parent.iterdir()) == sorted(script.PUBLISHED)


def test_a_damaged_placed_file_is_written_again(script, source, tmp_path):
    paths = script.place_files(source, tmp_path)
    good = paths[2].read_bytes()
    paths[2].write_bytes(good[:-3])
    script.place_files(source, tmp_path)
    assert paths[2].read_bytes() == good


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "apt-get install dataset-fashion-mnist"),
        (lambda path: path.write_bytes(b"<html>" * 5), "not a gzip file"),
        (lambda path: path.write_bytes(gzip_without_header(b"x")), "SHA-256 differs"),
    ],
)
def test_a_bad_source_is_one_line_and_exit_code_2(
    script, source, tmp_path, capsys, damage, message
):
    damage(source / "t10k-images-idx3-ubyte.gz")
    data_dir = tmp_path / "data"
    code = script.main([f"--source={source}", f"--data_dir={data_dir}"])
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not list(data_dir.glob("**/t10k-images*"))


def test_absent_package_prints_no_traceback(tmp_path):
    arguments = [f"--source={tmp_path / 'none'}", f"--data_dir={tmp_path}"]
    result = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "apt-get install dataset-fashion-mnist" in result.stderr


def test_the_package_restores_to_the_published_files(script, tmp_path):
    source = pathlib.Path(script.SOURCE)
    if not source.is_dir():
        pytest.skip("Debian package dataset-fashion-mnist is not installed")
    script.place_files(source, tmp_path)  # checks every SHA-256


@pytest.mark.slow
def test_tfds_builds_from_the_package_without_download(script, tmp_path):
    if not pathlib.Path(script.SOURCE).is_dir():
        pytest.skip("Debian package dataset-fashion-mnist is not installed")
    assert script.main([f"--data_dir={tmp_path}"]) == 0
    assert script.is_built(tmp_path)
    # Built: neither the source nor the placed files are asked for again.
    assert script.main([f"--data_dir={tmp_path}", "--source=/nowhere"]) == 0
