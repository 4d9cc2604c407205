"""The loop runs each step once, at exact cadence, and stops on what is not finite."""

import pytest
import tensorflow as tf

from simclr_tf2.training import loop
from simclr_tf2.training.errors import NotFinite


def run(total, *, start=0, log=3, save=4, monitor=5, value=lambda x: x, strategy=None):
    """Train on the numbers 1, 2, ...; returns the calls of every hook."""
    calls = {"log": [], "save": [], "monitor": []}
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
        ),
        examples_per_step=1,
        start_step=start,
    )
    return calls


def test_every_step_is_run_once_and_the_last_chunk_is_trimmed():
    calls = run(7)
    assert calls["log"] == [(3, 2.0), (6, 5.0), (7, 7.0)]  # means since the last line
    assert calls["save"] == [4, 7] and calls["monitor"] == [5, 7]


def test_a_resumed_loop_does_only_what_is_left():
    calls = run(7, start=5)
    assert calls["log"] == [(6, 6.0), (7, 7.0)] and calls["save"] == [7]


def test_never_means_never():
    assert run(4, save=0, monitor=0)["save"] == []


def test_scalars_are_averaged_over_replicas(two_replicas):
    assert run(1, strategy=two_replicas)["log"] == [(1, 1.5)]


def test_not_finite_stops_before_it_is_saved():
    saved = []
    with pytest.raises(NotFinite, match="x not finite"):
        saved = run(8, log=100, save=2, value=lambda x: tf.math.log(2.5 - x))["save"]
    assert saved == []


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
