"""The start of a training with several workers."""

import dataclasses
import threading

import numpy as np
import tensorflow as tf

from simclr_tf2.config import Config, DataConfig
from simclr_tf2.config.distribution import DistributionConfig
from simclr_tf2.data.sources import ArraySource
from simclr_tf2.distribution import Cluster, Workers
from simclr_tf2.errors import ConfigError
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.training import joint_start

ONE = tf.distribute.OneDeviceStrategy("/cpu:0")


class Images:
    """Training images, of which only number and digests matter here."""

    num_examples = 3
    source = ArraySource(np.zeros([3, 2, 2, 3], np.uint8), np.array([0, 1, 0]))


def on_both(act):
    """Call ``act(team)`` for two workers in threads; return results or errors."""
    texts, found = [None, None], [None, None]
    barrier = threading.Barrier(2, timeout=30)

    def run(index):
        team = Workers(ONE, Cluster(("a:1", "b:2"), index))

        def gather(text):
            texts[index] = text
            barrier.wait()
            read = list(texts)
            barrier.wait()
            return read

        team._gathered = gather
        try:
            found[index] = act(team)
        except Exception as error:
            found[index] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def agreed(configs, **facts):
    return on_both(
        lambda team: joint_start.agree(
            team,
            configs[team.index],
            Images,
            total_steps=5,
            **{name: values[team.index] for name, values in facts.items()},
        )
    )


def with_place(config, index):
    """Return the config of a worker, whose places are its own."""
    cluster = DistributionConfig(cluster=("a:1", "b:2"), task_index=index)
    data = DataConfig(image_dir=f"/mnt{index}/photos", data_dir=f"/cache{index}")
    return dataclasses.replace(config, data=data, distribution=cluster)


def test_one_worker_agrees_with_itself():
    config = Config(mode="pretrain")
    assert joint_start.agree(Workers(None, None), config, None, total_steps=1) is config


def test_workers_may_differ_in_places_and_take_the_precision_of_the_chief(tmp_path):
    config = Config(mode="pretrain", model_dir=str(tmp_path))
    first, second = (with_place(config, index) for index in (0, 1))
    first = run_folder.with_precision(first, "bfloat16")
    second = run_folder.with_precision(second, "auto")
    found = agreed([first, second], views=["numba", "numba"])
    assert [c.training.mixed_precision for c in found] == ["bfloat16"] * 2
    assert not list(tmp_path.iterdir())


def test_other_settings_and_facts_are_named(tmp_path):
    config = Config(mode="pretrain", model_dir=str(tmp_path))
    other = dataclasses.replace(
        config, training=dataclasses.replace(config.training, log_steps=7)
    )
    for error in agreed([config, other], views=["numba", "tf"]):
        assert isinstance(error, ConfigError)
        assert "--log_steps is" in str(error) and "7 on worker 1" in str(error)
        assert "views is numba on worker 0, tf on worker 1" in str(error)


def test_a_shared_folder_passes_before_it_exists(tmp_path):
    folder = tmp_path / "runs" / "new"
    found = on_both(lambda team: joint_start.check_shared(team, folder))
    assert found == [None, None] and not list(tmp_path.iterdir())


def test_folders_that_are_not_shared_are_refused_and_left_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(joint_start, "SECONDS_TO_APPEAR", 0.1)
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
    found = on_both(
        lambda team: joint_start.check_shared(team, tmp_path / str(team.index) / "run")
    )
    for error in found:
        assert isinstance(error, ConfigError)
        assert "is not a shared folder" in str(error) and "worker 1" in str(error)
    assert not [*(tmp_path / "0").iterdir(), *(tmp_path / "1").iterdir()]


def test_a_place_that_worker_0_cannot_write_is_refused_on_both(tmp_path):
    (tmp_path / "file").write_text("no folder")
    found = on_both(lambda team: joint_start.check_shared(team, tmp_path / "file/run"))
    assert all("could not write" in str(error) for error in found)
