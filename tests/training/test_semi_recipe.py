"""Shares of the labels and the recipe of appendix B.5."""

import pytest

from simclr_tf2.errors import ConfigError
from simclr_tf2.results.semi_table import render_semi
from simclr_tf2.training import semi_recipe
from simclr_tf2.training.semi_recipe import Share


def test_the_paper_has_one_and_ten_percent_and_a_flag_another_share():
    papers = semi_recipe.shares(label_fraction=1.0, labels_per_class=0)
    assert [share.title for share in papers] == [
        "1 % of the labels",
        "10 % of the labels",
    ]
    assert semi_recipe.shares(label_fraction=0.05, labels_per_class=0) == (
        Share(fraction=0.05),
    )
    (everything,) = semi_recipe.shares(
        label_fraction=1.0, labels_per_class=0, all_labels=True
    )
    assert everything.title == "100 % of the labels"
    (counted,) = semi_recipe.shares(label_fraction=1.0, labels_per_class=25)
    assert counted.title == "25 of each class"


def test_epochs_and_rate_are_those_of_the_paper():
    found = [semi_recipe.epochs(fraction) for fraction in (0.01, 0.1, 1.0)]
    assert found == [60, 30, 30]
    recipe = semi_recipe.OPTIMIZER
    assert (recipe.optimizer, recipe.momentum) == ("momentum", 0.9)
    assert (recipe.learning_rate, recipe.learning_rate_scaling) == (0.05, "linear")
    assert recipe.warmup_epochs == recipe.weight_decay == 0


def test_a_share_of_any_set_has_as_many_steps_as_in_the_paper():
    assert semi_recipe.paper_batch(1_281_167) == 4096
    assert semi_recipe.paper_batch(10**8) == 4096  # none larger was tried
    for images in (1_281_167, 50_000, 14_000):
        batch = semi_recipe.paper_batch(images)
        one, ten = (
            semi_recipe.epochs(part) * part * images / batch for part in (0.01, 0.1)
        )
        assert one == pytest.approx(188, rel=0.02)
        assert ten == pytest.approx(938, rel=0.02)
    assert semi_recipe.paper_batch(5000) == semi_recipe.LEAST_BATCH == 32


def test_a_batch_is_cut_to_labels_and_memory_and_whole_on_each_replica():
    sizes = [(10**6, 10**6, 8), (10**6, 1000, 3), (50, 10**6, 4)]
    found = [
        semi_recipe.batch_size(n, wanted=4096, most=m, replicas=r) for n, m, r in sizes
    ]
    assert found == [4096, 996, 48]
    assert semi_recipe.batch_size(500, wanted=32, most=512, replicas=5) == 30
    assert semi_recipe.batch_size(25, wanted=32, most=512, replicas=1) == 24  # even
    assert semi_recipe.batch_size(5, wanted=32, most=512, replicas=3) == 3
    with pytest.raises(ConfigError, match="fewer than the 4 replicas"):
        semi_recipe.batch_size(3, wanted=4096, most=99, replicas=4)


def test_all_labels_need_no_share_of_them():
    few = {"label_fraction": 1.0, "labels_per_class": 0, "num_classes": 10}
    with pytest.raises(ConfigError):
        semi_recipe.check(num_examples=90, **few)
    semi_recipe.check(num_examples=90, all_labels=True, **few)


def test_fewer_images_than_one_percent_is_refused_only_if_nothing_is_left():
    small = {"num_examples": 500, "num_classes": 10}
    semi_recipe.check(label_fraction=1.0, labels_per_class=0, **small)  # 10 % is enough
    assert semi_recipe.too_small(Share(fraction=0.01), **small)
    assert not semi_recipe.too_small(Share(count=1), **small)
    for fraction, images in ((0.01, 500), (1.0, 50)):
        with pytest.raises(ConfigError, match="--labels_per_class=1") as error:
            semi_recipe.check(
                label_fraction=fraction,
                labels_per_class=0,
                num_examples=images,
                num_classes=10,
            )
        assert "\n" not in str(error.value)


def test_the_table_has_a_line_per_share_and_the_papers_numbers_for_imagenet():
    measured = {"value": 0.5, "top5": 0.75, "ci95": [0.4, 0.6], "labels": 1234}
    unmeasured = {"value": None, "not_measured": "too few"}
    text = render_semi(
        {
            "1 % of the labels": unmeasured | {"dataset": "cifar10"},
            "10 % of the labels": measured | {"dataset": "cifar10"},
        }
    )
    *_, first, second, note = text.splitlines()
    assert first.split()[-3:] == ["-", "-", "-"] and "paper" not in text
    assert second.split()[-5:] == ["1,234", "50.0", "[40.0,", "60.0]", "75.0"]
    assert note == "1 % of the labels not measured: too few"
    chance = {"train_loss": 26.1, "chance_loss": 2.3026, "no_better_than_chance": True}
    marked = render_semi({"a": measured | chance | {"dataset": "cifar10"}})
    assert "50.0! [40.0, 60.0]" in marked
    assert "! a: the training loss ended at 26.100, no better than guessing" in marked
    dataset = {"dataset": "imagenet2012_subset/1pct"}
    assert "75.5" in render_semi({"1 % of the labels": measured | dataset})
