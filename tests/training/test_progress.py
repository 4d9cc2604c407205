"""Words of the log: what fits a terminal, and when the loss is said to be at chance."""

import math
import re

import pytest

from simclr_tf2.training.progress import TrainingLines

CHANCE = math.log(127)
LOOK = {
    "valid_loss": 3.25,
    "valid_contrastive_accuracy": 0.5,
    "knn_top1_k20": 0.421,
    "std_h": 0.031,
    "std_z": 0.12,
    "uniformity": -2.512,
    "alignment": 0.71,
    "rankme": 17.25,
}


def lines(**settings):
    return TrainingLines(
        **{
            "total_steps": 100_000,
            "steps_per_epoch": 97,
            "chance": CHANCE,
            "warmup_steps": 300,
            **settings,
        }
    )


def scalars(loss=3.2, **changes):
    return {
        "loss": loss,
        "contrastive_accuracy": 0.512,
        "supervised_accuracy": 0.25,
        "images_per_second": 12_345.6,
        "learning_rate": 0.00123,
        **changes,
    }


def test_a_line_in_a_file_has_everything():
    line = lines()(12_345, scalars())
    assert line.startswith(
        "step  12345/100000  epoch 127.27  12,346 img/s  loss 3.200 (chance 4.844)  "
        "acc 51.2 %  probe 25.0 %  lr 1.23e-03  ETA "
    )


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_a_line_on_a_terminal_fits_and_keeps_loss_and_accuracy(columns):
    line = lines()(12_345, scalars(), columns)
    assert len(line) <= columns and "\n" not in line
    assert "loss 3.200 (chance 4.844)  acc 51.2 %" in line
    assert line.startswith("step  12345/100000  epoch 127.27")


def test_a_look_on_a_terminal_goes_on_in_the_next_line_between_two_numbers():
    full = lines()(12_345, LOOK)
    shown = lines()(12_345, LOOK, 80).splitlines()
    assert len(shown) > 1 and all(len(line) <= 80 for line in shown)
    assert re.split(r"\s\s+", full) == re.split(r"\s\s+", "  ".join(shown))
    assert "valid_contrastive_accuracy 50.0 %" in full and "knn_top1_k20 42.1 %" in full


def test_a_first_line_without_a_rate_is_a_line():
    first = scalars()
    del first["images_per_second"]
    assert "img/s" not in lines()(1, first)


def warnings(caplog, losses, **settings):
    told = lines(**settings)
    for step, loss in losses:
        told(step, scalars(loss))
    return [r.message for r in caplog.records if "chance" in r.message]


def test_a_loss_that_stays_at_chance_after_the_warmup_is_warned_of_once(caplog):
    found = warnings(caplog, [(step, CHANCE) for step in range(50, 900, 50)])
    assert len(found) == 1
    assert (
        "at its chance level since step 300: 4.844, and ln(2N-1) is 4.844" in found[0]
    )


@pytest.mark.parametrize(
    "losses",
    [
        [(50 * i, 1.2 * CHANCE) for i in range(1, 20)],  # above chance
        [(50 * i, CHANCE) for i in range(1, 6)],  # in the warm-up
        [(50 * i, CHANCE * (1 if i % 2 else 0.9)) for i in range(1, 20)],  # passing
        [(50 * i, 0.95 * CHANCE) for i in range(1, 20)],  # learning slowly
    ],
    ids=["above", "warm-up", "now and then", "below"],
)
def test_no_other_loss_is_said_to_be_at_chance(caplog, losses):
    assert warnings(caplog, losses) == []
