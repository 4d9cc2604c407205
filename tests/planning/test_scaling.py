"""A run on more devices: the table, and the numbers at which something breaks."""

import pytest

from simclr_tf2.planning import scaling, table
from tests.planning.plans import planned

LAST = 10_000


@pytest.fixture(scope="module")
def start():
    return planned("tpu_v4_128", train_batch_size=4096, steps=31_279)


def limit(start, text):
    (found,) = [x for x in scaling.limits(start, LAST) if text in x.what]
    return found


def test_devices_double_up_to_the_last():
    assert scaling.device_counts(32, 200) == [32, 64, 128, 200]
    assert scaling.device_counts(32, 64) == [32, 64]


def test_a_fixed_batch_is_shared_and_a_growing_one_shortens_the_run(start):
    fixed = scaling.with_fixed_batch(start, 128)
    assert (fixed.work.batch, fixed.work.per_replica) == (4096, 32)
    assert fixed.work.steps == start.work.steps
    growing = scaling.with_growing_batch(start, 128)
    assert (growing.work.batch, growing.work.per_replica) == (8192, 64)
    assert growing.work.steps == pytest.approx(start.work.steps / 2, abs=1)


def test_a_limit_is_the_first_number_of_devices_that_breaks(start):
    (found,) = [
        x.devices
        for x in scaling.limits(start, LAST)
        if x.what.startswith("communication") and x.kind == "fixed"
    ]
    for devices, broken in ((found - 1, False), (found, True)):
        one = scaling.with_fixed_batch(start, devices)
        assert (one.communication >= max(one.compute, one.moving)) is broken


def test_limits_by_hand(start):
    # 64 images a device: 8,192 and 32,768 are the batches of 128 and 512 devices.
    assert limit(start, "exceeds 8,192").devices == 129
    assert limit(start, "exceeds 32,768").devices == 513
    assert limit(start, "less than one image").devices == 4097
    assert limit(start, "several systems").devices == 4097
    assert limit(start, "fails each day").devices == 2113  # 50,700 hours / 24
    found = [x.devices for x in scaling.limits(start, LAST) if x.devices]
    assert found == sorted(found)


def test_efficiency_is_the_share_of_the_network_in_a_step(start):
    assert scaling.efficiency(start) < 1
    fixed = scaling.with_fixed_batch(start, 2048)
    assert scaling.efficiency(fixed) < scaling.efficiency(start) / 2


def test_checkpoints_follow_young(start):
    found = scaling.with_growing_batch(start, LAST)
    between = scaling.hours_between_failures(found.hardware)
    assert between == pytest.approx(5.07, abs=0.01)
    # sqrt(2 * 0.24 s * 18,252 s): 240 MB at 1 GB/s
    assert scaling.checkpoint_minutes(found) == pytest.approx(1.56, abs=0.05)


def test_the_table_has_a_row_for_each_number_and_the_order_of_what_breaks(start):
    text = table.render_scaling(start, LAST)
    assert text.count("\n8,192 ") == text.count("\n10,000 ") == 2
    assert "below 1" in text  # 4,096 images on 8,192 devices
    broken = text.split("What breaks first:\n")[1].splitlines()
    assert broken[0].split()[:2] == ["129", "devices,"]
    assert "the input must deliver" in text
