"""``RunFolder`` knows every file that the program leaves in a run folder."""

import shutil

from simclr_tf2.run_paths import RunFolder
from tests.support.tiny_runs import measure

PER_STEP = ("ckpt-12.", "ckpt-8.", "ckpt-4.")


def unknown(folder):
    """Files that no property of ``folder`` names, nor a folder that one names."""
    names = [n for n, v in vars(RunFolder).items() if isinstance(v, property)]
    known = {getattr(folder, name) for name in names}
    return [
        str(path.relative_to(folder.path))
        for path in folder.path.rglob("*")
        if path.is_file()
        and not known & {path, *path.parents}
        and not path.name.startswith(PER_STEP)
    ]


def test_every_file_of_a_finished_run_is_known(finished):
    folder = RunFolder(finished[0])
    of_names = finished[0].glob("results_*.json")  # other tests evaluate the run
    names = [path.stem.removeprefix("results_") for path in of_names]
    folders = [folder, *(RunFolder(finished[0], name) for name in names)]
    assert set.intersection(*(set(unknown(found)) for found in folders)) == set()
    left = (folder.config, folder.flags, folder.history, folder.metrics)
    left += (folder.checkpoint_state, folder.checkpoint_index(12), folder.features)
    left += (folder.results, folder.predictions, folder.evaluations, folder.report)
    left += (folder.encoder, folder.saved_model, folder.events)
    assert [path for path in left if not path.exists()] == []


def test_every_file_of_a_named_evaluation_is_known(finished, data_dir, tmp_path):
    copy = shutil.copytree(finished[0], tmp_path / "run")
    own = {path for path in copy.rglob("*") if path.is_file()}
    before = {path: path.read_bytes() for path in own}
    protocols = ("--protocols=knn,label_free", "--best_metric=knn")
    measure(copy, f"--data_dir={data_dir}", *protocols)
    folder = RunFolder(copy, "bad")
    there = {path for path in copy.rglob("*") if path.is_file()}
    new = there - own
    assert all(path.read_bytes() == text for path, text in before.items())
    left = {folder.results, folder.predictions, folder.evaluations, folder.neighbours}
    assert left <= new and folder.best_record.name in {p.name for p in new}
    places = (folder.best, folder.evaluation_events, folder.features)
    rest = [p for p in new - left if not set(places) & set(p.parents)]
    assert rest == []
