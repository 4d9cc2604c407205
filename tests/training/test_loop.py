"""The loop runs each step once, at exact cadence, and stops on what is not finite."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import losses, models, optimizers
from simclr_tf2.config import LossConfig, OptimizerConfig
from simclr_tf2.errors import NotFinite
from simclr_tf2.optimizers import WarmupCosine
from simclr_tf2.training import loop, steps


def run(
    total,
    *,
    start=0,
    log=3,
    save=4,
    monitor=5,
    value=lambda x: x,
    strategy=None,
    steps_per_loop=0,
    ran=None,
    calls=None,
):
    """Train on the numbers 1, 2, ...; returns the calls of every hook.

    Where the run raises, ``calls`` has them.
    """
    calls = {"log": [], "save": [], "monitor": []} if calls is None else calls
    moved = [] if ran is None else ran
    strategy = strategy or tf.distribute.OneDeviceStrategy("/cpu:0")
    replicas = strategy.num_replicas_in_sync
    numbers = tf.data.Dataset.range(start * replicas + 1, 10**6)
    dataset = strategy.distribute_datasets_from_function(lambda _: numbers)
    loop.train(
        lambda x: {"x": value(tf.cast(x, tf.float32))},
        dataset,
        strategy=strategy,
        cadence=loop.Cadence(
            total_steps=total,
            log_every=log,
            checkpoint_every=save,
            monitor_every=monitor,
        ),
        hooks=loop.Hooks(
            log=lambda step, scalars: calls["log"].append((step, scalars["x"])),
            save=calls["save"].append,
            monitor=calls["monitor"].append,
            ran=moved.append,
        ),
        examples_per_step=1,
        start_step=start,
        steps_per_loop=steps_per_loop,
    )
    return calls


def test_every_step_is_run_once_and_the_last_chunk_is_trimmed():
    calls = run(7)
    assert calls["log"] == [(3, 2.0), (6, 5.0), (7, 7.0)]  # means since the last line
    assert calls["save"] == [4, 7] and calls["monitor"] == [5, 7]


def test_every_step_is_told_where_a_chunk_is_one_step():
    told = []
    run(7, steps_per_loop=1, ran=told)
    assert told == [1, 2, 3, 4, 5, 6, 7]


def test_a_rate_counts_no_step_in_which_the_graph_is_made(monkeypatch):
    """The first chunk has no rate; time in hooks is not training time."""
    clock = [0.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])
    rates, save = {}, []

    def ran(step):
        clock[0] += 100.0 if step == 1 else 2.0

    def slow(step):
        save.append(step)
        clock[0] += 50.0

    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    loop.train(
        lambda x: {"x": tf.cast(x, tf.float32)},
        strategy.distribute_datasets_from_function(lambda _: tf.data.Dataset.range(99)),
        strategy=strategy,
        cadence=loop.Cadence(
            total_steps=7, log_every=4, checkpoint_every=3, first_logs=(1,)
        ),
        hooks=loop.Hooks(
            log=lambda step, x: rates.update({step: x.get("images_per_second")}),
            save=slow,
            monitor=lambda _: None,
            ran=ran,
        ),
        examples_per_step=10,
        steps_per_loop=1,
    )
    assert save == [3, 6, 7]
    assert rates == {1: None, 4: pytest.approx(5.0), 7: pytest.approx(5.0)}


def test_a_resumed_loop_does_only_what_is_left():
    calls = run(7, start=5)
    assert calls["log"] == [(6, 6.0), (7, 7.0)] and calls["save"] == [7]


def test_a_cadence_of_0_saves_and_monitors_at_no_step():
    calls = run(4, save=0, monitor=0)
    assert calls["save"] == [] and calls["monitor"] == []


def test_scalars_are_averaged_over_replicas(two_replicas):
    assert run(1, strategy=two_replicas)["log"] == [(1, 1.5)]


def test_not_finite_stops_before_it_is_saved():
    calls = {"log": [], "save": [], "monitor": []}
    with pytest.raises(NotFinite, match="x not finite"):
        run(8, log=100, save=2, calls=calls, value=lambda x: tf.math.log(2.5 - x))
    assert calls["save"] == [2]  # where x was finite; 3, 4 and so on are not


@pytest.mark.parametrize("hook", ["log", "save", "monitor"])
def test_a_signal_that_arrives_in_a_hook_never_stops_unsaved(hook):
    """The step that is named in the message is the step that was saved."""
    import os
    import signal

    saved = []

    def kill(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    hooks = {"log": lambda *_: None, "save": saved.append, "monitor": lambda *_: None}
    if hook == "save":
        hooks["save"] = lambda step: (saved.append(step), kill())
    else:
        hooks[hook] = kill
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    numbers = tf.data.Dataset.range(10**6)
    with pytest.raises(loop.Stopped, match="stopped by a signal at step") as caught:
        loop.train(
            lambda x: {"x": tf.cast(x, tf.float32)},
            strategy.distribute_datasets_from_function(lambda _: numbers),
            strategy=strategy,
            cadence=loop.Cadence(
                total_steps=9, log_every=3, checkpoint_every=4, monitor_every=5
            ),
            hooks=loop.Hooks(**hooks),
            examples_per_step=1,
        )
    assert f"at step {saved[-1]} " in str(caught.value)


@pytest.mark.parametrize("steps_per_loop", [0, 1, 2, 100])
def test_chunks_show_in_nothing(steps_per_loop):
    calls = run(7, steps_per_loop=steps_per_loop)
    assert calls == {
        "log": [(3, 2.0), (6, 5.0), (7, 7.0)],
        "save": [4, 7],
        "monitor": [5, 7],
    }


@pytest.mark.parametrize("steps_per_loop", [0, 1, 2, 100])
def test_a_run_traces_its_step_once(steps_per_loop):
    """Chunks of 1, 2 and 3 steps and a shorter last one, in one graph."""
    traced = []

    def value(x):
        traced.append(x)
        return x

    run(11, log=4, save=3, monitor=0, value=value, steps_per_loop=steps_per_loop)
    assert len(traced) == 1


def in_stages(total, borders, *, start=0, steps_per_loop=0, replicas=1, **settings):
    """Train on 1, 2, ...: numbers at first, then vectors of them, longer each time.

    Returns:
        Calls of the hooks, last steps of chunks, shapes in the order of tracing.
    """
    strategy = settings.pop("strategy", tf.distribute.OneDeviceStrategy("/cpu:0"))
    calls, ran, traced = {"log": [], "save": []}, [], []

    def dataset(length, start):
        numbers = tf.data.Dataset.range(start * replicas + 1, 10**6)
        numbers = numbers.map(lambda x: tf.fill([length], x))
        return strategy.distribute_datasets_from_function(lambda _: numbers)

    def step(x):
        traced.append(tuple(x.shape))
        return {"x": tf.reduce_mean(tf.cast(x, tf.float32))}

    loop.train(
        step,
        dataset(1, start),
        strategy=strategy,
        cadence=loop.Cadence(
            total_steps=total, log_every=4, checkpoint_every=6, **settings
        ),
        hooks=loop.Hooks(
            log=lambda now, scalars: calls["log"].append((now, scalars["x"])),
            save=calls["save"].append,
            monitor=lambda _: None,
            ran=ran.append,
        ),
        examples_per_step=1,
        start_step=start,
        steps_per_loop=steps_per_loop,
        later=[
            loop.Stage(start=border, make=functools.partial(dataset, length, border))
            for length, border in enumerate(borders, 2)
        ],
    )
    return calls, ran, traced


@pytest.mark.parametrize("steps_per_loop", [0, 1, 2, 100])
def test_stages_show_in_nothing_but_the_shapes_of_elements(steps_per_loop):
    calls, ran, traced = in_stages(9, [3, 5], steps_per_loop=steps_per_loop)
    assert calls == {"log": [(4, 2.5), (8, 6.5), (9, 9.0)], "save": [6, 9]}
    assert traced == [(1,), (2,), (3,)]
    assert {3, 5} <= set(ran)  # a chunk ends there
    if steps_per_loop == 100:
        assert ran == [3, 4, 5, 6, 8, 9]


def test_stages_that_the_run_does_not_reach_are_not_made():
    calls, _, traced = in_stages(4, [4, 6])
    assert traced == [(1,)] and calls["log"] == [(4, 2.5)]


def test_a_loop_resumed_within_stages_has_those_that_are_left():
    calls, _, traced = in_stages(9, [5], start=4)
    assert calls["log"] == [(8, 6.5), (9, 9.0)] and traced == [(1,), (2,)]


def test_stages_on_two_replicas(two_replicas):
    calls, _, traced = in_stages(4, [2], replicas=2, strategy=two_replicas)
    assert calls["log"] == [(4, 4.5)]  # 1 to 8
    assert set(traced) == {(1,), (2,)}


def test_a_rate_counts_no_step_in_which_the_graph_of_a_stage_is_made(monkeypatch):
    clock, rates = [0.0], {}
    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")

    def dataset(length):
        numbers = tf.data.Dataset.range(99).map(lambda x: tf.fill([length], x))
        return strategy.distribute_datasets_from_function(lambda _: numbers)

    def step(x):
        clock[0] += 100.0  # of tracing; steps take none
        return {"x": tf.reduce_mean(tf.cast(x, tf.float32))}

    def ran(step):
        clock[0] += 2.0

    loop.train(
        step,
        dataset(1),
        strategy=strategy,
        cadence=loop.Cadence(
            total_steps=6, log_every=2, checkpoint_every=6, first_logs=(1, 5)
        ),
        hooks=loop.Hooks(
            log=lambda now, x: rates.update({now: x.get("images_per_second")}),
            save=lambda _: None,
            monitor=lambda _: None,
            ran=ran,
        ),
        examples_per_step=10,
        steps_per_loop=1,
        later=[
            loop.Stage(start=2, make=functools.partial(dataset, 2)),
            loop.Stage(start=4, make=functools.partial(dataset, 3)),
        ],
    )
    # Step 3 is left out of the line of step 4; step 5 has a line of its own.
    assert rates == {1: None, 2: 5.0, 4: 5.0, 5: None, 6: 5.0}


def test_not_finite_in_the_middle_of_a_chunk_is_seen_at_its_end():
    calls = {"log": [], "save": [], "monitor": []}
    with pytest.raises(NotFinite, match="x not finite at or before step 6"):
        run(
            9,
            log=6,
            save=9,
            monitor=2,
            value=lambda x: tf.where(tf.equal(x, 3.0), float("nan"), x),
            steps_per_loop=100,
            calls=calls,
        )
    assert calls == {"log": [], "save": [], "monitor": [2, 4]}


def test_the_length_of_chunks_follows_what_a_step_takes(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])
    pace, lengths = loop._Pace(0), []
    for seconds_per_step in [30.0] + [0.125] * 5 + [0.0001] * 6 + [3.0] * 2:
        lengths.append(pace.steps())
        clock[0] += lengths[-1] * seconds_per_step
        pace.ran(lengths[-1])
    assert lengths == [1, 1, 2, 4, 8, 8, 8, 16, 32, 64, 100, 100, 100, 1]
    fixed = loop._Pace(7)
    clock[0] += 99
    fixed.ran(3)
    assert fixed.steps() == 7


@pytest.mark.parametrize(
    ("replicas", "chunks", "tolerance"),
    [(1, (1, 5), 1e-5), (2, (2, 5), 0.0)],
    ids=["looped or not", "chunks of two or five on two replicas"],
)
def test_training_does_not_depend_on_chunks(replicas, chunks, tolerance, two_replicas):
    """A network with batch norm and a loss over all replicas; bit for bit if looped."""
    strategy = (
        two_replicas if replicas == 2 else tf.distribute.OneDeviceStrategy("/cpu:0")
    )
    found, expected = (_weights(strategy, steps) for steps in chunks)
    assert found[0][0] != found[0][1] and len(found[1]) > 10
    for a, b in zip(found, expected, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def _weights(strategy, steps_per_loop):
    """Losses of nine steps, and every variable after them."""
    keras.utils.set_random_seed(1)
    with strategy.scope():
        images = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(4, 3, activation="relu")(images)
        x = models.FusedBatchNormalization()(x)
        backbone = keras.Model(images, keras.layers.GlobalAveragePooling2D()(x))
        model = models.SimCLR(backbone, models.build_projection_head(4, out_dim=4))
        optimizer = optimizers.build_optimizer(
            OptimizerConfig(), learning_rate=WarmupCosine(0.1, 9, 3)
        )
        optimizer.build(model.trainable_variables)
    step = steps.pretrain_step(model, optimizer, losses.build_loss(LossConfig()))
    views = np.random.default_rng(0).random((20, 2, 3, 8, 8, 3)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices(
        {"views": (views[:, 0], views[:, 1])}
    ).repeat()
    means = []
    loop.train(
        step,
        strategy.distribute_datasets_from_function(lambda _: data),
        strategy=strategy,
        cadence=loop.Cadence(total_steps=9, log_every=4, checkpoint_every=6),
        hooks=loop.Hooks(
            log=lambda _, scalars: means.append(scalars["loss"]),
            save=lambda _: None,
            monitor=lambda _: None,
        ),
        examples_per_step=3,
        steps_per_loop=steps_per_loop,
    )
    assert int(optimizer.iterations.numpy()) == 9
    return means, [v.numpy() for v in model.variables]
