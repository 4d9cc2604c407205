"""benchmarks/quality.py: recipes, budgets, resumption, table and plot."""

import json

import numpy as np
import pytest

from benchmarks import image_sets, processes, quality
from benchmarks.quality import Recipe

IMAGES = quality.Images("tiny", {"pretrain": ("--p",), "finetune": ("--f",)})


def test_recipes_are_packaged_ones_files_and_lines_on_a_base(tmp_path):
    file = tmp_path / "mine.flags"
    file.write_text("# a comment\n--seed=1\n\n  --loss=dcl\n")
    lines = ["# comment", "", "hot: --temperature=1 --optimizer_note='a b'"]
    packaged, mine, hot = quality.read_recipes(
        ["quickstart", str(file)], str(file), lines
    )
    assert "--dataset=simclr_shapes" in packaged.flags
    assert mine == Recipe("mine", ("--seed=1", "--loss=dcl"))
    assert hot.name == "hot"
    assert hot.flags == (*mine.flags, "--temperature=1", "--optimizer_note=a b")


def test_unknown_recipes_and_equal_names_are_refused():
    with pytest.raises(FileNotFoundError, match="nowhere"):
        quality.read_recipes(["nowhere"], "", [])
    with pytest.raises(ValueError, match="'a'"):
        quality.read_recipes([], "", ["a: --x", "a: --y"])


@pytest.mark.parametrize("name", quality.SPLITS)
def test_no_split_of_test_is_read(name, tmp_path):
    found = quality.find_images(name, "data", tmp_path)
    assert not [f for flags in found.flags.values() for f in flags if "test" in f]


def test_a_prepared_set_is_read_as_a_folder(tmp_path):
    image_sets.record_of(tmp_path / "mine").write_text("{}")
    found = quality.find_images("mine", "data", tmp_path).flags
    assert f"--image_dir={tmp_path}/mine" in found["pretrain"]
    assert "--train_split=unlabeled" in found["pretrain"]
    assert "--train_split=train" in found["finetune"]
    with pytest.raises(FileNotFoundError, match="image_sets"):
        quality.find_images("other", "data", tmp_path)


def test_supervised_training_takes_the_network_of_the_recipe():
    recipe = Recipe("a", ("--resnet_depth=10", "--learning_rate=4", "--stem=imagenet"))
    found = quality.supervised_recipes(recipe)
    assert [r.mode for r in found] == ["finetune"] * 3
    assert found[1].name == "supervised, 10 % of the labels"
    assert found[1].flags[:2] == ("--resnet_depth=10", "--stem=imagenet")
    assert "--learning_rate=4" not in found[1].flags
    assert "--label_fraction=0.1" in found[1].flags


class Stand(quality.Bench):
    """Runs nothing: 10 CPU-seconds and 2 a step; recipe "bad" fails with seed 0."""

    ran: list = []

    def _run(self, flags, log):
        given = dict(flag.lstrip("-").partition("=")[::2] for flag in flags)
        folder = self.output / "run"
        if given["mode"] == "eval":
            records = {
                f"h/{name}": {"row": "h", "protocol": name, "value": 0.5}
                for name in given["protocols"].split(",")
            }
            document = {"results": records, "environment": {"cpu": "a CPU"}}
            (folder / "results.json").write_text(json.dumps(document))
            return 3.0
        self.ran.append(given)
        if "bad" in given and given["seed"] == "0":
            raise processes.ProgramFailed("exit code 1: no memory")
        folder.mkdir()
        return 10 + 2.0 * int(given["train_steps"])


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(Stand, "ran", [])
    return Stand(IMAGES, quality.Records(tmp_path / "runs.jsonl"), tmp_path)


def again(bench):
    records = quality.Records(bench.output / "runs.jsonl")
    return Stand(IMAGES, records, bench.output)


def test_every_recipe_runs_to_every_budget_with_every_seed(bench):
    recipe = Recipe("a", ("--model_dir=other", "--dataset=other", "--kept"))
    assert quality.run_all(bench, [recipe], [50, 30], [0, 1]) == 0
    *found, _, _, _, _ = bench.ran
    assert [g["train_steps"] for g in found] == ["4", "4", "24"]  # the first: not kept
    runs = bench.ran[3:]
    asked = [(g["seed"], g["train_steps"]) for g in runs]
    assert asked == [("0", "20"), ("0", "10"), ("1", "20"), ("1", "10")]
    assert "kept" in runs[0] and "dataset" not in runs[0] and "p" in runs[0]
    row = bench.records.rows[2]
    assert (row["steps"], row["cpu_seconds"]) == (20, 50.0)
    assert row["cpu_seconds_with_evaluation"] == 53.0
    assert (row["logreg"], row["knn"]) == (50.0, 50.0)


def test_the_rate_is_looked_for_until_the_start_does_not_hide_it(bench, monkeypatch):
    monkeypatch.setattr(quality, "SHORT", 1)
    monkeypatch.setattr(quality, "GROWTH", 2)
    quality.run_all(bench, [Recipe("a", ())], [50], [0])
    # One that is not counted; 12, 14 and 18 CPU-seconds, the last 1.5 times 12.
    assert [given["train_steps"] for given in bench.ran] == ["1", *"124", "20"]


def test_what_is_recorded_is_not_run_again(bench):
    quality.run_all(bench, [Recipe("a", ("--x",))], [50], [0])
    count = len(bench.ran)
    second = again(bench)
    quality.run_all(second, [Recipe("a", ("--x",))], [50], [0])
    assert len(bench.ran) == count
    quality.run_all(second, [Recipe("a", ("--x",))], [50], [0, 1])
    assert len(bench.ran) == count + 1  # no run to find the rate
    quality.run_all(second, [Recipe("a", ("--y",))], [50], [0])  # other flags
    assert len(bench.ran) == count + 4


def test_a_run_that_fails_stops_no_other_and_is_tried_again(bench, capsys):
    recipes = [Recipe("bad", ("--bad",)), Recipe("good", ("--good",))]
    assert quality.run_all(bench, recipes, [50], [0]) == 1
    assert "bad, seed 0, 50 CPU-seconds: failed: exit code 1" in capsys.readouterr().out
    assert [r["recipe"] for r in bench.records.rows if r["kind"] == "run"] == ["good"]
    assert quality.run_all(again(bench), recipes, [50], [0]) == 1


def rows():
    def row(recipe, budget, **values):
        cpu = {"environment": {"cpu": "a CPU"}}
        return {"recipe": recipe, "budget": budget, **cpu, **values}

    return [
        row("a", 200, cpu_seconds=198, logreg=72, knn=62),
        row("a", 100, cpu_seconds=99, logreg=60, knn=50),
        row("a", 100, cpu_seconds=101, logreg=64, knn=58),
        row("all labels", 100, cpu_seconds=95, accuracy=70.04),
    ]


def test_the_table_has_mean_and_deviation_at_each_budget():
    lines = quality.table(rows(), "some images").splitlines()
    assert lines[0] == "Images: some images. Machine: a CPU."
    assert lines[-4:] == [
        "| recipe | 100 CPU-seconds | 200 CPU-seconds |",
        "|---|---|---|",
        "| a | 62.0 ± 2.8 / 54.0 ± 5.7 (100 s, n=2) | 72.0 / 62.0 (198 s, n=1) |",
        "| all labels | 70.0 (95 s, n=1) |  |",
    ]


def test_the_plot_has_curves_over_cpu_seconds_with_bands():
    left, right = quality.figure(rows(), "some images").axes
    curve, supervised = left.lines
    np.testing.assert_allclose(curve.get_xdata(), [100, 198])
    np.testing.assert_allclose(curve.get_ydata(), [62, 72])
    np.testing.assert_allclose(right.lines[0].get_ydata(), [54, 62])
    assert supervised.get_linestyle() == "--"
    band = left.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([band.min(), band.max()], [62 - 8**0.5, 72])


def test_lightly_train_is_a_row_of_its_set(tmp_path):
    runs = [
        {"set": name, "budget": 100, "cpu_seconds": 99, "logreg": 36, "knn": 27}
        for name in ("tiny", "other")
    ]
    (tmp_path / "lightly.json").write_text(json.dumps({"runs": runs}))
    (row,) = quality.lightly_rows(tmp_path / "lightly.json", "tiny")
    assert "| LightlyTrain, its defaults | 36.0 / 27.0 (99 s, n=1) |" in quality.table(
        [row], "tiny"
    )


@pytest.mark.slow
@pytest.mark.story
def test_runs_of_the_program_are_recorded_and_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "SHORT", 1)
    monkeypatch.setattr(quality, "GROWTH", 2)
    monkeypatch.setattr(quality, "LABELS", {0.1: 16})
    (tmp_path / "list").write_text(
        "small: --resnet_depth=10 --width_multiplier=0.125 --train_batch_size=32 "
        "--image_size=32\nbroken: --resnet_depth=7\n"
    )
    arguments = [
        f"--list={tmp_path}/list",
        "--data=tiny",
        "--seeds=0",
        "--budgets=1",  # one step
        "--supervised",
        f"--output={tmp_path}/out",
    ]
    assert quality.main(arguments) == 1  # "broken" failed
    lines = (tmp_path / "out/runs.jsonl").read_text().splitlines()
    runs = [row for row in map(json.loads, lines) if row["kind"] == "run"]
    small, supervised = runs
    assert small["cpu_seconds_with_evaluation"] > small["cpu_seconds"] > 0
    assert {"logreg", "knn"} <= small.keys() and "accuracy" in supervised
    assert small["environment"]["tensorflow"]
    assert "| small |" in (tmp_path / "out/quality.md").read_text()
    assert (tmp_path / "out/quality.png").read_bytes()[:4] == b"\x89PNG"


def test_a_prepared_set_and_a_split_of_tfds_have_different_names():
    assert not set(quality.SPLITS) & set(image_sets.image_sets())


def test_the_online_head_of_pretraining_is_no_classifier_of_the_table():
    rows = [("SimCLR h", "knn", 0.5), ("Online linear head", "supervised", 0.4)]
    document = {
        "results": {
            f"{row}/{protocol}": {"row": row, "protocol": protocol, "value": value}
            for row, protocol, value in rows
        }
    }
    assert quality.scores(document) == {"knn": 50.0}
