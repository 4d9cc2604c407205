"""--early_image_sizes: sizes of views by step, graphs, resuming, other lengths."""

import logging
import os
import signal

import numpy as np
import pytest

from simclr_tf2.data import pipeline
from simclr_tf2.errors import ConfigError, Stopped
from simclr_tf2.runs import checkpoints, logs
from simclr_tf2.training import cached_gradients, steps
from simclr_tf2.workflows.pretrain import warn_of_no_effect
from tests.support.tiny_runs import run, tiny_config

SIZES = {"early_image_sizes": (16, 24), "train_steps": 12, "checkpoint_steps": 0}
LOOKS = {"monitor_epochs": 0.08, "protocols": "knn", "baselines": False}
SIDES = [16] * 3 + [24] * 3 + [32] * 6

pytestmark = pytest.mark.usefixtures("short_networks")


@pytest.fixture(scope="module")
def traced():
    """Sides of the views and of the local views, at each time a step is traced.

    The side is also a scalar of each log line.
    """
    shapes = []

    def seeing(make):
        def make_step(*args, **kwargs):
            step = make(*args, **kwargs)

            def seen(batch):
                kinds = ("views", "local_views")
                shown = [view for kind in kinds for view in batch.get(kind, ())]
                sides = [view.shape[1] for view in shown]
                assert [view.shape[2] for view in shown] == sides
                shapes.append(sides)
                return step(batch) | {"side": float(sides[0])}

            return seen

        return make_step

    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (steps, "pretrain_step"),
            (cached_gradients, "cached_gradient_step"),
        ):
            patch.setattr(module, name, seeing(getattr(module, name)))
        yield shapes


def values(lines, key):
    return [line[key] for line in lines if key in line]


@pytest.fixture(scope="module")
def whole(data_dir, tmp_path_factory, traced):
    """Folder, lines, traces and sizes in evaluation of a run without a stop."""
    folder = tmp_path_factory.mktemp("growing") / "whole"
    traced.clear()
    evaluated, make = [], pipeline.make_eval_dataset

    def seen(split, **settings):
        evaluated.append(settings["image_size"])
        return make(split, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "make_eval_dataset", seen)
        _, lines = run(folder, data_dir, **LOOKS, **SIZES)
    return folder, lines, list(traced), evaluated


def test_views_grow_at_their_steps_and_each_size_is_traced_once(whole):
    folder, lines, shapes, _ = whole
    assert values(lines, "side") == SIDES
    assert shapes == [[16, 16], [24, 24], [32, 32]]
    trained = [line["step"] for line in lines if "loss" in line]
    assert trained == list(range(1, 13))
    saved = {path.name for path in folder.glob("ckpt-*.index")}
    assert saved == {"ckpt-12.index"}  # none at the end of a stage


def test_evaluation_during_and_after_training_has_the_full_size(whole):
    _, lines, _, evaluated = whole
    looks = [line["step"] for line in lines if "alignment" in line]
    assert looks[0] < 6 and len(looks) > 1  # with early sizes too
    assert len(evaluated) >= 4 and set(evaluated) == {32}


def test_a_stop_within_early_sizes_shows_in_nothing(
    data_dir, tmp_path, whole, traced, monkeypatch, caplog
):
    """At step 2 of 3 with 16 px, and at the last step with 24 px."""
    caplog.set_level(logging.INFO)
    write = logs.MetricsLog.write
    for stop in (2, 6):
        with monkeypatch.context() as patch, pytest.raises(Stopped):

            def at_step(log, now, scalars, before=stop - 1):
                write(log, now, scalars)
                if now == before:
                    os.kill(os.getpid(), signal.SIGTERM)

            patch.setattr(logs.MetricsLog, "write", at_step)
            run(tmp_path / "run", data_dir, **SIZES)
        assert (tmp_path / "run" / f"ckpt-{stop}.index").exists()
    traced.clear()
    _, lines = run(tmp_path / "run", data_dir, **SIZES)
    assert traced == [[32, 32]]  # it goes on after the last step with 24 px
    said = [record.getMessage() for record in caplog.records]
    assert [text for text in said if text.startswith("views have")] == [
        "views have 16 px from step 1 on",  # until the first stop
        "views have 16 px from step 1 on",
        "views have 24 px from step 4 on",
        "views have 32 px from step 7 on",
    ]
    folder, whole_lines, _, _ = whole
    assert values(lines, "side") == SIDES
    assert values(lines, "loss") == values(whole_lines, "loss")
    found, expected = (
        checkpoints.weights(f"{path}/ckpt-12") for path in (tmp_path / "run", folder)
    )
    assert len(found) > 20 and found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_chunks_of_steps_end_with_a_size(data_dir, tmp_path, whole, traced):
    """The first five steps with one call each where a size allows; equal losses."""
    traced.clear()
    _, lines = run(
        tmp_path / "run", data_dir, **{**SIZES, "log_steps": 12, "steps_per_loop": 5}
    )
    assert traced == [[16, 16], [24, 24], [32, 32]]
    assert values(lines, "step") == [12]
    losses, sides = (values(whole[1], key) for key in ("loss", "side"))
    assert values(lines, "loss") == [pytest.approx(sum(losses) / 12, rel=1e-4)]
    assert values(lines, "side") == [sum(sides) / 12]


@pytest.mark.parametrize(
    ("changes", "views"),
    [
        ({"augment_on": "device", "micro_batch_size": 8, "num_views": 3}, 3 * ["big"]),
        pytest.param(
            {"augment_backend": "tf", "num_local_views": 1},
            ["big", "big", 12],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"jit_compile": True, "augment_on": "device"},
            ["big", "big"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["device, micro-batches, three views", "TensorFlow, local views", "compiled"],
)
def test_other_ways_of_training_take_views_of_each_size(
    data_dir, tmp_path, traced, changes, views
):
    traced.clear()
    _, lines = run(
        tmp_path / "run",
        data_dir,
        early_image_sizes=(20,),  # the least that are blurred
        use_blur=True,
        train_steps=2,
        **changes,
    )
    assert values(lines, "side") == [20, 32]
    assert traced == [
        [side if view == "big" else view for view in views] for side in (20, 32)
    ]


def test_a_longer_run_keeps_the_size_that_its_views_have(data_dir, tmp_path, traced):
    early = {"early_image_sizes": (16,), "log_steps": 1}
    run(tmp_path / "run", data_dir, train_steps=2, **early)
    traced.clear()
    _, lines = run(tmp_path / "run", data_dir, train_steps=6, extend=True, **early)
    assert values(lines, "side") == [16, 32, 32, 32, 32, 32]
    assert traced == [[32, 32]]


def test_sizes_that_do_not_fit_are_refused_before_anything_is_written(
    data_dir, tmp_path
):
    with pytest.raises(ConfigError, match="smaller than --image_size=32"):
        run(tmp_path / "run", data_dir, early_image_sizes=(16, 32))
    assert not (tmp_path / "run").exists()


def test_a_share_without_sizes_is_warned_of(caplog):
    warn_of_no_effect(
        tiny_config(early_share=0.25, early_image_sizes=(16,), protocols=())
    )
    assert "--early_share" not in caplog.text
    warn_of_no_effect(tiny_config(early_share=0.25, protocols=()))
    assert "--early_share has no effect without --early_image_sizes" in caplog.text
