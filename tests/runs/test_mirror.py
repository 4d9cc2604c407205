"""The local copy of a remote folder: what is copied, in which order, and who wins."""

import json

import pytest
import tensorflow as tf

from simclr_tf2.errors import RunFailed
from simclr_tf2.runs import mirror as mirrors
from simclr_tf2.runs import remote_files
from simclr_tf2.runs.mirror import Mirror


@pytest.fixture
def address(request):
    place = f"ram://{request.node.name.partition('[')[0]}/run"
    yield place
    if tf.io.gfile.exists(place):
        tf.io.gfile.rmtree(place)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(remote_files, "WAITS", (0.0, 0.0))


def opened(address, folder):
    """A copy as another process or machine makes it, with what is there."""
    mirror = Mirror(address, folder)
    mirror.pull()
    return mirror


def write(mirror, **files):
    mirror.folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = mirror.folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def save(mirror, step):
    """The files of a checkpoint."""
    names = (
        f"ckpt-{step}__data-0",
        f"ckpt-{step}__index",
        f"ckpt-{step}__config__json",
    )
    write(mirror, **dict.fromkeys(names, str(step)), checkpoint=f"newest: {step}")


def there(address):
    return sorted(remote_files.listing(address))


def read(address, name):
    return tf.io.read_file(f"{address}/{name}").numpy().decode()


def test_a_folder_that_is_not_there_is_an_empty_run(address, tmp_path):
    mirror = Mirror(address, tmp_path)
    assert mirror.pull() == 0
    assert not mirror.folder.exists()  # as a run that has not begun


def test_files_go_there_and_come_back_elsewhere(address, tmp_path):
    first = opened(address, tmp_path / "a")
    write(first, config__json="{}", empty="", **{"saved_model/4/saved_model__pb": "m"})
    assert first.push() == 3 and first.push() == 0
    second = opened(address, tmp_path / "b")
    for name in ("config.json", "empty", "saved_model/4/saved_model.pb"):
        assert (second.folder / name).read_text() == (first.folder / name).read_text()


def test_a_restart_on_the_same_machine_downloads_nothing(address, tmp_path):
    first = opened(address, tmp_path)
    save(first, 2)
    first.push()
    first.close()
    again = Mirror(address, tmp_path)
    assert again.folder == first.folder
    assert again.pull() == 0 and again.push() == 0


def test_two_processes_have_copies_of_their_own(address, tmp_path):
    first, second = opened(address, tmp_path), opened(address, tmp_path)
    assert first.folder != second.folder
    other = Mirror(f"{address}2", tmp_path)
    assert other.folder.parent.parent != first.folder.parent.parent


def test_no_reader_finds_a_broken_newest_checkpoint(address, tmp_path, monkeypatch):
    mirror = opened(address, tmp_path)
    save(mirror, 2)
    write(mirror, results__json="{}", metrics__jsonl="{}", **{"best/best__json": "{}"})
    mirror.push()
    seen = []
    upload, remove = remote_files.upload, remote_files.remove

    def uploading(path, to):
        if "ckpt" in to or to.endswith(("/checkpoint", ".json")):
            seen.append(f"+{to.removeprefix(address)}")
        return upload(path, to)

    def removing(name):
        if ".write" not in name and f"-{name}" not in seen and "ckpt-2" in name:
            seen.append(f"-{name.removeprefix(address)}")
        remove(name)

    monkeypatch.setattr(remote_files, "upload", uploading)
    monkeypatch.setattr(remote_files, "remove", removing)
    save(mirror, 4)
    write(mirror, results__json="{ }")
    for path in mirror.folder.glob("ckpt-2.*"):
        path.unlink()
    mirror.push()
    assert seen == [
        "+/ckpt-4.config.json",
        "+/ckpt-4.data-0",
        "+/ckpt-4.index",
        "+/checkpoint",
        "+/results.json",
        "-/ckpt-2.index",
        "-/ckpt-2.data-0",
        "-/ckpt-2.config.json",
    ]
    assert not [name for name in there(address) if "ckpt-2" in name]


def test_temporary_files_and_features_stay_here(address, tmp_path):
    mirror = opened(address, tmp_path)
    write(
        mirror,
        **{
            "features/ab/features__npy": "x",
            "__report__123-ab__tmp__html": "x",
            "__best__host__1/ckpt-1__index": "x",
            "ckpt-1_temp/part": "x",
            "config__json": "{}",
        },
    )
    mirror.push()
    assert there(address) == ["config.json"]


def test_logs_for_tensorboard_go_there_and_do_not_come_back(address, tmp_path):
    first = opened(address, tmp_path / "a")
    write(first, **{"tensorboard/events__out__tfevents__1": "x", "config__json": "{}"})
    first.push()
    assert "tensorboard/events.out.tfevents.1" in there(address)
    second = opened(address, tmp_path / "b")
    assert [path.name for path in second.folder.iterdir()] == ["config.json"]
    second.push()
    assert "tensorboard/events.out.tfevents.1" in there(address)


def test_a_follower_gets_new_checkpoints_and_loses_old_ones(address, tmp_path):
    trainer = opened(address, tmp_path / "a")
    save(trainer, 2)
    trainer.push()
    follower = opened(address, tmp_path / "b")
    assert not follower.has_new_checkpoint()
    save(trainer, 4)
    (trainer.folder / "ckpt-2.index").unlink()
    trainer.push()
    assert follower.has_new_checkpoint()
    follower.pull()
    assert not follower.has_new_checkpoint()
    names = {path.name for path in follower.folder.iterdir()}
    assert "ckpt-4.index" in names and "ckpt-2.index" not in names
    assert follower.push() == 0


def test_what_could_not_be_uploaded_is_kept_and_uploaded_later(address, tmp_path):
    first = opened(address, tmp_path)
    save(first, 2)
    first.push()
    save(first, 4)  # and the process ends before it is uploaded
    first.close()
    again = opened(address, tmp_path)
    assert (again.folder / "ckpt-4.index").exists()
    assert (again.folder / "checkpoint").read_text() == "newest: 4"
    again.push()
    assert read(address, "checkpoint") == "newest: 4"


def test_the_remote_folder_wins_if_another_machine_has_trained(address, tmp_path):
    first = opened(address, tmp_path / "a")
    save(first, 2)
    write(first, metrics__jsonl="2\n")
    first.push()
    save(first, 8)  # not uploaded
    write(first, metrics__jsonl="2\n8\n")
    first.close()
    other = opened(address, tmp_path / "b")
    save(other, 4)
    write(other, metrics__jsonl="2\n4\n")
    other.push()
    again = opened(address, tmp_path / "a")
    assert not list(again.folder.glob("ckpt-8.*"))
    assert (again.folder / "metrics.jsonl").read_text() == "2\n4\n"
    assert (again.folder / "checkpoint").read_text() == "newest: 4"


def test_a_copy_that_was_cleared_is_made_again_and_removes_nothing(address, tmp_path):
    first = opened(address, tmp_path)
    save(first, 2)
    first.push()
    before = there(address)
    first.close()
    for path in first.folder.iterdir():
        path.unlink()
    again = opened(address, tmp_path)
    again.push()
    assert there(address) == before
    assert (again.folder / "ckpt-2.index").exists()


def test_lines_of_two_processes_stay(address, tmp_path):
    trainer, evaluator = opened(address, tmp_path), opened(address, tmp_path)
    write(evaluator, evaluations__jsonl='{"step": 2}\n')
    evaluator.push()
    write(trainer, evaluations__jsonl='{"step": 4}\n')
    trainer.push()
    lines = read(address, "evaluations.jsonl").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]


def test_a_failure_is_one_line_that_says_where_the_files_are(
    address, tmp_path, monkeypatch
):
    mirror = opened(address, tmp_path)
    save(mirror, 2)
    tried = []

    def copy(source, target, overwrite):
        tried.append(target)
        raise tf.errors.UnavailableError(None, None, "the server is gone\n\tat b")

    monkeypatch.setattr(tf.io.gfile, "copy", copy)
    with pytest.raises(RunFailed) as failed:
        mirror.push()
    text = str(failed.value)
    assert "\n" not in text and str(mirror.folder.parent) in text
    assert f"could not copy ckpt-2.config.json to {address}" in text
    assert "the server is gone" in text
    assert len(tried) == 3 and len(set(tried)) == 1  # repeated; then nothing else
    assert (mirror.folder / "ckpt-2.index").exists()
    monkeypatch.undo()
    assert mirror.push() == 4


def test_a_file_that_vanishes_meanwhile_is_left_out(address, tmp_path, monkeypatch):
    mirror = opened(address, tmp_path)
    write(mirror, a="1", b="2")
    names = mirrors._local_files(mirror.folder)
    monkeypatch.setattr(mirrors, "_local_files", lambda folder: names)
    (mirror.folder / "a").unlink()
    mirror.push()
    assert there(address) == ["b"]


@pytest.mark.parametrize(
    ("folder", "mark"), [("saved_model/4", "saved_model.pb"), ("best", "best.json")]
)
def test_what_makes_a_folder_visible_comes_last(
    address, tmp_path, monkeypatch, folder, mark
):
    mirror, names = opened(address, tmp_path), []
    upload = remote_files.upload
    monkeypatch.setattr(
        remote_files, "upload", lambda p, to: names.append(p.name) or upload(p, to)
    )
    for name in (mark, "variables.data-0", "z"):
        write(mirror, **{f"{folder}/{name.replace('.', '__')}": "x"})
    mirror.push()
    assert names[-1] == mark


def test_a_file_that_is_not_here_was_not_removed_by_this_run(address, tmp_path):
    """Only some files are needed here; others stay, there and in the record."""
    first = opened(address, tmp_path)
    write(first, a="1", b="2")
    first.push()
    first.close()
    (first.folder / "b").unlink()
    again = Mirror(address, tmp_path)
    again.pull(lambda name: name == "a")
    again.push()
    assert there(address) == ["a", "b"]


def test_a_local_change_survives_that_the_remote_file_is_gone(address, tmp_path):
    first = opened(address, tmp_path / "a")
    write(first, a="1", b="2")
    first.push()
    write(first, a="changed")
    for name in "ab":
        remote_files.remove(f"{address}/{name}")
    first.pull()
    assert (first.folder / "a").read_text() == "changed"
    assert not (first.folder / "b").exists()


def test_a_list_of_checkpoints_that_is_newer_waits_for_the_next_upload(
    address, tmp_path, monkeypatch
):
    """Training may save the next checkpoint beside an upload that takes long."""
    mirror, upload = opened(address, tmp_path), remote_files.upload
    save(mirror, 2)
    mirror.push()

    def slow(path, to):
        if path.name == "ckpt-4.index":
            save(mirror, 6)
        return upload(path, to)

    save(mirror, 4)
    monkeypatch.setattr(remote_files, "upload", slow)
    mirror.push()
    assert read(address, "checkpoint") == "newest: 2"
    mirror.push()
    assert read(address, "checkpoint") == "newest: 6"
    assert "ckpt-6.index" in there(address)


def test_a_list_that_is_newer_than_the_listed_files_waits(
    address, tmp_path, monkeypatch
):
    """A checkpoint may be saved between the listing of files and their upload."""
    mirror, listed = opened(address, tmp_path), mirrors._local_files
    save(mirror, 2)
    mirror.push()
    save(mirror, 4)

    def slow(folder):
        names = listed(folder)
        save(mirror, 6)
        return names

    monkeypatch.setattr(mirrors, "_local_files", slow)
    mirror.push()
    assert read(address, "checkpoint") == "newest: 2"
    monkeypatch.setattr(mirrors, "_local_files", listed)
    mirror.push()
    assert read(address, "checkpoint") == "newest: 6"
    assert "ckpt-6.index" in there(address)


def test_a_file_that_was_gone_and_is_there_anew_is_not_removed(address, tmp_path):
    trainer = opened(address, tmp_path / "a")
    write(trainer, results__json="1")
    trainer.push()
    follower = opened(address, tmp_path / "b")
    remote_files.remove(f"{address}/results.json")
    follower.pull()
    assert not (follower.folder / "results.json").exists()
    write(trainer, results__json="22")
    trainer.push()
    follower.push()
    assert there(address) == ["results.json"]


def test_workers_that_share_a_spool_have_copies_by_their_number(address, tmp_path):
    second = Mirror(address, tmp_path, worker=1)  # is the first to start
    first = Mirror(address, tmp_path)
    assert [m.folder.parent.name for m in (first, second)] == ["0", "worker1-0"]


def test_a_worker_after_the_first_keeps_only_checkpoints_of_the_bucket(
    address, tmp_path
):
    chief = opened(address, tmp_path)
    save(chief, 2)
    chief.push()
    save(chief, 4)  # not uploaded
    other = Mirror(address, tmp_path, worker=1)
    save(other, 8)
    other.pull()
    assert [path.name for path in other.folder.glob("*.index")] == ["ckpt-2.index"]
    chief.pull()
    assert (chief.folder / "ckpt-4.index").exists()
