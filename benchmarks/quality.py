"""Quality of the representation against the CPU-seconds of its training.

Trains each recipe with each seed to each budget of CPU-seconds, and measures LogReg and
kNN on h, as ``--protocols=logreg,knn`` does, on a validation part of the training
images. No image of a test split is read. Run from the repository's root::

    python -m benchmarks.quality --recipes=quickstart --seeds=0,1,2
        --budgets=100,200,400 --output=runs/quality

A recipe is the name of a packaged one, the path of a flag file, or a line
``name: flags`` of the file ``--list``, whose flags are added to those of ``--base``.
``--data`` names the images: shapes, fashion_mnist_50k, fashion_mnist_20k, or a set of
``benchmarks.image_sets``. ``--supervised`` also trains classifiers from random weights
on all, 10 % and 1 % of the labelled images that the probes read, at the same budgets.
``--lightly`` adds the rows of ``benchmarks.against_lightly_train`` for the same images.

What is counted: user and system time of the whole training process, from the start of
Python to the saved checkpoint, with imports, tracing and input. The probes run in a
process of their own, which is not counted. The score of a supervised classifier on the
validation part is counted. The number of steps that fits a budget follows from the
CPU-seconds of a few short runs, and of the longest recorded run of the recipe; all
seeds take the same number. The learning rate ends at that step, so each point of a
curve is a run of its own.

Every run is a line of ``runs.jsonl`` in ``--output``; what is there is not run again.
A run that fails is reported, and the others go on. ``quality.md`` is a table of mean
and standard deviation over the seeds, ``quality.png`` shows the curves.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import shutil
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import image_sets, processes
from simclr_tf2.results.rows import ONLINE_ROW

ROOT = Path(__file__).resolve().parents[1]
# Training images, labelled images of the probes, images of the scores.
SPLITS = {
    "shapes": ("simclr_shapes", "unlabeled", "train[:60%]", "train[60%:]"),
    "fashion_mnist_50k": (
        "fashion_mnist",
        "train[:50000]",
        "train[:50000]",
        "train[50000:]",
    ),
    "fashion_mnist_20k": (
        "fashion_mnist",
        "train[:20000]",
        "train[:20000]",
        "train[50000:]",
    ),
    "tiny": ("simclr_shapes/tiny", "unlabeled", "train[:60%]", "train[60%:]"),
}
# Runs of 4, 24, 144, ... steps find the rate, until one takes 1.5 times the CPU-seconds
# of the first, so that the start does not hide the rate, or the budget.
SHORT, GROWTH, CLEAR = 4, 6, 1.5
QUIET = ("--monitor_epochs=0", "--noreport", "--export_formats=", "--progress=none")
# Flags that a recipe may have and that the benchmark sets.
OURS = (
    "mode",
    "model_dir",
    "dataset",
    "data_dir",
    "image_dir",
    "train_split",
    "probe_split",
    "eval_split",
    "train_epochs",
    "train_steps",
    "seed",
)
# Share of the labelled images for supervised training: batch, no more than there are.
LABELS = {1.0: 128, 0.1: 32, 0.01: 8}
# What supervised training takes of a recipe; the rest is SUPERVISED.
NETWORK = ("image_size", "resnet_depth", "width_multiplier", "stem", "sk_ratio")
SUPERVISED = (
    "--fine_tune_after_block=-1",
    "--optimizer=adamw",
    "--learning_rate=0.002",
    "--learning_rate_scaling=none",
    "--warmup_epochs=0",
    "--weight_decay=0.0001",
)
MEASURES = {"logreg": "LogReg", "knn": "kNN"}
ACCURACY = "accuracy"  # of a supervised classifier, in place of both


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A name and flags of ``run.py``.

    Attributes:
        name: In tables.
        flags: All flags of the recipe; those of files are written out.
        mode: "pretrain", or "finetune" for supervised training.
    """

    name: str
    flags: tuple[str, ...]
    mode: str = "pretrain"


@dataclasses.dataclass(frozen=True)
class Images:
    """The images of a table: a name and the flags of ``run.py`` for each mode."""

    name: str
    flags: dict[str, tuple[str, ...]]


def name_of(flag: str) -> str:
    """Return the name of a flag as on the command line: "seed" of "--seed=3"."""
    return flag.lstrip("-").split("=")[0]


def read_flags(name: str) -> tuple[str, ...]:
    """Return the flags of a packaged recipe or a flag file, without comments.

    Raises:
        FileNotFoundError: There is neither.
    """
    for path in (Path(name), ROOT / "recipes" / f"{name}.flags"):
        if path.is_file():
            lines = (line.strip() for line in path.read_text().splitlines())
            return tuple(line for line in lines if line.startswith("-"))
    raise FileNotFoundError(f"{name} is neither a flag file nor a packaged recipe")


def read_recipes(names: Iterable[str], base: str, lines: Iterable[str]) -> list[Recipe]:
    """Return the recipes of the command line.

    Args:
        names: Packaged recipes and flag files.
        base: Recipe to which ``lines`` add flags, or "".
        lines: Lines ``name: flags``; empty ones and comments (#) are left out.
    """
    found = [Recipe(Path(name).stem, read_flags(name)) for name in names]
    start = read_flags(base) if base else ()
    for line in map(str.strip, lines):
        if line and not line.startswith("#"):
            name, flags = line.split(":", 1)
            found.append(Recipe(name.strip(), (*start, *shlex.split(flags))))
    twice = [r.name for r in found if sum(r.name == o.name for o in found) > 1]
    if twice:
        raise ValueError(f"two recipes have the name {twice[0]!r}; rename one")
    return found


def supervised_recipes(recipe: Recipe) -> list[Recipe]:
    """Return supervised training of a recipe's network on shares of the labels."""
    network = [flag for flag in recipe.flags if name_of(flag) in NETWORK]
    return [
        Recipe(
            f"supervised, {100 * share:g} % of the labels",
            (
                *network,
                *SUPERVISED,
                f"--label_fraction={share:g}",
                f"--train_batch_size={batch}",
            ),
            "finetune",
        )
        for share, batch in LABELS.items()
    ]


def find_images(name: str, data_dir: str, folder: Path) -> Images:
    """Return the images of ``--data``.

    Args:
        name: Of ``SPLITS`` or of a prepared set.
        data_dir: Where TFDS sets are.
        folder: Where the sets of ``benchmarks.image_sets`` are.

    Raises:
        FileNotFoundError: Neither a name of ``SPLITS`` nor a prepared set.
    """
    if name in SPLITS:
        dataset, train, probe, score = SPLITS[name]
        source = (f"--dataset={dataset}", f"--data_dir={data_dir}")
    elif image_sets.record_of(folder / name).is_file():
        source = (f"--image_dir={folder / name}", f"--data_dir={folder / 'index'}")
        train, probe, score = image_sets.PARTS
    else:
        raise FileNotFoundError(
            f"--data must be among {', '.join(SPLITS)}, or a set in {folder}; "
            f"received {name!r} (python -m benchmarks.image_sets prepares sets)"
        )
    scored = f"--eval_split={score}"
    return Images(
        name,
        {
            "pretrain": (
                *source,
                f"--train_split={train}",
                f"--probe_split={probe}",
                scored,
            ),
            "finetune": (*source, f"--train_split={probe}", scored),
        },
    )


class Records:
    """The lines of ``runs.jsonl``, in memory and in the file.

    Attributes:
        rows: All lines, in the order of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.is_file() else []
        self.rows = [json.loads(line) for line in lines]

    def add(self, row: dict) -> None:
        """Append a line."""
        self.rows.append(row)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def of(self, recipe: Recipe, images: Images, **others) -> list[dict]:
        """Return the lines of a recipe with these flags and images."""
        wanted = {
            "data": images.name,
            "recipe": recipe.name,
            "flags": list(recipe.flags),
            **others,
        }
        return [
            row
            for row in self.rows
            if all(row.get(key) == value for key, value in wanted.items())
        ]


@dataclasses.dataclass(frozen=True)
class Bench:
    """Trains and measures runs of one set of images.

    Attributes:
        images: What is trained and measured on.
        records: Receives a line for each run.
        output: Folder of the runs and logs.
        python: The interpreter.
    """

    images: Images
    records: Records
    output: Path
    python: str = sys.executable

    def train(self, recipe: Recipe, *, steps: int, seed: int) -> tuple[float, Path]:
        """Train a run; return its CPU-seconds and its folder."""
        folder = self.output / "run"
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped
        flags = (
            *(flag for flag in recipe.flags if name_of(flag) not in OURS),
            *self.images.flags[recipe.mode],
            f"--mode={recipe.mode}",
            f"--model_dir={folder}",
            f"--train_steps={steps}",
            f"--seed={seed}",
            *QUIET,
        )
        if recipe.mode == "pretrain":
            flags += ("--protocols=",)
        return self._run(flags, "train.log"), folder

    def measure(self, recipe: Recipe, folder: Path) -> tuple[float, dict]:
        """Run the probes on a trained run; return CPU-seconds and results.json."""
        seconds = 0.0
        if recipe.mode == "pretrain":
            protocols = f"--protocols={','.join(MEASURES)}"
            seconds = self._run(
                (
                    "--mode=eval",
                    f"--model_dir={folder}",
                    protocols,
                    "--nobaselines",
                    "--noreport",
                ),
                "eval.log",
            )
        return seconds, json.loads((folder / "results.json").read_text())

    def run(self, recipe: Recipe, *, budget: float, seed: int) -> dict:
        """Train and measure one run, and record it."""
        steps = self._steps(recipe, budget)
        seconds, folder = self.train(recipe, steps=steps, seed=seed)
        more, document = self.measure(recipe, folder)
        shutil.rmtree(folder)
        row = {
            "kind": "run",
            **self._about(recipe),
            "seed": seed,
            "budget": budget,
            "steps": steps,
            "cpu_seconds": round(seconds, 1),
            "cpu_seconds_with_evaluation": round(seconds + more, 1),
            **scores(document),
            "environment": document["environment"],
        }
        self.records.add(row)
        return row

    def _steps(self, recipe: Recipe, budget: float) -> int:
        known = self.records.of(recipe, self.images)
        same = [row["steps"] for row in known if row.get("budget") == budget]
        if same:
            return same[0]
        if not any(row["kind"] == "calibration" for row in known):
            self._find_rate(recipe, budget)
            known = self.records.of(recipe, self.images)
        return processes.steps_within(
            budget, [(row["steps"], row["cpu_seconds"]) for row in known]
        )

    def _find_rate(self, recipe: Recipe, budget: float) -> None:
        found: list[float] = []
        steps = SHORT
        if not any(row["data"] == self.images.name for row in self.records.rows):
            # The first start on new images reads every file and compiles loops.
            self.train(recipe, steps=steps, seed=0)
        while len(found) < 2 or found[-1] < min(budget, CLEAR * found[0]):
            seconds, folder = self.train(recipe, steps=steps, seed=0)
            shutil.rmtree(folder)
            found.append(seconds)
            row = {"steps": steps, "cpu_seconds": round(seconds, 2)}
            self.records.add({"kind": "calibration", **self._about(recipe), **row})
            steps *= GROWTH

    def _about(self, recipe: Recipe) -> dict:
        return {
            "data": self.images.name,
            "recipe": recipe.name,
            "flags": list(recipe.flags),
        }

    def _run(self, flags: Sequence[str], log: str) -> float:
        command = [self.python, str(ROOT / "run.py"), *flags]
        return processes.run_counted(command, self.output / log)


def scores(document: dict) -> dict[str, float]:
    """Return measure -> top-1 in percent of the network's rows of results.json.

    The linear head that pretraining on labelled images trains beside is left out.
    """
    found = {}
    for record in document["results"].values():
        if record["row"] == ONLINE_ROW:
            continue
        name = ACCURACY if record["protocol"] == "supervised" else record["protocol"]
        found[name] = round(100 * record["value"], 2)
    return found


def lightly_rows(path: Path, data: str) -> list[dict]:
    """Return LightlyTrain's runs on a set as lines of ``runs.jsonl``."""
    return [
        {"kind": "run", "data": data, "recipe": "LightlyTrain, its defaults", **row}
        for row in json.loads(path.read_text())["runs"]
        if row["set"] == data
    ]


def groups(rows: Iterable[dict]) -> dict[str, dict[float, list[dict]]]:
    """Return recipe -> budget -> runs, budgets in ascending order."""
    found: dict[str, dict[float, list[dict]]] = {}
    for row in sorted(rows, key=lambda row: row["budget"]):
        found.setdefault(row["recipe"], {}).setdefault(row["budget"], []).append(row)
    return found


def mean_and_deviation(rows: Sequence[dict], measure: str) -> tuple[float, float]:
    """Return the mean, and the sample deviation; NaN for a single run."""
    values = [row[measure] for row in rows if measure in row]
    if not values:
        return float("nan"), float("nan")
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    return statistics.fmean(values), spread


def _cell(rows: Sequence[dict]) -> str:
    if not rows:
        return ""
    words = []
    for measure in (ACCURACY,) if ACCURACY in rows[0] else MEASURES:
        mean, spread = mean_and_deviation(rows, measure)
        words.append(f"{mean:.1f}" + (f" ± {spread:.1f}" if spread == spread else ""))
    seconds, _ = mean_and_deviation(rows, "cpu_seconds")
    return f"{' / '.join(words)} ({seconds:.0f} s, n={len(rows)})"


def table(rows: Sequence[dict], data: str) -> str:
    """Return the runs on some images as a Markdown table, with the machine above it."""
    found = groups(rows)
    budgets = sorted({row["budget"] for row in rows})
    machines = sorted(
        {row["environment"]["cpu"] for row in rows if "environment" in row}
    )
    lines = [
        f"Images: {data}. Machine: {'; '.join(machines) or 'not recorded'}.",
        "",
        "LogReg / kNN on h in percent on a validation part of train, or the accuracy",
        "of the supervised classifier there; mean ± standard deviation over seeds, in",
        "brackets the mean CPU-seconds of training and the number of runs.",
        "",
        "| recipe | "
        + " | ".join(f"{budget:g} CPU-seconds" for budget in budgets)
        + " |",
        "|---" * (1 + len(budgets)) + "|",
    ]
    for recipe, at in found.items():
        cells = [_cell(at.get(budget, [])) for budget in budgets]
        lines.append(f"| {recipe} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def figure(rows: Sequence[dict], data: str):
    """Return a matplotlib figure: a panel for each measure, a curve for each recipe.

    A band shows one standard deviation to each side. Supervised accuracy is dashed, in
    both panels.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(10, 4.5), layout="constrained")
    panels = drawn.subplots(1, len(MEASURES), sharex=True)
    for panel, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        for number, (recipe, at) in enumerate(groups(rows).items()):
            supervised = any(ACCURACY in row for runs in at.values() for row in runs)
            shown = ACCURACY if supervised else measure
            x = [mean_and_deviation(runs, "cpu_seconds")[0] for runs in at.values()]
            pairs = [mean_and_deviation(runs, shown) for runs in at.values()]
            mean = [pair[0] for pair in pairs]
            spread = [pair[1] if pair[1] == pair[1] else 0.0 for pair in pairs]
            style = {"color": f"C{number % 10}", "marker": "o", "markersize": 3}
            line = "--" if supervised else "-"
            panel.plot(x, mean, line, label=recipe, **style)
            low = [m - s for m, s in zip(mean, spread, strict=True)]
            high = [m + s for m, s in zip(mean, spread, strict=True)]
            panel.fill_between(x, low, high, color=style["color"], alpha=0.2, lw=0)
        panel.set(title=title, xlabel="CPU-seconds of training", ylabel="top-1 in %")
        panel.grid(alpha=0.3)
    panels[-1].legend(fontsize="small")
    drawn.suptitle(data)
    return drawn


def write_reports(rows: Sequence[dict], data: str, output: Path) -> None:
    """Write ``quality.md`` and ``quality.png``; without runs, nothing."""
    if rows:
        (output / "quality.md").write_text(table(rows, data))
        figure(rows, data).savefig(output / "quality.png", dpi=120)


def run_all(
    bench: Bench, recipes: Sequence[Recipe], budgets: Sequence[float], seeds: list[int]
) -> int:
    """Run what is not recorded yet; return the number of runs that failed."""
    failed = 0
    for seed in seeds:
        for recipe in recipes:
            for budget in sorted(budgets, reverse=True):  # the longest tells the rate
                about = {"kind": "run", "seed": seed, "budget": budget}
                if bench.records.of(recipe, bench.images, **about):
                    continue
                name = f"{recipe.name}, seed {seed}, {budget:g} CPU-seconds"
                try:
                    row = bench.run(recipe, budget=budget, seed=seed)
                except processes.ProgramFailed as error:
                    failed += 1
                    print(f"{name}: failed: {error}", flush=True)
                    continue
                print(f"{name}: {_cell([row])}", flush=True)
    return failed


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--recipes", default="", help="names or flag files, with commas"
    )
    parser.add_argument("--list", type=Path, help="file with lines 'name: flags'")
    parser.add_argument("--base", default="", help="recipe that --list adds flags to")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--budgets", default="100,200,400", help="CPU-seconds of a run")
    parser.add_argument("--data", default="shapes", help=f"{', '.join(SPLITS)}, a set")
    parser.add_argument("--data_dir", default="data", help="where TFDS sets are")
    parser.add_argument("--folder", type=Path, default=image_sets.DEFAULT_FOLDER)
    parser.add_argument("--supervised", action="store_true")
    parser.add_argument("--lightly", type=Path, help="results of against_lightly_train")
    parser.add_argument("--output", type=Path, required=True, help="folder")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, write table and plot, and return the exit code."""
    asked = parse(arguments)
    lines = asked.list.read_text().splitlines() if asked.list else []
    try:
        recipes = read_recipes(
            filter(None, asked.recipes.split(",")), asked.base, lines
        )
        images = find_images(asked.data, asked.data_dir, asked.folder.expanduser())
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if not recipes:
        print("give --recipes or --list", file=sys.stderr)
        return 2
    if asked.supervised:
        recipes += supervised_recipes(recipes[0])
    asked.output.mkdir(parents=True, exist_ok=True)
    bench = Bench(images, Records(asked.output / "runs.jsonl"), asked.output)
    failed = run_all(
        bench,
        recipes,
        [float(budget) for budget in asked.budgets.split(",")],
        [int(seed) for seed in asked.seeds.split(",")],
    )
    rows = [row for r in recipes for row in bench.records.of(r, images, kind="run")]
    if asked.lightly:
        rows += lightly_rows(asked.lightly, images.name)
    write_reports(rows, images.name, asked.output)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
