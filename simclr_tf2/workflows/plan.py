"""Estimate memory, communication and time of a run before it is started."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from simclr_tf2 import config as config_lib
from simclr_tf2 import distribution, files
from simclr_tf2.config import Config
from simclr_tf2.data import fitting, opening, view_sizes
from simclr_tf2.errors import ConfigError
from simclr_tf2.planning import document, hardware, image_counts, table
from simclr_tf2.planning.estimate import Estimate, estimate
from simclr_tf2.planning.hardware import Hardware
from simclr_tf2.planning.workload import Images, Workload
from simclr_tf2.runs import remote_files
from simclr_tf2.training import fitted
from simclr_tf2.training.length import steps_for

logger = logging.getLogger(__name__)


def plan(config: Config) -> dict[str, Any]:
    """Run ``--mode=plan``: print what a run takes on some hardware; train nothing.

    Needs no images, no accelerator and no memory for the network. Writes a file only
    where ``--output`` names one.

    Raises:
        ConfigError: Unknown hardware, a number of images that is not known, or a batch
            that does not divide among the devices.
    """
    machines = [_machine(config, name) for name in config.planning.hardware]
    mode = _mode(config)
    config, images = _images(config, mode, machines[0])
    if mode == "pretrain":
        view_sizes.check(config.augmentation, config.data.height_width)
    steps = steps_for(config.training, config.data, images.count)
    found = []
    for machine in machines:
        _check_batch(config, machine, mode)
        work = Workload.of(
            config, images, mode=mode, steps=steps, replicas=machine.devices
        )
        found.append(estimate(_with_precision(work, machine), machine))
    largest = config.planning.plan_scaling
    for one in found if largest else []:
        _check_scaling(one, largest)
    print(table.render(found), flush=True)
    for one in found if largest else []:
        print(f"\n{table.render_scaling(one, largest)}", flush=True)
    result = document.of(found, largest)
    if config.export.output:
        _write(config.export.output, result)
    return result


def _machine(config: Config, name: str) -> Hardware:
    found = hardware.find(name)
    devices = config.planning.plan_devices
    return found.with_devices(devices) if devices else found


def _with_precision(work: Workload, machine: Hardware) -> Workload:
    """Replace ``--mixed_precision=auto`` by bfloat16 where that is no slower."""
    if work.config.training.mixed_precision != "auto":
        return work
    there = machine.precision("bfloat16") == "bfloat16"
    fast = machine.flops("bfloat16") >= machine.flops("float32")
    return work.changed(precision="bfloat16") if there and fast else work


def _mode(config: Config) -> str:
    """Return the kind of run that is planned: ``--train_mode``, or what flags show.

    ``--mode=plan`` after a recipe replaces the mode of the recipe. A recipe of
    fine-tuning gives ``--fine_tune_after_block``, one of pretraining does not.
    """
    given = config_lib.given_settings(config)
    if "train_mode" not in given and "fine_tune_after_block" in given:
        return "finetune"
    return config.train_mode


def _images(config: Config, mode: str, machine: Hardware) -> tuple[Config, Images]:
    """Find the number of training images, and choose settings for own images.

    ``--recipe=auto`` chooses for the devices of ``machine``.

    Raises:
        ConfigError: It is not known, and the images are not there.
    """
    data, asked = config.data, config.planning.plan_examples
    known = None
    if data.by_name:
        known = image_counts.known(data.dataset, data.train_split)
    classes, size = (known.classes, known.bytes) if known else (0, 0)
    if asked:
        return config, Images(asked, classes, size, "--plan_examples")
    if known:
        images = Images(known.images, known.classes, known.bytes, known.source)
        return config, _part(config, images, mode)
    if data.by_name and data.dataset.partition("/")[0] == "simclr_shapes":
        raise ConfigError(_unknown(data.dataset, data.train_split))  # would be drawn
    try:
        split = opening.open_split(
            dataclasses.replace(data, download=False), data.train_split
        )
    except ConfigError as error:
        raise ConfigError(f"{error}; or pass --plan_examples=N") from error
    count = split.num_examples
    mean = round((split.encoded_bytes or 0) / max(count, 1))
    images = Images(count, split.num_classes or 0, mean, "counted")
    if data.by_name or mode != "pretrain":
        return config, _part(config, images, mode)
    config = fitted.to_images(config, split, device=machine.kind)
    left = fitting.left_to_train_on(count, config.data.valid_size or 0.0)
    return config, dataclasses.replace(images, count=left)


def _part(config: Config, images: Images, mode: str) -> Images:
    """Return the labelled part that fine-tuning reads; all images in pretraining."""
    if mode != "finetune":
        return images
    data, count = config.data, images.count
    if data.labels_per_class:
        count = min(count, data.labels_per_class * max(images.classes, 1))
    count = round(count * data.label_fraction)
    count = round(count * (1 - config.training.finetune_validation))
    return dataclasses.replace(images, count=max(count, 1))


def _unknown(dataset: str, split: str) -> str:
    return (
        f"the number of images of {dataset}, split {split!r}, is not known; pass "
        "--plan_examples=N"
    )


def _check_batch(config: Config, machine: Hardware, mode: str) -> None:
    try:
        images = distribution.per_replica_batch_size(
            config.training.train_batch_size, machine.devices, "train_batch_size"
        )
    except ConfigError as error:
        raise ConfigError(f"--hardware={machine.name}: {error}") from error
    micro = config.training.micro_batch_size
    if mode == "pretrain" and micro and images % min(micro, images):
        raise ConfigError(
            f"--hardware={machine.name}: --micro_batch_size={micro} must divide the "
            f"{images} images of a replica's batch"
        )


def _check_scaling(found: Estimate, largest: int) -> None:
    if largest <= found.work.replicas:
        raise ConfigError(
            f"--plan_scaling must be more than the {found.work.replicas} devices of "
            f"{found.hardware.name}. Received: {largest}."
        )


def _write(output: str, result: dict[str, Any]) -> None:
    try:
        with remote_files.written(output) as place:
            path = Path(place)
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(path, result)
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error}") from error
    print(f"{output}: the same with all figures and sources", flush=True)
