"""The grids of fine-tuning: the paper's values, the choice, and what is kept."""

import json

import numpy as np
import pytest

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.transfer.grid import (
    Trial,
    best_trial,
    make_grid,
    on_edge,
    search,
)


def trial(rate, decay, score=None):
    return Trial(learning_rate=rate, weight_decay=decay, score=score)


@pytest.mark.parametrize(
    ("method", "rates", "decays"),
    [
        ("finetune", (-4, -1), [0, *np.logspace(-6, -3, 7)]),
        ("random_init", (-3, 0), np.logspace(-5, -1.5, 8)),
    ],
)
def test_the_default_grid_is_that_of_the_paper(method, rates, decays):
    grid = make_grid(method)
    assert len(grid) == 56
    found = sorted({pair.learning_rate for pair in grid})
    np.testing.assert_allclose(found, np.logspace(*rates, 7))
    for rate in found:
        of_rate = [p.weight_decay for p in grid if p.learning_rate == rate]
        np.testing.assert_allclose(of_rate, np.array(decays) / rate)


def test_smaller_grids_keep_the_ends_and_one_value_is_the_middle():
    grid = make_grid("finetune", learning_rates=2, weight_decays=3)
    assert {p.learning_rate for p in grid} == {1e-4, 1e-1} and len(grid) == 6
    products = {round(p.learning_rate * p.weight_decay, 12) for p in grid}
    assert products == {0, 1e-6, 1e-3}
    (only,) = make_grid("finetune", learning_rates=1, weight_decays=1)
    assert only.learning_rate == pytest.approx(10**-2.5) and only.weight_decay == 0
    (only,) = make_grid("random_init", learning_rates=1, weight_decays=1)
    product = only.learning_rate * only.weight_decay
    assert product == pytest.approx(10**-3.25)


def test_the_best_score_wins_and_ties_go_to_decay_then_to_the_smaller_rate():
    trials = [
        trial(0.1, 0.0, 0.5),
        trial(0.1, 0.01, 0.5),
        trial(0.01, 0.1, 0.5),
        trial(1.0, 0.5, None),
        trial(0.001, 9.0, 0.4),
    ]
    assert best_trial(trials) == trials[2]
    assert best_trial([*trials, trial(1.0, 0.0, 0.6)]).learning_rate == 1.0
    assert not on_edge(trials, trials[2]) and on_edge(trials, trials[4])
    assert not on_edge(trials[:1], trials[0])
    with pytest.raises(ConfigError, match="none of the 1 pairs"):
        best_trial([trial(1.0, 0.0)])


class Trainer:
    """Scores by a formula, and notes what it was asked for."""

    def __init__(self, stop_after=99):
        self.asked, self.stop_after = [], stop_after

    def __call__(self, pair):
        if len(self.asked) == self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(pair)
        return None if pair.learning_rate > 0.09 else pair.learning_rate


def test_a_stopped_search_goes_on_and_repeats_no_finished_trial(tmp_path):
    grid = make_grid("finetune", learning_rates=3, weight_decays=2)
    settings = {"steps": 3, "images": ("a", "b")}
    path = tmp_path / "transfer" / "x.json"
    first, second, third = Trainer(stop_after=4), Trainer(), Trainer()
    with pytest.raises(KeyboardInterrupt):
        search(grid, first, path=path, settings=settings)
    whole = search(grid, second, path=path, settings=settings)
    assert first.asked == grid[:4] and second.asked == grid[4:]
    assert whole == search(grid, third, path=path, settings=settings)
    assert third.asked == []
    assert whole == search(grid, Trainer(), path=None, settings=settings)
    assert [t.score is None for t in whole] == [False] * 4 + [True] * 2
    # A larger grid reads what it shares with the smaller one.
    fourth = Trainer()
    larger = make_grid("finetune", learning_rates=3, weight_decays=3)
    search(larger, fourth, path=path, settings=settings)
    assert len(fourth.asked) == 6 and len(json.loads(path.read_text())["trials"]) == 12


@pytest.mark.parametrize("kept", ["settings", "not json", "half"])
def test_trials_of_something_else_are_not_used(tmp_path, kept, caplog):
    grid = make_grid("finetune", learning_rates=1, weight_decays=2)
    path = tmp_path / "x.json"
    search(grid, Trainer(), path=path, settings={"seed": 0})
    if kept != "settings":
        text = path.read_text()
        path.write_text("{" if kept == "not json" else text.replace("score", "sc"))
    again = Trainer()
    search(grid, again, path=path, settings={"seed": int(kept == "settings")})
    assert again.asked == grid
    assert len(json.loads(path.read_text())["trials"]) == 2
