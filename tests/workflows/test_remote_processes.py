"""A run in ``gs://``, in processes of its own, through TensorFlow's own client.

The server is on this machine (tests/support/gcs.py).
"""

import json
import shutil
import signal
import time

import pytest

from deploy.cluster_demo import free_ports
from tests import command_line
from tests.support import gcs

RUN = "gs://bucket/runs/a"


@pytest.fixture
def server(tmp_path, monkeypatch):
    with gcs.serving(tmp_path) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield server


def until(condition, process, seconds=240):
    """Wait, as long as the process runs, for something it does."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)


def digests(text):
    """Row of the results -> digest of the weights that were measured."""
    found = json.loads(text)
    assert found["finished"]
    rows = {key: record.get("weights") for key, record in found["results"].items()}
    assert any(rows.values())
    return rows


@pytest.mark.slow
def test_a_run_is_stopped_and_goes_on_on_another_machine(
    server, finished, data_dir, tmp_path
):
    """The reference's own command has such a folder. Weights are those of no stop."""
    settings = [*command_line.TINY, f"--model_dir={RUN}", f"--data_dir={data_dir}"]
    settings += ["--keep_checkpoint_max=1"]
    process = command_line.start(*settings)
    until(lambda: "bucket/runs/a/ckpt-4.index" in server.objects, process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 42, said
    assert "results.json" not in server.names("bucket/runs/a")
    shutil.rmtree(tmp_path / "cache")  # another machine has no copy
    done = command_line.run(*settings)
    assert done.returncode == 0, done.stderr
    assert f"resuming from {RUN}/ckpt-" in done.stderr
    assert f"{RUN}/report.html" in done.stdout
    names = server.names("bucket/runs/a")
    made = {"results.json", "report.html", "encoder.keras", "predictions.npz"}
    assert made | {"config.json", "flags.txt", "ckpt-12.index"} <= set(names)
    assert not [name for name in names if name.startswith(("ckpt-4", "ckpt-8"))]
    found = digests(server.read("bucket/runs/a/results.json"))
    assert found == digests((finished[0] / "results.json").read_text())
    cache = str(tmp_path / "cache").encode()
    assert not [name for name in names if cache in server.read(f"bucket/runs/a/{name}")]
    assert not list(command_line.ROOT.glob("*:"))


@pytest.mark.slow
def test_two_workers_share_a_run_in_a_bucket(server, data_dir):
    """Each has a local copy; worker 0 uploads, and both go on from the same step."""

    def start():
        addresses = ",".join(f"localhost:{port}" for port in free_ports(2))
        return [
            command_line.start(
                *command_line.TINY,
                f"--model_dir={RUN}",
                f"--data_dir={data_dir}",
                f"--cluster={addresses}",
                f"--task_index={index}",
            )
            for index in (0, 1)
        ]

    workers = start()
    until(lambda: "bucket/runs/a/ckpt-4.index" in server.objects, workers[0])
    workers[1].send_signal(signal.SIGTERM)
    said = [worker.communicate(timeout=240)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [42, 42], said
    workers = start()
    said = [worker.communicate(timeout=240)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert all(f"resuming from {RUN}/ckpt-" in text for text in said)
    assert {"results.json", "ckpt-12.index"} <= set(server.names("bucket/runs/a"))


READ = """
import json, sys
from simclr_tf2.config import DataConfig
from simclr_tf2.data import opening

sets = {"data_dir": "gs://bucket/sets", "dataset": "simclr_shapes/tiny"}
drawn = opening.open_split(DataConfig(**sets), "test")
pattern = drawn.source.shards.files[0].replace("-test.", "-{split}.")
sources = [
    {},
    {"tfrecords": pattern.rpartition("tfrecord")[0] + "tfrecord*"},
    {"image_dir": "gs://bucket/photos"},
    {"manifest": "gs://bucket/photos/list.csv"},
]
splits = [
    opening.open_split(DataConfig(**{**sets, **source}), split)
    for source, split in zip(sources, ("test", "test", "all", "all"))
]
images = [next(iter(s.source.examples())) for s in splits]
assert all(s.source.decode(x).shape[-1] == 3 for s, x in zip(splits, images))
print(json.dumps([split.num_examples for split in splits]))
"""


@pytest.mark.slow
def test_images_are_read_from_a_bucket(server, tmp_path):
    """Data sets are made there as well; what is known of files stays here."""
    samples = command_line.ROOT / "data/samples/good"
    for name in ("rgb.png", "gray.jpg"):
        server.put(f"bucket/photos/inner/{name}", (samples / name).read_bytes())
    server.put("bucket/photos/list.csv", b"path\ninner/rgb.png\n")
    said = command_line.python(READ, PYTHONPATH=str(command_line.ROOT))
    assert json.loads(said) == [500, 500, 2, 1]
    index = tmp_path / "cache/simclr_tf2/image_index"
    assert {path.suffix for path in index.iterdir()} == {".json", ".npz"}
    assert not [n for n in server.names("bucket/sets") if "image_index" in n]


@pytest.mark.slow
def test_a_bucket_that_cannot_be_written_is_refused_before_training(server):
    server.fault = lambda method, name: None if method == "GET" else 403
    done = command_line.run(*command_line.TINY, f"--model_dir={RUN}")
    assert done.returncode == 2
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert f"--model_dir={RUN} cannot be written: permission denied (HTTP 403)" in line
    assert not server.objects
