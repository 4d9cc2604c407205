"""The report holds what it was given, loads nothing, and survives odd runs."""

import dataclasses
import html.parser
import math
import re
import shlex

import numpy as np
import pytest

from simclr_tf2 import config as configs
from simclr_tf2 import report
from simclr_tf2.report import facts, verdict

VOID = {"meta", "link", "br", "img", "wbr", "hr", "input"}
QUICK = {"history": ()}  # four figures less
HOSTILE = "<script>alert('x')</script>\"'&\x00$\\frac"


class Page(html.parser.HTMLParser):
    """Collects tags and text; fails on tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words, self.ids = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [v for k, v in attrs if k == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [v for k, v in attrs if k == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def count(self, tag, css=None):
        return sum(
            t == tag and (css is None or css in (a.get("class") or "").split())
            for t, a in self.tags
        )


def nested(config):
    return {"run": {"mode": config.mode}} | {
        name: dataclasses.asdict(getattr(config, name)) for name in configs.sections()
    }


def views_of(images):
    return report.Views(originals=images, view1=images, view2=images)


def encoded(images, features, labels):
    return report.EncodedImages(images=images, features=features, labels=labels)


def arguments(*, images=20, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    pictures = rng.random([images, 5, 5, 3], np.float32)
    features = rng.normal(size=[images, 7]) + 3 * np.eye(7)[labels % 7]
    config = configs.Config(
        mode="pretrain",
        data=configs.DataConfig(dataset="simclr_shapes", image_size=32),
        loss=configs.LossConfig(temperature=0.2),
        evaluation=configs.EvaluationConfig(eval_split="test"),
    )
    history = [{"step": s, "loss": 2.0 - s / 10, "std_z": 0.08} for s in range(9)]
    return {
        "title": "a run",
        "config": nested(config),
        "defaults": nested(configs.Config()),
        "history": [*history, {"step": 8, "knn_top1_k20": 0.7, "rankme": 5.0}],
        "chance_loss": math.log(9),
        "results": report.Results(rows=[
            {"row": "SimCLR h", "logreg_top1": 0.812, "knn10_top1": 0.724,
             "logreg_top1_ci95": (0.795, 0.829)},
            {"row": "PCA of pixels", "logreg_top1": 0.37, "knn10_top1": 0.34},
            {"row": "random encoder", "logreg_top1": 0.401, "knn10_top1": None},
        ]),
        "views": views_of(pictures[:4]),
        "test": encoded(pictures, features, labels),
        "bank": encoded((255 * pictures).astype(np.uint8), features + 0.01, labels),
        "class_names": tuple(f"kind {i}" for i in range(classes)),
        "confusion": report.Confusion(counts=np.eye(classes, dtype=int) * 5),
        "timings": {"pretraining": 241.0, "evaluation": 20.5},
        "environment": {"Keras": "3.15.0", "CPU cores": "2"},
        "files": [("runs/a/encoder.keras", "the encoder"),
                  ("runs/a/saved_model/9", "for TensorFlow Hub")],
    }  # fmt: skip


def write(tmp_path, **given):
    data = report.ReportData(**given)
    path = report.write_report(tmp_path / "out" / "report.html", data)
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return write(tmp_path_factory.mktemp("full"), **arguments())


def test_verdict_puts_the_run_beside_its_baselines(full):
    line = ("SimCLR h: 81.2 % logistic regression (PCA of pixels 37.0 %, random "
            "encoder 40.1 %) on simclr_shapes test")  # fmt: skip
    assert line in full[1].text


def test_full_report_has_every_section(full):
    text, page = full
    # 7 scalars in 4 panels, bars, 2 maps, 1 matrix
    assert page.count("svg", "plot") == 4 + 1 + 2 + 1
    assert page.count("img") == 3 * 4 + 8 * (1 + 8)
    assert page.count("p", "muted") == 0
    for words in (
        "ln(2N−1) = 2.20",
        "4 min 1 s",
        "3.15.0",
        "--temperature=0.2",
        'keras.models.load_model("runs/a/encoder.keras")',
        'tf.saved_model.load("runs/a/saved_model/9")',
    ):
        assert words in page.text
    assert len(text) < 3_000_000


def test_report_loads_nothing_and_runs_nothing(full):
    text, page = full
    assert "http:" not in text and "https:" not in text and "//cdn" not in text
    assert not page.count("script") and not page.count("link")
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href"):
                assert value.startswith(("data:image/", "#")), value
    for address in re.findall(r"url\(([^)]*)\)", text):
        assert address.startswith("#")


def test_every_id_is_there_once_and_every_link_arrives(full):
    _, page = full
    assert len(page.ids) == len(set(page.ids))
    targets = {
        v[1:]
        for _, a in page.tags
        for k, v in a.items()
        if k.endswith("href") and v.startswith("#")
    }
    assert targets <= set(page.ids)


def test_changed_settings_are_marked_with_their_default(full):
    text, page = full
    assert page.count("tr", "changed") == 5  # mode dataset image_size temperature split
    assert "default 0.1" in page.text
    assert "--loss=" not in text


def test_confidence_intervals_stand_beside_their_value(full):
    assert "81.2 79.5–82.9" in full[1].text
    assert "ci95" not in full[1].text


def test_green_and_vermilion_frames_follow_the_labels(tmp_path):
    given = arguments(images=6) | QUICK
    labels = np.array([0, 1, 2, 9, 9, -1])
    given["bank"] = dataclasses.replace(given["bank"], labels=labels)
    _, page = write(tmp_path, **given)
    frames = [page.count("img", kind) for kind in ("same", "other", "unknown")]
    assert frames == [6, 24, 6]


def sections(text):
    """Ids of the headings, and of the links to them in the contents."""
    headings = re.findall(r'<h2 id="(\w+)"', text)
    return headings, re.findall(r'<a href="#(\w+)"', text)


def test_report_of_nothing_has_no_section_but_the_results(tmp_path):
    text, page = write(tmp_path, title="empty")
    assert sections(text) == (["results"], ["results"])
    assert page.count("svg") == 0 and page.count("p", "muted") == 1
    assert "Nothing was measured." in page.text
    assert "The run was not evaluated." in page.text


def test_contents_name_the_sections_that_are_there(full, tmp_path):
    headings, links = sections(full[0])
    assert headings == links and len(links) == 9
    for name in ("confusion", "views"):
        text, _ = write(tmp_path, **(arguments() | {name: None}))
        left = [other for other in headings if other != name]
        assert sections(text) == (left, left)


def test_unlabelled_and_interrupted_run(tmp_path):
    given = arguments()
    given |= {
        part: dataclasses.replace(given[part], labels=None) for part in ("test", "bank")
    }
    given |= {"results": report.Results(), "class_names": (), "confusion": None}
    given["notice"] = "Interrupted at step 8."
    _, page = write(tmp_path, **given)
    assert "Interrupted at step 8." in page.text
    assert "Contrastive loss 1.200 (chance 2.197) after 8 steps" in page.text
    assert page.count("img", "unknown") == 64
    assert "nothing to compare the neighbours with" in page.text
    assert "coloured by class" not in page.text


def test_labels_of_minus_one_count_as_none(tmp_path):
    given = arguments() | QUICK
    given["test"] = dataclasses.replace(given["test"], labels=np.full(20, -1))
    _, page = write(tmp_path, **given)
    assert page.count("img", "unknown") == 64
    assert page.count("ul", "legend") == 0


def test_without_a_bank_neighbours_are_the_other_test_images(tmp_path):
    given = arguments() | QUICK | {"bank": None}
    _, page = write(tmp_path, **given)
    assert "most similar of 19 others" in page.text
    assert page.count("img", "same") + page.count("img", "other") == 64


def test_hostile_words_stay_words(tmp_path):
    given = arguments(classes=2) | {
        "title": HOSTILE,
        "class_names": (HOSTILE, "b"),
        "notice": HOSTILE,
        "config": {HOSTILE: {HOSTILE: HOSTILE}},
        "defaults": {HOSTILE: {HOSTILE: 1}},
        "results": report.Results(
            rows=[{"row": HOSTILE, "logreg_top1": 0.5, HOSTILE: HOSTILE}]
        ),
        "history": [{"step": 1, "loss": 1.0, HOSTILE: 2.0}],
        "timings": {HOSTILE: 1.0},
        "environment": {HOSTILE: HOSTILE},
        "files": [(HOSTILE + ".keras", HOSTILE)],
    }
    text, page = write(tmp_path, **given)
    assert "<script" not in text
    assert not page.count("script")
    assert page.text.count("alert('x')") > 15


@pytest.mark.parametrize(
    "history",
    [
        [{"step": 1, "loss": 2.0}],
        [{"step": 1, "loss": math.nan}, {"step": 2, "loss": math.nan}],
        [{"step": 1, "loss": 2.0}, {"step": 2, "loss": math.inf}, {"step": 3}],
        [{"note": "no step"}, {"step": "x"}, {"step": 0, "loss": "NaN"}],
    ],
)
def test_short_and_broken_histories(tmp_path, history):
    _, page = write(tmp_path, title="t", history=history, chance_loss=2.2)
    finite = sum(
        math.isfinite(h.get("loss", math.nan))
        for h in history
        if not isinstance(h.get("loss"), str)
    )
    assert page.count("svg", "plot") == (finite > 0)


def test_values_that_are_not_finite_are_named(tmp_path):
    history = [{"step": s, "loss": 1.0 if s < 5 else math.nan} for s in range(7)]
    _, page = write(tmp_path, title="t", history=history)
    assert "loss was not finite 2 times, first at step 5." in page.text


@pytest.mark.parametrize(("images", "classes"), [(2, 2), (2, 1), (9, 1), (50, 25)])
def test_few_images_one_class_and_many_classes(tmp_path, images, classes):
    _, page = write(tmp_path, **arguments(images=images, classes=classes) | QUICK)
    assert page.count("img") == 3 * min(images, 4) + min(images, 8) * (
        1 + min(images, 8)
    )
    assert page.count("svg", "plot") == 1 + (2 if images >= 8 else 1) + 1


def test_collapse_chance_loss_and_weak_results_are_warned_of():
    scalars = {"loss": np.array([[99, 2.19]]), "std_z": np.array([[99, 0.001]])}
    results = [{"row": "h", "top1": 0.3}, {"row": "random", "top1": 0.4}]
    config = {"model": {"proj_out_dim": 128}}
    found = verdict.checks(scalars, config, 2.197)
    found += verdict.check_worth({}, results)
    assert [good for good, _ in found] == [False] * 3
    assert "has collapsed" in found[1][1]


@pytest.mark.parametrize(
    ("model", "even"),
    [
        ({"proj_head_mode": "nonlinear", "proj_out_dim": 64}, "0.125"),
        (
            {
                "proj_head_mode": "none",
                "proj_out_dim": 64,
                "resnet_depth": 18,
                "width_multiplier": 0.5,
            },
            "0.062",  # z is h, with 256 numbers
        ),
    ],
)
def test_an_even_spread_is_that_of_the_width_of_z(model, even):
    scalars = {"std_z": np.array([[999, 0.05]])}
    ((good, text),) = verdict.checks(scalars, {"model": model}, None)
    assert good and f"({even} if spread evenly)" in text


def test_a_short_run_is_not_said_to_have_collapsed():
    """Moving averages of batch norm begin far away, in every run."""
    scalars = {"std_z": np.array([[10, 0.001]])}
    config = {"model": {"proj_out_dim": 128, "batch_norm_decay": 0.9}}
    ((good, text),) = verdict.checks(scalars, config, None)
    assert not good and "collapsed" not in text
    assert "after 10 steps, which says nothing yet" in text and "about 50." in text
    config["model"]["batch_norm_decay"] = 0.5
    ((_, text),) = verdict.checks(scalars, config, None)
    assert "has collapsed" in text


@pytest.mark.parametrize(
    ("loss", "words"),
    [(1.9, "below its chance"), (2.19, "still near"), (2.6, "ended above its chance")],
)
def test_a_loss_is_said_to_be_where_it_is(loss, words):
    scalars = {"loss": np.array([[9, loss]])}
    ((good, text),) = verdict.checks(scalars, None, 2.197)
    assert words in text and good == (loss < 2)


def test_large_images_are_shrunk_to_keep_the_page_small(tmp_path):
    images = np.random.default_rng(0).random([20, 224, 224, 3], np.float32)
    given = arguments() | QUICK | {"views": views_of(images)}
    for part in ("test", "bank"):
        given[part] = dataclasses.replace(given[part], images=images)
    text, _ = write(tmp_path, **given)
    assert len(text) < 3_000_000


def test_report_replaces_the_old_one_and_leaves_no_other_file(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    assert report.write_report(path, report.ReportData(title="new")) == path
    assert "new" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.write_report(path, report.ReportData(title="new"))
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.234, "0.234 s"), (59.94, "59.9 s"), (241.5, "4 min 1 s"),
     (1234, "21 min"), (3725, "1 h 2 min"), (math.nan, "–")],
)  # fmt: skip
def test_durations_are_written_for_people(seconds, text):
    assert facts.duration(seconds) == text


def test_command_can_be_given_to_a_shell():
    config = {"a": {"name": "two words", "list": ("x", "y"), "rate": 2e-3, "same": 1,
                    "off": False, "gone": None, "empty": ""}}  # fmt: skip
    defaults = {"a": dict.fromkeys(config["a"], "other") | {"same": 1}}
    assert shlex.split(facts.command(config, defaults).replace("\\\n", "")) == [
        "python", "run.py", "--name=two words", "--list=x,y", "--rate=0.002",
        "--off=false", "--empty=",
    ]  # fmt: skip


def test_more_tables_stand_under_the_results(tmp_path):
    tables = [
        {"title": "By <k>", "heads": ["", "k = 5"], "rows": [["SimCLR h", "61.0"]]},
        {"title": "Elsewhere", "text": "set   top-1\na & b  3"},
    ]
    _, page = write(tmp_path, title="t", results=report.Results(tables=tables))
    for words in ("By <k>", "k = 5", "SimCLR h", "61.0", "Elsewhere", "a & b 3"):
        assert words in page.text
    assert page.count("table", "plain") == 1 and page.count("section", "whole") == 1


def test_evaluated_checkpoints_are_a_curve_of_their_own(tmp_path):
    history = [
        {"step": s, "loss": 3 - s / 8, "evaluated_knn_top1": 0.2 + s / 20}
        for s in (4, 8)
    ]
    text, _ = write(tmp_path, title="t", history=history)
    assert "Evaluated checkpoints" in text and "by depth" not in text


def test_training_images_and_the_reason_for_no_accuracy_are_called_so(tmp_path):
    missing = "No accuracy was measured: photos has no labels."
    given = arguments() | QUICK | {"confusion": None, "images_are": "training images"}
    given["results"] = report.Results(missing=missing)
    _, page = write(tmp_path, **given)
    assert "Nearest neighbours of training images" in page.text
    assert missing in page.text
    assert "test images" not in page.text


def test_the_verdict_names_the_images_that_were_read(tmp_path):
    given = arguments() | QUICK
    given["config"]["data"] |= {"image_dir": "photos", "dataset": "imagenet2012"}
    _, page = write(tmp_path, **given)
    assert "on photos test" in page.text


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (0.5, "fell to 0.500, below its chance level"),
        (2.2, "2.200, is still near its chance level"),
        (6.7, "6.700, ended above its chance level 2.197"),
    ],
)
def test_the_check_says_on_which_side_of_chance_the_loss_is(tmp_path, loss, words):
    given = arguments() | QUICK | {"history": [{"step": 1, "loss": loss}]}
    assert words in write(tmp_path, **given)[1].text


def test_bars_are_drawn_beside_the_commonest_class_of_these_images(tmp_path):
    given = arguments()
    results = dataclasses.replace(given["results"], chance=0.6)
    text, _ = write(tmp_path, **(given | {"results": results}))
    assert "commonest class, 60 %" in text and "chance, 33.3 %" not in text
    text, _ = write(tmp_path, **given)
    assert "chance, 33.3 %" in text


def test_the_matrix_says_whose_predictions_it_counts(tmp_path):
    given = arguments() | QUICK
    given["confusion"] = dataclasses.replace(
        given["confusion"], title="SimCLR h, LogReg"
    )
    assert "SimCLR h, LogReg: rows are true classes" in write(tmp_path, **given)[1].text
