"""Names in a run folder, and that an evaluation's own have its name in them."""

import os
import re
from pathlib import Path

import pytest

from simclr_tf2.run_paths import RunFolder, checkpoint_config
from tests.command_line import ROOT

RUN = RunFolder(Path("runs/a"))
NAMED = RunFolder(Path("runs/a"), "val")
OF_AN_EVALUATION = {
    "results": "results_val.json",
    "evaluations": "evaluations_val.jsonl",
    "predictions": "predictions_val.npz",
    "neighbours": "neighbours_val.npz",
    "report": "report_val.html",
    "best": "best_val",
    "classifier": "classifier_val.keras",
    "classifier_saved_model": "classifier_saved_model_val",
    "evaluation_events": "tensorboard/val",
    "picture_events": "tensorboard/val",
}


def properties():
    return [n for n, v in vars(RunFolder).items() if isinstance(v, property)]


@pytest.mark.parametrize("name", properties())
def test_what_an_evaluation_writes_has_its_name_and_all_else_has_not(name):
    path = getattr(NAMED, name)
    if name in OF_AN_EVALUATION:
        assert path == Path("runs/a") / OF_AN_EVALUATION[name]
        assert path != getattr(RUN, name)
    else:
        assert path == getattr(RUN, name)
    assert getattr(NAMED.without_name(), name) == getattr(RUN, name)


def test_the_page_of_results_names_every_file():
    page = (ROOT / "docs/results.md").read_text()
    table = page.split("\n## Files of a run folder\n")[1].split("\n\n")[1]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    documented = {name.rstrip("/") for name in re.findall(r"`(.+?)`", "".join(cells))}
    within = {"best_record", "evaluation_events", "picture_events"}
    folders = RunFolder(Path("")), RunFolder(Path(""), "NAME")
    names = [name for name in properties() if name not in within]
    known = {str(getattr(folder, name)) for folder in folders for name in names}
    per_step = {name for name in documented if name.startswith("ckpt-N.")}
    assert documented - per_step - {"semi", "baselines", "transfer"} == known


def test_no_two_names_are_the_same():
    paths = [getattr(NAMED, n) for n in properties() if n != "picture_events"]
    assert len(set(paths)) == len(paths)


def test_an_empty_name_is_none():
    assert RunFolder(Path("a"), "").results == RunFolder(Path("a")).results


def test_a_run_folder_is_a_path(tmp_path):
    folder = RunFolder(tmp_path, "val")
    assert str(folder) == f"{folder}" == os.fspath(folder) == str(tmp_path)
    assert Path(folder) == tmp_path and os.listdir(folder) == []


def test_parts_of_a_checkpoint_begin_with_its_prefix():
    prefix = RUN.checkpoint(7)
    assert RUN.checkpoint_index(7) == Path(f"{prefix}.index")
    assert checkpoint_config(prefix) == Path("runs/a/ckpt-7.config.json")


def test_runs_within_a_run_are_run_folders_of_their_own():
    inner = NAMED.baseline("random_init")
    assert inner.results == Path("runs/a/baselines/random_init/results.json")
    assert NAMED.semi("ab", "10percent").path == Path("runs/a/semi/ab/10percent")
    assert NAMED.trials("finetune", "dtd") == Path("runs/a/transfer/finetune-dtd.json")
