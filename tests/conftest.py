"""Two logical CPU devices stand in for replicas; every test starts from one seed."""

import contextlib
import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import simclr_tf2  # noqa: F401, I001  (before TensorFlow: chooses its kernels)
import keras
import pytest
import tensorflow as tf

from tests import golden_report
from tests.support import stories


def pytest_configure(config):
    report = golden_report.GoldenReport()
    processes = stories.Stories()
    for plugin in (report, processes):
        plugin.install()
        config.pluginmanager.register(plugin)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
    )


@pytest.hookimpl(tryfirst=True)  # before the fixtures of the test, which draw too
def pytest_runtest_setup(item):
    """Seed Keras and TensorFlow; pytest-randomly seeds Python and NumPy."""
    keras.utils.set_random_seed(item.config.getoption("randomly_seed"))


@pytest.fixture(autouse=True)
def _nothing_said_before():
    """Lines on a data set that a process says once are said in each test."""
    from simclr_tf2.data import once

    once.warn.cache_clear()
    once.tell.cache_clear()


@pytest.fixture(scope="module", autouse=True)
def _forget_models():
    """Drop what Keras keeps of a module's models: it slows down all later ones."""
    yield
    keras.backend.clear_session()
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def two_groups():
    """Make ResNet-10 of two groups, not four: all its kinds of layers, traced sooner.

    For tests of what is done with a network. Files of other networks do not fit it.
    """
    from simclr_tf2.models import residual_blocks

    short = (residual_blocks.basic_block, (1, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(residual_blocks.DEPTHS, 10, short)
        patch.setattr("simclr_tf2.models.resnet.GROUP_FILTERS", (64, 128))
        yield


@pytest.fixture
def short_network():
    """ResNet-10 of two groups in one test."""
    with two_groups():
        yield


@pytest.fixture(scope="module")
def short_networks():
    """ResNet-10 of two groups in all tests of a module; none may load ``finished``."""
    with two_groups():
        yield


@pytest.fixture(scope="session")  # a second one in a process would abort
def two_replicas():
    """A MirroredStrategy over the two logical CPU devices."""
    return tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
