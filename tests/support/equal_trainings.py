"""Short trainings in float64 that must not depend on the number of devices: a program.

    python -m tests.support.equal_trainings OUT.npz RECORDS --devices=4

One process runs every case under one strategy, because TensorFlow aborts when a process
makes two strategies of different shapes. With TF_CONFIG it is one of several workers,
each with so many devices; every worker writes its own file. Cases are made of what the
workflows are made of: pipelines, model, loss, optimizer, step and loop.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import simclr_tf2  # noqa: F401, I001  (before TensorFlow: chooses its kernels)
import keras
import numpy as np
import tensorflow as tf

from simclr_tf2 import distribution, losses, models, optimizers
from simclr_tf2.config import (
    DataConfig,
    DistributionConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
)
from simclr_tf2.data import array_files, datasets, opening, pipeline
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.models import residual_blocks
from simclr_tf2.training import cached_gradients, cadence, loop, steps, weight_average
from tests.support.small_networks import disturb

IMAGES, BATCH, SIZE, CLASSES = 40, 16, 20, 3  # 20 pixels: the least that are blurred
SEED, WEIGHT_DECAY = 7, 0.01
AVERAGE_DECAY = 0.2  # above that of the first update, below that of the second


# Where a case runs, by number of devices; tracing 8 replicas takes most of the time.
EVERYWHERE = ("1", "2", "4", "8", "2x2")
FEW = ("1", "2", "4")
TWO = ("1", "2")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One training.

    Attributes:
        on: Numbers of devices; 2x2 are two processes of two each.
        count: Number of steps.
        optimizer: A name of ``OPTIMIZERS``; "gradient" subtracts the gradient itself,
            so that the weights before and after one step show it.
        streamed: Images come from record files instead of memory.
        loss: Settings of the loss.
        views: Settings of the views that differ from two finished ones.
        micro: Micro-batches of each replica; 0 is the plain step.
        micro_norm: What batch norm does with them.
        finetune: Trains the classifier and the network below it.
        frozen: With ``finetune``: block groups that are not trained; -1: none.
        chunked: Run by the loop of the program, several steps in one call.
    """

    on: tuple[str, ...] = EVERYWHERE
    count: int = 1
    optimizer: str = "gradient"
    streamed: bool = False
    loss: dict[str, Any] = dataclasses.field(default_factory=dict)
    views: dict[str, Any] = dataclasses.field(default_factory=dict)
    micro: int = 0
    micro_norm: str = "frozen"
    finetune: bool = False
    frozen: int = -1
    chunked: bool = False


BLOCKS = {"loss_block_size": 3}
CASES = {
    # The gradient of one step, and the statistics after it
    "plain": Case(),
    "logistic": Case(on=TWO, loss={"loss": "nt_logistic", "semi_hard": True}),
    "margin": Case(on=TWO, loss={"loss": "margin"}),
    "crops": Case(on=TWO, views={"num_local_views": 1, "local_image_size": 12}),
    "micro_norm": Case(on=FEW, micro=2, micro_norm="micro"),
    # Short runs
    "device": Case(count=3, optimizer="lars", loss=BLOCKS, views={"on_device": True}),
    "streamed": Case(
        count=3, optimizer="lars", streamed=True, micro=2, views={"backend": "tf"}
    ),
    "chunked": Case(on=(*TWO, "2x2"), count=2, optimizer="momentum", chunked=True),
    "finetune": Case(count=3, optimizer="lars", finetune=True, streamed=True),
    "finetune_upper": Case(
        on=TWO, count=3, optimizer="momentum", finetune=True, frozen=0
    ),
}


def small_networks() -> None:
    """Make ResNet-10 of one block: all its kinds of layers, traced sooner."""
    residual_blocks.DEPTHS[10] = (residual_blocks.basic_block, (1,))
    models.resnet.GROUP_FILTERS = (128,)  # other than the stem: a projected shortcut


def make_strategy(devices: int) -> tf.distribute.Strategy:
    """Make the strategy of so many devices, of each worker if TF_CONFIG names some."""
    kind = "multi_worker" if os.environ.get("TF_CONFIG") else "mirrored"
    return distribution.training_strategy(
        DistributionConfig(strategy=kind, num_virtual_devices=devices)
    )


def images() -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 images ``[n, 24, 24, 3]`` and labels, always the same."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (IMAGES, 6, 6, 3), np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2), np.arange(IMAGES) % CLASSES


def write_records(folder: Path) -> None:
    """Write the images to two record files, for ``open_split``."""
    pixels, labels = images()
    halves = np.array_split(np.arange(IMAGES), 2)
    for number, rows in enumerate(halves):
        path = folder / f"train-{number}.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in rows:
                png = tf.io.encode_png(pixels[row]).numpy()
                feature = {
                    "image": tf.train.Feature(bytes_list={"value": [png]}),
                    "label": tf.train.Feature(int64_list={"value": [labels[row]]}),
                }
                example = tf.train.Example(features={"feature": feature})
                writer.write(example.SerializeToString())


def open_split(case: Case, records: Path) -> datasets.Split:
    """Open the images in memory, or in record files."""
    if not case.streamed:
        return array_files.from_arrays(*images())
    data = DataConfig(
        tfrecords=f"{records}/{{split}}-*.tfrecord", data_dir=str(records / "data")
    )
    return opening.open_split(data, "train")


def make_dataset(
    case: Case, split: datasets.Split, strategy: tf.distribute.Strategy
) -> tf.distribute.DistributedDataset:
    """Build the batches of a case, each worker its own rows."""
    cache = "off" if case.streamed else "auto"
    views = ViewSpec(
        image_size=SIZE,
        strength=0.5,
        use_blur=True,
        **{"backend": "numba", **case.views},
    )

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        plan = pipeline.plan_batches(split, BATCH, context)
        if case.finetune:
            made = pipeline.make_supervised_dataset(
                split, plan, image_size=SIZE, seed=SEED, cache=cache
            )
        else:
            made = pipeline.make_pretrain_dataset(
                split, plan, views, seed=SEED, cache=cache
            )
        # Without it a stream has batches of unknown size on several workers.
        return made.apply(
            tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        )

    return strategy.distribute_datasets_from_function(of_worker)


def build(
    case: Case, replicas: int
) -> tuple[models.SimCLR, keras.optimizers.Optimizer, list[keras.Variable]]:
    """Build network and optimizer in float64, from weights that are always the same."""
    keras.utils.set_random_seed(1)
    config = ModelConfig(
        resnet_depth=10,
        width_multiplier=0.125,
        stem="stride2",
        num_proj_layers=2,
        proj_out_dim=8,
        fine_tune_after_block=case.frozen,
    )
    model = models.build_simclr(
        config,
        image_size=SIZE,
        num_classes=CLASSES,
        num_replicas=replicas,
        dtype="float64",
        any_size="num_local_views" in case.views,
    )
    disturb(model)
    variables = model.trainable_variables
    if case.finetune:
        models.freeze_up_to_block(model.backbone, case.frozen)
        variables = model.finetune_trainable_variables
    optimizer = keras.optimizers.SGD(1.0)
    if case.optimizer != "gradient":
        roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
        optimizer = optimizers.build_optimizer(
            OptimizerConfig(optimizer=case.optimizer, weight_decay=WEIGHT_DECAY),
            learning_rate=optimizers.WarmupCosine(0.1, 2 * case.count, 1),
            exclude=optimizers.exclusions(case.optimizer, roles),
        )
    optimizer.build(variables)
    return model, optimizer, variables


def make_step(
    case: Case,
    model: models.SimCLR,
    optimizer: keras.optimizers.Optimizer,
    variables: list[keras.Variable],
    replicas: int,
) -> loop.Step:
    """Build the step of one replica, as the workflows do."""
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    name = "momentum" if case.optimizer == "gradient" else case.optimizer
    decay = {
        "decayed_variables": optimizers.decayed_in_loss(
            variables, roles, optimizer=name
        ),
        "weight_decay": WEIGHT_DECAY,
    }
    if case.finetune:
        return steps.finetune_step(model, optimizer, variables, **decay)
    make: Callable[..., loop.Step] = steps.pretrain_step
    if case.micro:
        make = functools.partial(
            cached_gradients.cached_gradient_step,
            micro_batch_size=BATCH // replicas // case.micro,
            batch_norm=case.micro_norm,
        )
    views = 2 + case.views.get("num_local_views", 0)
    loss = losses.build_loss(LossConfig(temperature=0.5, **case.loss))
    step = make(
        model,
        optimizer,
        losses.over_view_pairs(loss, num_views=views),
        supervised=True,
        **decay,
    )
    if case.views.get("on_device"):
        step = steps.with_views_finished(step, use_blur=True)
    return step


def train_plainly(
    step: loop.Step,
    dataset: tf.distribute.DistributedDataset,
    strategy: tf.distribute.Strategy,
    count: int,
) -> dict[str, list[float]]:
    """Run steps one by one; return each scalar of each step in full precision."""

    @tf.function(autograph=False)
    def run(iterator: Any) -> dict[str, tf.Tensor]:
        values = strategy.run(step, args=(next(iterator),))
        mean = tf.distribute.ReduceOp.MEAN
        return {k: strategy.reduce(mean, v, axis=None) for k, v in values.items()}

    found: dict[str, list[float]] = {}
    iterator = iter(dataset)
    for _ in range(count):
        for name, value in run(iterator).items():
            found.setdefault(name, []).append(float(value))
    return found


def train_in_chunks(
    step: loop.Step,
    dataset: tf.distribute.DistributedDataset,
    strategy: tf.distribute.Strategy,
    count: int,
) -> dict[str, list[float]]:
    """Run the loop of the program, all steps in one call of a graph with a loop."""
    loop.train(
        step,
        dataset,
        strategy=strategy,
        cadence=cadence.Cadence(
            total_steps=count,
            log_every=count,
            checkpoint_every=count,
            monitor_every=0,
            first_logs=(),
            log_seconds=0.0,
        ),
        hooks=loop.Hooks(
            log=lambda *_: None, save=lambda _: None, monitor=lambda _: None
        ),
        examples_per_step=BATCH,
        steps_per_loop=count,
    )
    return {}


def permuted(step: loop.Step, replicas: int) -> loop.Step:
    """Order a whole batch so that its two halves are the first micro-batches, and the
    second ones, of so many replicas."""
    rows = np.arange(BATCH).reshape(replicas, 2, -1).transpose(1, 0, 2).reshape(-1)

    def on_permuted(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        return step(tf.nest.map_structure(lambda x: tf.gather(x, rows), batch))

    return on_permuted


def in_float64(step: loop.Step) -> loop.Step:
    """Take images as float64, so that nothing is rounded to float32 on the way."""

    def on_cast(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        return step(
            tf.nest.map_structure(
                lambda x: tf.cast(x, tf.float64) if x.dtype.is_floating else x, batch
            )
        )

    return on_cast


def run_case(
    case: Case, records: Path, strategy: tf.distribute.Strategy, as_of: int = 0
) -> dict[str, np.ndarray]:
    """Run one case.

    Args:
        case: What is trained.
        records: Folder of ``write_records``.
        strategy: Where.
        as_of: One device: group the images into micro-batches as that many replicas do;
            0: in their order.

    Returns:
        Scalars of each step under "scalar/NAME", what became of each variable under
        "moved/PATH": its value less the one before, its value under "value/PATH", and
        the average of its values under "average/PATH".
    """
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        model, optimizer, variables = build(case, replicas)
        average = weight_average.WeightAverage(model, AVERAGE_DECAY)
    before = {v.path: v.numpy() for v in model.variables}
    step = make_step(case, model, optimizer, variables, replicas)
    if as_of:
        step = permuted(step, as_of)
    step = weight_average.averaging(in_float64(step), average)
    dataset = make_dataset(case, open_split(case, records), strategy)
    train = train_in_chunks if case.chunked else train_plainly
    scalars = train(step, dataset, strategy, case.count)
    found = {f"scalar/{name}": np.array(values) for name, values in scalars.items()}
    for variable in model.variables:
        if variable.dtype == "float64":
            value = variable.numpy()
            found[f"value/{variable.path}"] = value
            found[f"moved/{variable.path}"] = value - before[variable.path]
            mean = average.variables[variable.path].numpy()
            found[f"average/{variable.path}"] = mean
    return found


def main() -> None:
    """Run the cases and write what they found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("records", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    asked = parser.parse_args()
    where = f"2x{asked.devices}" if os.environ.get("TF_CONFIG") else str(asked.devices)
    strategy = make_strategy(asked.devices)
    small_networks()
    found: dict[str, np.ndarray] = {}
    for name, case in CASES.items():
        if where not in case.on:
            continue
        # Batch norm of a micro-batch sees other images on other numbers of replicas.
        several = case.micro and case.micro_norm == "micro"
        alone = strategy.num_replicas_in_sync == 1
        for as_of in (2, 4) if several and alone else (0,):
            key = f"{name}_{as_of}" if as_of else name
            values = run_case(case, asked.records, strategy, as_of)
            found |= {f"{key}/{k}": v for k, v in values.items()}
    np.savez(asked.out, **found)


if __name__ == "__main__":
    main()
