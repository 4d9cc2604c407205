"""Several yes-or-no labels an image, some ignored, from the command line on."""

import csv
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import average_precision_score
from sklearn.svm import LinearSVC

from simclr_tf2 import workflows
from simclr_tf2.data import opening
from simclr_tf2.runs import folder as run_folder
from tests import command_line
from tests.support.program_flags import parsed

COUNT = {"train": 60, "test": 33}
NAMES = ["cat", "dog"]
NETWORK = [x for x in command_line.TINY if "dataset" not in x and "split" not in x]


def manifest(folder):
    """Pictures whose colours show the labels, and those: file -> the labels of it."""
    rng = np.random.default_rng(0)
    labels = {
        split: (rng.uniform(size=(n, 2)) < 0.3).astype(int)
        for split, n in COUNT.items()
    }
    rows = [["path", *NAMES, "split"]]
    for split, targets in labels.items():
        for i, (cat, dog) in enumerate(targets):
            pixels = rng.integers(0, 150, [32, 32, 3])
            pixels[..., 0] += 60 * cat
            pixels[..., 2] += 60 * dog
            name = f"{split}{i}.png"
            encoded = tf.io.encode_png(pixels.astype(np.uint8)).numpy()
            (folder / name).write_bytes(encoded)
        targets[4::9, 0] = targets[5::9, 1] = -1  # ignored
        rows += [[f"{split}{i}.png", *t, split] for i, t in enumerate(targets.tolist())]
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return {name: targets for name, *targets, _ in rows[1:]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(labels, folder, process) of a run that ends with both protocols."""
    folder = tmp_path_factory.mktemp("several")
    labels = manifest(folder)
    done = command_line.run(
        *NETWORK,
        f"--manifest={folder / 'labels.csv'}",
        f"--label_columns={','.join(NAMES)}",
        "--train_split=train",
        "--eval_split=test",
        "--train_batch_size=20",
        "--train_steps=2",
        "--protocols=svm,low_shot",
        f"--model_dir={folder / 'run'}",
    )
    return labels, folder / "run", done


def kept(folder):
    """Split -> features and labels that the run keeps, told apart by their number."""
    found = {}
    for entry in (folder / "features").iterdir():
        labels = np.load(entry / "labels.npy")
        (split,) = (s for s, n in COUNT.items() if n == len(labels))
        found[split] = np.load(entry / "features.npy"), labels
    return found


def test_svm_and_low_shot_measure_a_run_with_several_labels(run):
    labels, folder, done = run
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((folder / "results.json").read_text())["results"]
    for row in ("SimCLR feature5", "Random encoder feature5", "PCA-256 of pixels"):
        record = results[f"{row}/low_shot"]
        assert record["measure"] == "map" and record["shots"] == [1, 2]
        assert 0 < record["value"] <= 1 and record["value"] == record["map_mean"][-1]
    data = run_folder.read_config(folder).data
    for split, (features, targets) in kept(folder).items():
        paths = opening.open_split(data, split).source.paths
        expected = [labels[os.path.basename(os.fsdecode(path))] for path in paths]
        np.testing.assert_array_equal(targets, expected)
        assert len(features) == len(expected) == COUNT[split]
    assert "mAP" in done.stdout and (folder / "report.html").exists()


def test_the_average_precision_is_that_of_scikit_learn_on_the_kept_features(run):
    _, folder, done = run
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((folder / "results.json").read_text())["results"][
        "SimCLR feature5/svm"
    ]
    (x, y), (test_x, test_y) = (
        (h / (np.linalg.norm(h, axis=1, keepdims=True) + 1e-5), targets)
        for h, targets in map(kept(folder).__getitem__, ("train", "test"))
    )
    precisions = []
    for column, cost in enumerate(record["costs_chosen"]):
        classifier = LinearSVC(
            C=cost, class_weight={True: 2}, dual=False, tol=1e-6, max_iter=20_000
        ).fit(x.astype(np.float64), y[:, column] == 1)  # ignored: a negative
        known = test_y[:, column] >= 0  # ignored: left out
        assert 0 < known.sum() < len(known)
        scores = classifier.decision_function(test_x[known])
        precisions.append(average_precision_score(test_y[known, column], scores))
    assert record["map_not_interpolated"] == pytest.approx(
        np.mean(precisions), abs=1e-2
    )
    assert record["value"] == record["map"] >= record["map_not_interpolated"]


def test_a_later_evaluation_reads_what_is_kept(run, caplog):
    import flags

    _, folder, done = run
    assert done.returncode == 0, done.stderr[-3000:]
    first = json.loads((folder / "results.json").read_text())["results"]
    caplog.set_level("INFO")
    values = parsed(
        "--mode=eval", f"--model_dir={folder}", "--eval_name=again", "--noreport"
    )
    found = workflows.run(flags.config_from_flags(values))["results"]
    assert caplog.text.count("read from") == 2
    assert found.keys() == first.keys()
    for name in ("SimCLR feature5/svm", "SimCLR feature5/low_shot"):
        assert found[name]["value"] == first[name]["value"]
