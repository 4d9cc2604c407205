"""Times: by hand, and against published runs."""

import re

import pytest

from simclr_tf2.planning import advice, document, estimate, image_counts, table
from simclr_tf2.planning.estimate import loss_flops, view_flops
from tests.command_line import ROOT
from tests.planning.plans import planned, workload

PUBLISHED = {"train_batch_size": 4096, "steps": 31_279}  # 100 epochs of ImageNet
SMALL = {"resnet_depth": 50, "width_multiplier": 0.125, "image_size": 32}


def test_the_run_that_calibrated_tpu_v3_takes_its_six_hours():
    found = planned("tpu_v3_32", **PUBLISHED)
    assert found.seconds / 3600 == pytest.approx(6.0, rel=0.05)


def test_the_published_run_on_128_cores_takes_its_hour_and_a_half():
    found = planned("tpu_v3_32", devices=128, **PUBLISHED)
    assert found.seconds / 3600 == pytest.approx(1.5, rel=0.05)


def test_the_arithmetic_of_a_step_by_hand():
    work = workload(4, **SMALL, train_batch_size=64, loss_block_size="off")
    counts = work.counts[0]
    assert view_flops(work) == 2 * counts.step_flops
    # 32 rows and 128 columns of 128 numbers, 2 operations, 3.25 products
    assert loss_flops(work) == 3.25 * 2 * 32 * 128 * 128
    assert estimate.step_flops(work) == 16 * view_flops(work) + loss_flops(work)


@pytest.mark.parametrize(
    ("flags", "passes"),
    [
        ({}, 3),
        ({"remat": "blocks"}, 4),
        ({"micro_batch_size": 8}, 4),
        ({"micro_batch_size": 8, "remat": "groups"}, 5),
        ({"micro_batch_size": 64}, 3),  # the whole batch of the replica
    ],
    ids=str,
)
def test_recomputing_and_cached_gradients_cost_a_forward_pass_each(flags, passes):
    work = workload(**SMALL, train_batch_size=64, **flags)
    assert view_flops(work) == 2 * passes * 2 * work.counts[0].multiply_adds


def test_local_views_are_counted_at_their_size_with_the_stem_of_the_others():
    alone = workload(**{**SMALL, "image_size": 64})
    more = workload(**{**SMALL, "image_size": 64}, num_local_views=3)
    (_, local), views = more.counts, more.views
    assert views == ((2, (64, 64)), (3, (28, 28)))
    # The imagenet stem at 28 px, not the cifar stem that auto chooses there.
    assert local.trained == more.counts[0].trained
    assert view_flops(more) == view_flops(alone) + 3 * local.step_flops
    assert more.rows == 5 * more.per_replica


def test_early_sizes_shorten_the_hours_and_nothing_else():
    late = {**SMALL, "image_size": 64, "train_batch_size": 4096, "num_local_views": 1}
    whole = planned("8xh100", steps=100, **late)
    grown = planned("8xh100", steps=100, **late, early_image_sizes=(40, 48))
    small = [
        planned("8xh100", **{**late, "image_size": side, "stem": "imagenet"})
        for side in (40, 48)
    ]
    assert [part.work.views for part in grown.early] == [
        ((2, (side, side)), (1, (28, 28))) for side in (40, 48)
    ]
    for part, alone in zip(grown.early, small, strict=True):
        # Local views are those of 64 px, and input is that of 64 px.
        assert part.work.counts[0] == alone.work.counts[0]
        assert part.input == grown.input == whole.input
        assert part.device_step < grown.device_step
    seconds = [part.step for part in grown.early]
    assert grown.seconds == pytest.approx(25 * sum(seconds) + 50 * whole.step)
    assert grown.step == whole.step and grown.memory == whole.memory
    said = "first steps, with smaller views: 25 of 40 px, 25 of 48 px; the hours"
    assert said in table.render([grown]) and "smaller" not in table.render([whole])
    assert document.of([grown])["early_steps"] == [
        {"image_size": 40, "steps": 25},
        {"image_size": 48, "steps": 25},
    ]
    tuned = workload(mode="finetune", **late, early_image_sizes=(40,))
    assert tuned.early == ()


def test_a_step_is_the_slower_of_arithmetic_and_memory_and_then_communication():
    found = planned("8xh100", **SMALL, train_batch_size=4096)
    exchanged = sum(exchange.seconds for exchange in found.exchanges)
    assert found.communication == exchanged > 0
    assert found.device_step == max(found.compute, found.moving) + exchanged
    flops = estimate.step_flops(found.work)
    assert found.compute == flops / found.hardware.flops("float32")


def test_batch_norm_is_exchanged_in_each_pass_of_each_part():
    def calls(**flags):
        found = planned("8xh100", **SMALL, train_batch_size=512, **flags)
        return {exchange.name: exchange.calls for exchange in found.exchanges}

    norms = len(planned(**SMALL, train_batch_size=512).work.counts[0].norms)
    assert calls()["batch norm"] == 2 * norms
    # Two forward passes and one backward pass for each of 4 parts.
    assert calls(micro_batch_size=16)["batch norm"] == 3 * 4 * norms
    assert "batch norm" not in calls(global_bn=False)


def test_one_device_exchanges_nothing():
    assert planned("1xa100", **SMALL).exchanges == ()


def test_input_shares_the_cores_of_a_cpu_and_only_bounds_an_accelerator():
    cpu = planned("2_cpu_cores", **SMALL, train_batch_size=64)
    assert cpu.step == cpu.device_step + cpu.input
    gpu = planned("1xa100", train_batch_size=64)
    assert gpu.step == gpu.device_step > gpu.input
    # A tiny network is faster than 16 cores make views of 224 pixels.
    gpu = planned("1xa100", resnet_depth=10, width_multiplier=0.125)
    assert gpu.step == gpu.input > gpu.device_step
    assert advice.tightest_limit(gpu).startswith("input: ")


def test_input_rates_are_those_of_the_performance_page_at_the_sizes_it_has():
    assert estimate.input_rate(workload(image_size=224)) == 305
    assert estimate.input_rate(workload(image_size=224, use_blur=False)) == 319
    assert estimate.input_rate(workload(image_size=32)) == 8511
    # Four times the pixels, a quarter of the rate.
    assert estimate.input_rate(workload(image_size=448)) == 305 / 4
    assert estimate.input_rate(workload(mode="finetune", image_size=224)) == 2 * 319


def test_flags_that_make_a_run_fit_make_it_fit():
    found = planned("1xa100", train_batch_size=4096)
    assert not found.fits
    assert advice.tightest_limit(found).startswith("memory: ")
    lines = advice.how_to_fit(found)
    (line,) = [line for line in lines if line.startswith("--micro_batch_size=")]
    size = int(line.split("=")[1].split(":")[0])
    assert planned("1xa100", train_batch_size=4096, micro_batch_size=size).fits
    larger = planned("1xa100", train_batch_size=4096, micro_batch_size=2 * size)
    assert not larger.fits
    assert advice.how_to_fit(planned("1xa100", train_batch_size=64)) == []


def test_a_network_that_no_flag_makes_fit_is_said_to_need_other_devices():
    found = planned(
        "1xa100", resnet_depth=50, width_multiplier=16, train_batch_size=2048
    )
    assert advice.how_to_fit(found) == []
    assert "It does not fit, with any" in table.render([found])


def test_the_table_has_a_column_for_each_hardware_and_says_that_it_estimates():
    found = [planned(name, train_batch_size=4096) for name in ("tpu_v3_32", "8xh100")]
    text = table.render(found)
    (head,) = [
        line for line in text.splitlines() if line.split() == ["tpu_v3_32", "8xh100"]
    ]
    assert head
    assert "tpu_v3_32: tightest limit is memory" in text
    assert "All numbers are estimates" in text
    assert "8xh100 assumes float32_achieved" in text


def test_a_document_has_what_the_table_shows():
    found = planned("tpu_v3_32", **PUBLISHED)
    written = document.of([found], largest=64)
    one = written["hardware"]["tpu_v3_32"]
    assert one["hours"] == found.seconds / 3600
    assert one["memory_bytes"]["total"] == found.memory.total
    assert one["figures"]["memory_gib"]["kind"] == "vendor"
    assert [x["devices"] for x in one["scaling"]["fixed_batch"]] == [32, 64]


@pytest.mark.parametrize(
    ("dataset", "split", "images"),
    [
        ("fashion_mnist", "train[:20000]", 20_000),
        ("fashion_mnist:3.0.1", "train[:10%]", 6_000),
        ("simclr_shapes", "train[60%:]", 2_000),
        ("cifar10", "train[10:20]+train[:5]", 15),
    ],
)
def test_the_images_of_a_part_of_a_split_are_counted(dataset, split, images):
    assert image_counts.known(dataset, split).images == images


@pytest.mark.parametrize("split", ["train[:5]+test", "train[60000:]", "valid[:5]"])
def test_parts_that_the_table_cannot_count_are_left_to_the_data_set(split):
    assert image_counts.known("fashion_mnist", split) is None


def test_the_images_of_every_recipe_are_known():
    for path in (ROOT / "recipes").glob("*.flags"):
        flags = dict(re.findall(r"^--(\w+)=(.*)$", path.read_text(), re.MULTILINE))
        found = image_counts.known(flags["dataset"], flags["train_split"])
        assert found is not None and found.images > 0, path.stem


def test_the_embedded_images_are_counted_without_drawing_them():
    assert image_counts.known("simclr_shapes", "unlabeled").images == 20_000
    assert image_counts.known("simclr_shapes/tiny", "train").classes == 10
    assert image_counts.known("simclr_shapes/none", "train") is None


def test_the_version_of_a_data_set_does_not_count():
    assert image_counts.known("imagenet2012", "train").images == 1_281_167
    assert image_counts.known("imagenet2012:5.1.0", "train").images == 1_281_167
    assert image_counts.known("imagenet2012", "validation") is None
