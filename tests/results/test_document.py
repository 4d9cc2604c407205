"""results.json: one writer, one reader, and a page that names every key."""

import ast
import json
import re
import tarfile

import pytest

from simclr_tf2 import config
from simclr_tf2.results import document
from tests.command_line import ROOT
from tests.support.results_page import documented, documented_scalars, undocumented

LIBRARY = ROOT / "simclr_tf2"
PAGE = (ROOT / "docs/results.md").read_text()
PROVENANCE = {"dataset": "photos", "seed": 3, "environment": {"python": "3.11"}}
RESULTS = {"SimCLR h/knn": {"value": 0.5, "row": "SimCLR h", "protocol": "knn"}}
# File -> functions that make an object of results.json. A new protocol comes here.
SOURCES = {
    "evaluation/classifier.py": ["classify"],
    "evaluation/kept_results.py": ["facts_of_splits"],
    "evaluation/stage_features.py": ["_record"],
    "evaluation/pairs_of_views.py": ["measure_pairs"],
    "evaluation/protocols/average_pool.py": ["average_pool_linear"],
    "evaluation/protocols/depths.py": ["five_linear", "_judge"],
    "evaluation/protocols/knn.py": ["standardized_knn", "weighted_knn_top1"],
    "evaluation/protocols/label_free.py": ["label_free", "_one_view"],
    "evaluation/protocols/linear.py": ["linear_sgd"],
    "evaluation/protocols/logistic.py": ["logistic_regression"],
    "evaluation/protocols/logistic_adam.py": ["logreg_adam"],
    "evaluation/protocols/logistic_sweep.py": ["logreg_sweep"],
    "evaluation/protocols/low_shot.py": ["low_shot", "k_shot"],
    "evaluation/protocols/svm.py": ["svm", "voc_svm", "_scores"],
    "evaluation/provenance.py": ["provenance"],
    "evaluation/representations.py": [
        "facts",
        "eval_geometry",
        "squashed_geometry",
        "_geometry",
    ],
    "evaluation/rows.py": ["_record"],
    "evaluation/runner.py": ["_mark_capped", "measure"],
    "evaluation/scoring.py": ["summarize", "classifier_accuracy"],
    "evaluation/semi_supervised.py": ["measure_semi", "_measure", "_facts"],
    "evaluation/solvers/low_shot_svm.py": ["voc_low_shot"],
    "evaluation/solvers/penalty_sweep.py": ["lbfgs_logistic", "sweep"],
    "evaluation/solvers/sgd_heads.py": ["score_linear"],
    "evaluation/transfer/finetune.py": ["measure_finetuned"],
    "evaluation/transfer/linear.py": ["run_linear", "binary_sweep"],
    "evaluation/transfer/protocol.py": [
        "_identity",
        "_measure_linear",
        "_not_measured",
        "_record",
    ],
    "evaluation/transfer/scores.py": ["score_logits", "_score_presence"],
    "metrics/significance.py": ["mcnemar", "permutation_test"],
    "results/comparison.py": ["_tested", "_permuted"],
    "results/document.py": ["make_document"],
    "results/label_free_comparison.py": ["compare"],
    "results/other_runs.py": ["compare"],
    "runs/best_checkpoint.py": ["__init__", "offer"],
    "runs/history.py": ["write", "_images"],
    "startup.py": ["describe_environment", "describe_cpu"],
    "training/chance.py": ["facts"],
}
# Of dicts in these functions that are not part of a record.
NOT_KEYS = {
    "scores",  # taken out by svm
    "class_values",  # goes to predictions.npz, as the next
    "predictions",
    "classifier",  # is exported
    "stages",  # becomes a record for each
    "starts",  # of history.json
}


def keys_made_by(path, names):
    """Texts that functions use as keys: in dict displays and in ``x["key"] = ...``."""
    tree = ast.parse((LIBRARY / path).read_text())
    functions = {
        node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    }
    assert set(names) <= set(functions), f"{path}: no longer there"
    found = set()
    for name in names:
        for node in ast.walk(functions[name]):
            if isinstance(node, ast.Dict):
                found |= {key.value for key in node.keys if is_text(key)}
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                found |= {node.slice.value} if is_text(node.slice) else set()
    return found


def is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_a_document_has_its_schema_and_what_it_was_given():
    made = document.make_document(
        PROVENANCE,
        RESULTS,
        {"label_free": {"h_std": 0.1}},
        step=7,
        weights="abc",
        facts={"images_in_both_splits": 2, "best": {}, "trained_on": ""},
        timings={"training": 1.5},
        finished=True,
    )
    assert made == {
        "schema": document.SCHEMA,
        "dataset": "photos",
        "step": 7,
        "checkpoint": {"step": 7, "weights": "abc"},
        "seed": 3,
        "results": RESULTS,
        "environment": {"python": "3.11"},
        "images_in_both_splits": 2,
        "label_free": {"h_std": 0.1},
        "timings": {"training": 1.5},
        "finished": True,
    }
    assert PROVENANCE["dataset"] == "photos"  # not changed by it


def test_what_there_is_nothing_to_say_of_is_left_out():
    made = document.make_document(PROVENANCE, {}, step=None, history=[{"from_step": 0}])
    left_out = {"history", "timings", "finished"}
    assert not left_out & set(made) and made["results"] == {} and made["step"] is None
    starts = [{"from_step": 0}, {"from_step": 9}]
    made = document.make_document(PROVENANCE, {}, step=9, history=starts)
    assert made["history"] == starts


def test_a_document_is_read_as_it_was_written(tmp_path):
    made, path = document.make_document(PROVENANCE, RESULTS, step=7), tmp_path / "a"
    document.write(path, made)
    assert document.read(path) == made == json.loads(path.read_text())
    assert list(tmp_path.iterdir()) == [path]
    assert document.read(tmp_path / "b") == {}


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_a_file_that_is_no_document_is_read_as_empty(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    assert document.read(tmp_path / "results.json") == {}


def test_records_that_are_no_rows_are_found_by_protocol():
    others = {"label_free": 1, "semi": 2, "transfer": 3, "transfer_finetune": 4}
    made = document.make_document(PROVENANCE, RESULTS, others, step=1)
    assert document.other_protocols(made) == others


def test_the_page_has_the_number_of_the_schema():
    assert f"version of this format, {document.SCHEMA} |" in PAGE


def test_every_key_of_an_earlier_run_is_documented():
    with tarfile.open(ROOT / "tests/golden/run_before_rebuild.tar.xz") as archive:
        found = json.load(archive.extractfile("run/results.json"))
    assert undocumented(found) == set()


def test_every_number_of_an_earlier_log_is_documented():
    with tarfile.open(ROOT / "tests/golden/run_before_rebuild.tar.xz") as archive:
        lines = archive.extractfile("run/metrics.jsonl").read().splitlines()
    assert {key for line in lines for key in json.loads(line)} <= documented_scalars()


def test_a_key_that_is_not_documented_is_found():
    records = {"SimCLR h/knn": {"value": 1.0, "speed": 2.0, "top1_k20": 1.0}}
    found = {"results": records, "weather": 1, "environment": {"planet": "earth"}}
    assert undocumented(found) == {"speed", "weather", "planet"}


@pytest.mark.parametrize("path", SOURCES)
def test_every_key_of_a_record_is_documented(path):
    keys, known = keys_made_by(path, SOURCES[path]) - NOT_KEYS, documented()
    assert keys and [k for k in sorted(keys) if not {k, f"h_{k}"} & known] == []


def test_every_file_of_a_protocol_is_looked_at():
    files = {
        f"evaluation/protocols/{p.name}"
        for p in LIBRARY.glob("evaluation/protocols/*.py")
    }
    assert files - {"evaluation/protocols/__init__.py"} <= set(SOURCES)


def test_every_documented_key_is_made_somewhere():
    texts = set()
    for path in LIBRARY.rglob("*.py"):
        tree = ast.parse(path.read_text())
        texts |= {node.value for node in ast.walk(tree) if is_text(node)}
        texts |= {n.target.id for n in ast.walk(tree) if is_field(n)}
    parts = {re.sub(r"^[hz]_", "", key) for key in documented()}
    assert sorted(parts - texts) == ["top1_kK", "top5_kK"]  # made with a number


def is_field(node):
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)


def test_every_protocol_stands_in_the_pages():
    evaluation = (ROOT / "docs/evaluation.md").read_text()
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", evaluation, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"\w+", row)}
    assert set(config.PROTOCOLS) <= named
    assert [p for p in config.PROTOCOLS if f"`{p}`" not in PAGE] == []


def test_every_export_format_is_in_the_table_of_files():
    named = set(re.findall(r"`--export_formats=(\w+)`", PAGE))
    assert named == set(config.EXPORT_FORMATS)
