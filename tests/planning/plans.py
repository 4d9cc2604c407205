"""Runs to plan, as several tests need them."""

from simclr_tf2 import config as config_lib
from simclr_tf2.planning import hardware
from simclr_tf2.planning.estimate import estimate
from simclr_tf2.planning.workload import Images, Workload

IMAGENET = Images(1_281_167, 1000, 107_714, "test")


def workload(replicas=1, *, mode="pretrain", steps=100, **flags):
    """A run with these flags on a number of replicas."""
    config = config_lib.from_flat({"num_proj_layers": 2, **flags})
    return Workload.of(config, IMAGENET, mode=mode, steps=steps, replicas=replicas)


def planned(name="tpu_v3_32", devices=0, **flags):
    """The estimate of a run on a hardware file."""
    machine = hardware.find(name)
    machine = machine.with_devices(devices) if devices else machine
    return estimate(workload(machine.devices, **flags), machine)
