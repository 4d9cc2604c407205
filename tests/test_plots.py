"""Each picture is made from ordinary and from awkward data, and looked into."""

import math
import re

import numpy as np
import pytest

from simclr_tf2 import plots

rng = np.random.default_rng(0)


def axes_titled(figure, title):
    return next(a for a in figure.axes if a.get_title(loc="left") == title)


def is_png(data):
    return data.startswith(b"\x89PNG") and len(data) > 500


# --- history ---------------------------------------------------------------------


def test_series_sorts_steps_and_keeps_the_last_value_of_a_repeated_step():
    history = [
        {"step": 20, "loss": 2.0},
        {"step": 10, "loss": 3.0},
        {"step": 20, "loss": 1.5},
    ]
    np.testing.assert_array_equal(plots.series(history)["loss"], [[10, 3], [20, 1.5]])


def test_series_leaves_out_what_is_not_a_number_and_lines_without_a_step():
    history = [
        {"step": 1, "kind": "train", "ok": True, "loss": None, "x": 1.0},
        {"loss": 3.0},
        {"step": None, "loss": 3.0},
    ]
    assert set(plots.series(history)) == {"x"}


def test_panels_group_known_scalars_and_end_with_unknown_ones():
    history = [{"step": 1, "made_up": 0.5, "std_z": 0.1, "std_h": 0.1, "loss": 2.0}]
    found = [(p.name, sorted(data)) for p, data in plots.panels(history)]
    assert found[:2] == [("loss", ["loss"]), ("std", ["std_h", "std_z"])]
    assert found[-1][1] == ["made_up"]


def test_total_loss_is_shown_only_where_it_differs_from_the_loss():
    same = [{"step": s, "loss": 2.0 - s, "total_loss": 2.0 - s} for s in range(3)]
    assert [p.name for p, _ in plots.panels(same)] == ["loss"]
    twice = [{"step": s, "loss": 2.0 - s, "total_loss": 4.0 - 2 * s} for s in range(3)]
    assert [sorted(d) for _, d in plots.panels(twice)] == [["loss"]]
    other = [*same, {"step": 9, "loss": 1.0, "total_loss": 1.5}]
    assert [sorted(d) for _, d in plots.panels(other)] == [["loss"], ["total_loss"]]


def test_a_scalar_that_was_never_finite_gets_no_panel():
    history = [{"step": s, "loss": math.nan, "alignment": math.inf} for s in range(3)]
    assert plots.panels(history) == []


def test_curves_draw_the_chance_level_dashed():
    chance = math.log(2 * 5 - 1)
    figure = plots.curves(
        [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], chance_loss=chance
    )
    loss, line = axes_titled(figure, "Contrastive loss").lines
    np.testing.assert_allclose(line.get_ydata(), chance)
    assert line.get_linestyle() == "--" or line.is_dashed()
    np.testing.assert_array_equal(loss.get_xdata(), [1, 2])


def test_accuracies_are_drawn_in_per_cent():
    figure = plots.curves([{"step": s, "contrastive_accuracy": 0.25} for s in (1, 2)])
    (line,) = axes_titled(figure, "Contrastive accuracy").lines
    np.testing.assert_allclose(line.get_ydata(), 25.0)


def test_nan_and_infinity_become_gaps_and_leave_the_scale_alone():
    values = [3.0, math.nan, 2.0, math.inf, -math.inf, 1e308, 1.0]
    figure = plots.curves([{"step": s, "loss": v} for s, v in enumerate(values)])
    axes = axes_titled(figure, "Contrastive loss")
    assert np.isnan(axes.lines[0].get_ydata()).sum() == 4
    assert axes.get_ylim()[1] < 10
    assert is_png(plots.to_png(figure, dpi=40))


def test_long_histories_are_averaged_in_bins():
    figure = plots.curves([{"step": s, "loss": float(s % 2)} for s in range(5000)])
    (line,) = axes_titled(figure, "Contrastive loss").lines
    assert len(line.get_xdata()) == 400
    assert np.ptp(line.get_ydata()) < 0.1


@pytest.mark.parametrize("history", [[], [{"step": 7, "loss": 3.0}], [{"step": 0}]])
def test_curves_of_none_or_one_step_can_be_drawn(history):
    assert is_png(plots.to_png(plots.curves(history, chance_loss=2.2), dpi=40))


# --- scores ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("logreg_top1", "Logistic regression, top-1"),
        ("knn10_top1", "10-NN, top-1"),
        ("knn_top5", "10-NN, top-5"),
        ("knn_top1_k200", "200-NN, top-1"),
        ("my_probe_accuracy", "my probe, accuracy"),
        ("top1", "top-1"),
        ("chosen_c", "chosen c"),
    ],
)
def test_metric_label(key, label):
    assert plots.metric_label(key) == label


def test_result_bars_have_the_values_of_the_table_in_per_cent():
    rows = [
        {"row": "SimCLR h", "logreg_top1": 0.8, "knn10_top1": 0.7, "c": 3.0},
        {"row": "PCA", "logreg_top1": 0.4, "knn10_top1": None},
    ]
    axes = plots.result_bars(rows, chance=0.2).axes[0]
    widths = [[bar.get_width() for bar in group] for group in axes.containers]
    np.testing.assert_allclose(widths, [[80, 40], [70, 0]])
    assert [t.get_text() for t in axes.get_yticklabels()] == ["SimCLR h", "PCA"]
    assert [t.get_text() for t in axes.texts] == ["80.0", "40.0", "70.0"]


def test_result_bars_have_whiskers_where_an_interval_is_known():
    rows = [{"row": "h", "top1": 0.5, "top1_ci95": [0.4, 0.7]}, {"row": "z", "top1": 1}]
    axes = plots.result_bars(rows).axes[0]
    whisker = axes.lines[0].get_xdata()
    np.testing.assert_allclose(whisker, [40, 70])


@pytest.mark.parametrize("rows", [[], [{"row": "x", "logreg_top1": math.nan}]])
def test_result_bars_without_accuracies_say_so(rows):
    figure = plots.result_bars(rows)
    assert "No accuracies" in figure.texts[0].get_text()


def test_confusion_rows_are_in_per_cent_of_the_true_class():
    figure = plots.confusion([[3, 1], [0, 0]], class_names=("a", "b"))
    texts = {t.get_position(): t.get_text() for t in figure.axes[0].texts}
    assert texts == {(0, 0): "75", (1, 0): "25"}


@pytest.mark.parametrize("classes", [1, 21, 61])
def test_confusion_of_one_and_of_many_classes(classes):
    figure = plots.confusion(np.eye(classes, dtype=int) * 3)
    assert len(figure.axes[0].texts) == (classes if classes <= 20 else 0)
    assert is_png(plots.to_png(figure, dpi=40))


def test_confusion_that_is_not_square_is_refused():
    with pytest.raises(ValueError, match=r"\[c, c\]"):
        plots.confusion(np.zeros([2, 3]))


# --- pictures --------------------------------------------------------------------


def test_to_uint8_clips_repeats_gray_and_keeps_bytes():
    assert plots.to_uint8(np.array([[[-1.0], [2.0], [np.nan]]])).tolist() == [
        [[0] * 3, [255] * 3, [0] * 3]
    ]
    same = rng.integers(0, 256, [2, 3, 3, 3], dtype=np.uint8)
    np.testing.assert_array_equal(plots.to_uint8(same), same)
    np.testing.assert_array_equal(plots.to_uint8(same / np.float32(255)), same)
    with pytest.raises(ValueError, match="channels"):
        plots.to_uint8(np.zeros([4, 4]))


def test_nearest_matches_a_sort_of_all_cosines():
    queries, bank = rng.normal(size=[300, 5]), rng.normal(size=[37, 5])
    cosine = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ (
        bank / np.linalg.norm(bank, axis=1, keepdims=True)
    ).T
    indices, similarities = plots.nearest(queries, bank, k=7)
    np.testing.assert_array_equal(indices, np.argsort(-cosine, axis=1)[:, :7])
    np.testing.assert_allclose(
        similarities, -np.sort(-cosine, axis=1)[:, :7], atol=1e-5
    )


def test_nearest_never_returns_the_row_left_out():
    features = rng.normal(size=[5, 3])
    indices, _ = plots.nearest(features, features, k=9, leave_out=np.arange(5))
    assert indices.shape == (5, 4)
    assert all(i not in line for i, line in enumerate(indices))


def test_queries_take_turns_over_the_classes():
    labels = np.array([0] * 90 + [1] * 5 + [2] * 5)
    chosen = plots.choose_queries(labels, total=100, count=6)
    assert sorted(labels[chosen]) == [0, 0, 1, 1, 2, 2]
    again = plots.choose_queries(labels, total=100, count=6)
    np.testing.assert_array_equal(chosen, again)


def test_agreement_counts_labelled_neighbours_only():
    features = np.eye(3)
    bank = np.repeat(features, 2, axis=0)
    agreement = plots.neighbour_agreement(
        features, bank, [0, 1, 2], [0, 0, 1, 0, -1, 2], k=2
    )
    assert agreement == (pytest.approx(4 / 5), 3)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_augmentation_grid_has_three_pictures_per_image(count):
    images = rng.random([count, 5, 5, 3])
    figure = plots.augmentation_grid(images, images, images)
    assert len(figure.axes) == 3 * min(count, 8)


@pytest.mark.parametrize("labels", [None, [0, 1]])
def test_neighbours_of_two_images(labels):
    images, features = rng.random([2, 5, 5, 3]), rng.normal(size=[2, 3])
    figure = plots.neighbours(
        images, features, images, features, test_labels=labels, bank_labels=labels
    )
    assert len(figure.axes) == 2 * 3
    assert is_png(plots.to_png(figure, dpi=40))


# --- maps ------------------------------------------------------------------------


def test_pca_map_matches_the_singular_vectors_of_unit_rows():
    features = rng.normal(size=[30, 7])
    maps, kept = plots.project(features, methods=("pca",))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    _, scale, _ = np.linalg.svd(unit - unit.mean(0))
    assert len(kept) == 30
    np.testing.assert_allclose(
        np.linalg.norm(maps["pca"], axis=0), scale[:2], rtol=1e-6
    )


def test_tsne_separates_three_clusters_and_repeats_itself():
    labels = np.arange(45) % 3
    features = np.eye(3)[labels] * 5 + rng.normal(size=[45, 3]) * 0.3
    (first, _), (again, _) = (
        plots.project(features, methods=("tsne",)) for _ in range(2)
    )
    np.testing.assert_array_equal(first["tsne"], again["tsne"])
    distance = np.linalg.norm(first["tsne"][:, None] - first["tsne"][None], axis=-1)
    distance += np.diag(np.full(45, np.inf))
    assert (labels[distance.argmin(axis=1)] == labels).mean() > 0.95


def test_rows_that_are_not_finite_are_left_out_and_points_are_capped():
    features = rng.normal(size=[40, 3])
    features[7] = np.nan
    maps, kept = plots.project(features, methods=("pca",), max_points=30)
    assert len(kept) == 30 == len(maps["pca"])
    assert 7 not in kept


@pytest.mark.parametrize(
    ("features", "methods"),
    [
        (np.zeros([0, 3]), set()),
        (np.ones([1, 3]), set()),
        (np.full([5, 3], np.nan), set()),
        (rng.normal(size=[2, 3]), {"pca"}),
        (np.ones([20, 3]), {"pca"}),  # collapsed: t-SNE has nothing to unfold
        (np.zeros([20, 3]), {"pca"}),
        (rng.normal(size=[9, 1]), {"pca"}),  # unit "vectors" of one dimension: -1, 1
    ],
)
def test_maps_of_degenerate_features(features, methods):
    maps, _ = plots.project(features)
    assert methods <= set(maps)
    assert all(np.isfinite(xy).all() and xy.shape[1] == 2 for xy in maps.values())
    assert is_png(plots.to_png(plots.embedding_map(features, methods=("pca",)), dpi=40))


def test_forty_classes_have_forty_styles():
    assert len(set(plots.class_styles(40))) == 40


def test_more_classes_than_can_be_told_apart_keep_the_most_frequent():
    labels = np.r_[np.repeat(np.arange(24), 3), np.arange(24, 60), -1, -1, -1, -1]
    assert plots.legend_classes(labels) == list(range(24))
    figure = plots.embedding_map(
        rng.normal(size=[len(labels), 3]), labels, methods=("pca",)
    )
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 25
    assert legend.get_texts()[0].get_text() == "other"


# --- files -----------------------------------------------------------------------


def test_text_with_dollars_and_control_characters_is_drawn_as_it_is():
    names = (r"$\frac$", "a\x00b", "猫", "\ud800")
    figure = plots.confusion(np.eye(4), class_names=names)
    shown = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert shown == [r"$\frac$", "a�b", "猫", "�"]
    assert r"$\frac$" in plots.to_svg(figure)
    assert is_png(plots.to_png(figure, dpi=40))


def test_themed_svg_follows_the_page_and_repeats_itself():
    def draw(name):
        figure = plots.result_bars([{"row": "#0072b2 <b>", "top1": 0.5}], chance=0.1)
        return plots.to_svg(figure, themed=True, name=name)

    text = draw("one")
    assert text == draw("one")
    assert text.startswith('<svg class="plot" viewBox=')
    assert "currentColor" in text
    assert "var(--c0, #0072b2)" in text
    assert "http" not in text
    assert "<style" not in text
    assert ">#0072b2 &lt;b&gt;</text>" in text  # words are not colours
    ids = set(re.findall(r' id="([^"]+)"', text))
    assert ids and all(i.startswith("one-") for i in ids)
    assert not ids & set(re.findall(r' id="([^"]+)"', draw("two")))


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.to_svg(plots.curves([{"step": 1, "loss": 2.0}]), themed=True)
    assert dict(matplotlib.rcParams) == before


def test_a_preview_shows_what_was_drawn_for_each_view():
    random = np.random.default_rng(0)
    facts = {
        "crop": (1, 2, 3, 4),
        "flip": True,
        "vertical_flip": False,
        "turn": 0,
        "jitter": {"hue": -0.12, "contrast": 1.5},
        "grayscale": False,
        "blur": 0.75,
        "solarize": None,
    }
    plain = {**facts, "flip": False, "jitter": None, "blur": None}
    turned = {**plain, "vertical_flip": True, "turn": 270, "solarize": 0.5}
    turned["jitter"] = {"added brightness": 0.25}
    assert plots.caption(facts) == "hue -0.12 contrast ×1.50\nflip, blur σ 0.75"
    assert plots.caption(plain) == "no jitter"
    assert plots.caption(turned) == (
        "added brightness +0.25\nvertical flip, turn 270°, solarize 0.50"
    )
    originals = [random.random((9, 7, c)) for c in (1, 3, 5)]
    views = [[random.random((6, 6, c))] * 2 for c in (1, 3, 5)]
    figure = plots.preview(originals, views, [[facts, plain]] * 3)
    assert len(figure.axes) == 9
    windows = [p.get_bbox().bounds for p in figure.axes[0].patches]
    assert windows[0] == (1.5, 0.5, 4, 3)  # x, y, width, height
    assert plots.to_png(figure, dpi=40).startswith(b"\x89PNG")
