"""LightlyTrain's defaults on sets of own images: quality at given CPU-seconds.

LightlyTrain and PyTorch are in an environment of their own, for example::

    python -m venv lightly
    lightly/bin/pip install lightly-train

Its SimCLR pretrains torchvision's ResNet-18 on the unlabelled images of a set of
``benchmarks.image_sets``, with its defaults and views of the size of the images. The
length of the schedule is the number of steps that fits the budget, found by two short
runs and the longest recorded one; all seeds take the same number. CPU-seconds are those
of the whole pretraining process: start, training, and the processes that load images;
embedding the labelled images is not counted. The probes are this project's,
``--protocols=logreg,knn``, on LightlyTrain's embeddings of the labelled images. Run
from the repository's root::

    python -m benchmarks.against_lightly_train --lightly_python=lightly/bin/python
        --folder=DIR --sets=shapes32,few --budgets=150,300 --seeds=0,1 --output=FILE

Results that are in the file already are not measured again. Without
``--lightly_python`` nothing is measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import image_sets, processes
from simclr_tf2 import machine

PROCESS = Path(__file__).with_name("lightly_train_process.py")
SHORT, LONG = 4, 14  # steps of the two runs that find the rate
ENVIRONMENT = {
    "LIGHTLY_TRAIN_EVENTS_DISABLED": "1",  # no telemetry
    # Threads of OpenMP that wait for work sleep. By default they spin, which counts as
    # CPU time: 57 instead of 23 CPU-seconds for the same 14 steps on a busy machine.
    "OMP_WAIT_POLICY": "PASSIVE",
}

Runner = Callable[..., float]


def run_lightly(python: str, task: str, log: Path, **arguments) -> float:
    """Run a task of ``lightly_train_process.py`` and return its CPU-seconds."""
    given = [f"--{name}={value}" for name, value in arguments.items()]
    # Isolated: without the folder of the script, whose modules hide others.
    command = [python, "-I", str(PROCESS), task, *given]
    return processes.run_counted(command, log, environment=ENVIRONMENT)


def read_embeddings(file: Path) -> tuple[np.ndarray, list[str]]:
    """Return embeddings [n, d], and the class of each image.

    The class is the name of the folder of the image.
    """
    with np.load(file) as found:
        classes = [Path(name).parent.name for name in found["files"]]
        return found["features"], classes


def environment_of(file: Path) -> dict[str, str]:
    """Return the CPU, and the versions that made a file of embeddings."""
    with np.load(file) as found:
        theirs, torch = map(str, found["versions"])
    return {"cpu": machine.cpu_name(), "lightly_train": theirs, "torch": torch}


def probe(train: Path, validation: Path, seed: int) -> dict[str, float]:
    """Return protocol -> top-1 in percent of two files of embeddings."""
    from simclr_tf2 import evaluation

    (train_x, train_y), (other_x, other_y) = map(read_embeddings, (train, validation))
    names = sorted(set(train_y))
    rows = {
        "LightlyTrain": (
            evaluation.Features(train_x, [names.index(y) for y in train_y], "train"),
            evaluation.Features(
                other_x, [names.index(y) for y in other_y], "validation"
            ),
        )
    }
    found = evaluation.evaluate_rows(rows, ("logreg", "knn"), seed)
    return {
        record["protocol"]: round(100 * record["value"], 2) for record in found.values()
    }


def measure(
    python: str, folder: Path, *, steps: int, seed: int, run: Runner = run_lightly
) -> dict:
    """Pretrain on a set for a number of steps, and probe the embeddings.

    Args:
        python: Python of the environment of LightlyTrain.
        folder: The set.
        steps: Of the training.
        seed: Of the training; probes draw nothing.
        run: Replaces ``run_lightly`` in tests.

    Returns:
        ``cpu_seconds`` of the pretraining process, ``logreg`` and ``knn`` in percent,
        ``environment``: the CPU and versions.
    """
    record = json.loads(image_sets.record_of(folder).read_text())
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        common = {"image_size": record["image_size"]}
        seconds = run(
            python,
            "pretrain",
            out / "pretrain.log",
            images=folder / "unlabeled",
            out=out / "run",
            steps=steps,
            seed=seed,
            **common,
        )
        for part in ("train", "validation"):
            run(
                python,
                "embed",
                out / "embed.log",
                images=folder / part,
                out=out / f"{part}.npz",
                checkpoint=out / "run" / "checkpoints" / "last.ckpt",
                **common,
            )
        found = probe(out / "train.npz", out / "validation.npz", seed)
        environment = environment_of(out / "train.npz")
    return {"cpu_seconds": round(seconds, 1), **found, "environment": environment}


def find_rate(python: str, folder: Path, run: Runner = run_lightly) -> dict[str, float]:
    """Return the CPU-seconds of ``SHORT`` and of ``LONG`` steps, by those names."""
    record = json.loads(image_sets.record_of(folder).read_text())
    found = {}
    for name, steps in (("short", SHORT), ("long", LONG)):
        with tempfile.TemporaryDirectory() as scratch:
            found[name] = run(
                python,
                "pretrain",
                Path(scratch) / "pretrain.log",
                images=folder / "unlabeled",
                out=Path(scratch) / "run",
                steps=steps,
                seed=0,
                image_size=record["image_size"],
            )
    return found


def _steps(results: dict, name: str, budget: float) -> int:
    """Return the steps of another seed, or those that fit the budget."""
    runs = [run for run in results["runs"] if run["set"] == name]
    same = [run["steps"] for run in runs if run["budget"] == budget]
    if same:
        return same[0]
    rates = results["rates"][name]
    points = [(SHORT, rates["short"]), (LONG, rates["long"])]
    points += [(run["steps"], run["cpu_seconds"]) for run in runs]
    return processes.steps_within(budget, points)


def measure_all(arguments: argparse.Namespace) -> None:
    """Measure what the results lack, and write the results after every run."""
    parent, python = arguments.folder.expanduser(), arguments.lightly_python
    results = {"rates": {}, "runs": []}
    if arguments.output.is_file():
        results = json.loads(arguments.output.read_text())
    known = {(r["set"], r["budget"], r["seed"]) for r in results["runs"]}
    wanted = itertools.product(
        map(int, arguments.seeds.split(",")),
        sorted(map(float, arguments.budgets.split(",")), reverse=True),
        arguments.sets.split(","),
    )
    for seed, budget, name in wanted:
        if (name, budget, seed) in known:
            continue
        row = {"set": name, "budget": budget, "seed": seed}
        try:
            if name not in results["rates"]:
                results["rates"][name] = find_rate(python, parent / name)
            row["steps"] = _steps(results, name, budget)
            row |= measure(python, parent / name, steps=row["steps"], seed=seed)
        except processes.ProgramFailed as error:
            print(f"{row}: {error}", flush=True)
            continue
        results["runs"].append(row)
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")
        print(row, flush=True)


def main() -> None:
    """Measure what is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lightly_python", default="", help="Python with LightlyTrain")
    parser.add_argument("--folder", type=Path, default=image_sets.DEFAULT_FOLDER)
    parser.add_argument("--sets", default=",".join(image_sets.image_sets()))
    parser.add_argument("--budgets", default="150,300", help="CPU-seconds of a run")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--output", type=Path, required=True, help="JSON file")
    arguments = parser.parse_args()
    if not arguments.lightly_python:
        print("--lightly_python is not given: LightlyTrain is not measured")
        return
    measure_all(arguments)


if __name__ == "__main__":
    main()
