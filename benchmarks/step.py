"""Views per CPU-second of the training step, beside stock Keras and PyTorch.

"ours" is the whole pretraining step: both views through ResNet-18 with the CIFAR stem,
projection head, NT-Xent, the supervised head beside, LARS. "Keras" is a plain
``train_on_batch`` of the same backbone from stock Keras 3 layers, one linear head and
SGD, on as many images. "PyTorch" is a SimCLR step written for this comparison:
channels last, the same backbone, projection head and NT-Xent, SGD with momentum; with
bfloat16 under ``autocast``. Batches are random numbers in memory. PyTorch is measured
if it is installed (``pip install torch``). All run with oneDNN's kernels; to see what
they do on a CPU without AVX-512, set ONEDNN_MAX_CPU_ISA=AVX2 (and, for PyTorch's other
kernels, ATEN_CPU_CAPABILITY=avx2). Run::

    python -m benchmarks.step [--batch 128] [--size 32] [--rounds 5] [--only ours]
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from benchmarks import machine_line
from benchmarks.interleaved import show, take_turns

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # ResNet-18: two blocks each


def ours(batch: int, size: int, precision: str, depth: int = 18, width: float = 1):
    """Return the pretraining step of this package, as a function of no arguments."""
    import tensorflow as tf

    step = tf.function(parts_of_step(precision, size, depth, width), autograph=False)
    shape = [batch, size, size, 3]
    views = tuple(tf.random.stateless_uniform(shape, (1, i)) for i in (1, 2))
    labels = tf.random.stateless_uniform([batch], (1, 3), 0, 10, tf.int32)
    return lambda: float(step({"views": views, "label": labels})["loss"])


def parts_of_step(
    precision: str, size: int, depth: int, width: float, num_replicas: int = 1
):
    """Build the pretraining step of one replica, with its model and optimizer."""
    from simclr_tf2 import models, optimizers
    from simclr_tf2.config import ModelConfig, OptimizerConfig
    from simclr_tf2.losses.blockwise import blockwise_nt_xent_and_metrics
    from simclr_tf2.training.steps import pretrain_step

    model = models.build_simclr(
        ModelConfig(resnet_depth=depth, width_multiplier=width, stem="cifar"),
        image_size=size,
        num_classes=10,
        num_replicas=num_replicas,
        dtype={"float32": None, "bfloat16": "mixed_bfloat16"}[precision],
    )
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    update = optimizers.build_optimizer(
        OptimizerConfig(optimizer="lars"),
        learning_rate=0.1,
        exclude=optimizers.exclusions("lars", roles),
    )
    update.build(model.trainable_variables)
    return pretrain_step(model, update, blockwise_nt_xent_and_metrics, supervised=True)


def stock_keras(batch: int, size: int, precision: str):
    """Return a plain training step of Keras 3 on ``2 * batch`` images."""
    import keras
    import numpy as np
    from keras import layers

    if precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")

    def conv(x, filters, kernel, stride):
        x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    image = keras.Input([size, size, 3])
    x = layers.ReLU()(conv(image, 64, 3, 1))
    for filters, stride in STAGES:
        for first in (True, False):
            stride_here = stride if first else 1
            y = layers.ReLU()(conv(x, filters, 3, stride_here))
            y = conv(y, filters, 3, 1)
            if x.shape[-1] != filters or stride_here > 1:
                x = conv(x, filters, 1, stride_here)
            x = layers.ReLU()(x + y)
    x = layers.Dense(10, dtype="float32")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    random = np.random.default_rng(0)
    images = random.random((2 * batch, size, size, 3), np.float32)
    labels = random.integers(0, 10, 2 * batch)
    return lambda: model.train_on_batch(images, labels)


def pytorch(batch: int, size: int, precision: str):
    """Return a SimCLR step in PyTorch."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, before, filters, stride):
            super().__init__()
            self.main = nn.Sequential(
                nn.Conv2d(before, filters, 3, stride, 1, bias=False),
                nn.BatchNorm2d(filters),
                nn.ReLU(inplace=True),
                nn.Conv2d(filters, filters, 3, 1, 1, bias=False),
                nn.BatchNorm2d(filters),
            )
            self.shortcut = nn.Sequential()
            if before != filters or stride > 1:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(before, filters, 1, stride, bias=False),
                    nn.BatchNorm2d(filters),
                )

        def forward(self, x):
            return functional.relu(self.main(x) + self.shortcut(x))

    parts = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    before = 64
    for filters, stride in STAGES:
        parts += [Block(before, filters, stride), Block(filters, filters, 1)]
        before = filters
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    for outputs in (512, 512, 128):  # the head of ours: three layers
        parts += [nn.Linear(512, outputs, bias=False), nn.BatchNorm1d(outputs)]
        parts += [nn.ReLU()] if outputs == 512 else []
    model = nn.Sequential(*parts).to(memory_format=torch.channels_last)
    update = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    views = torch.rand(2 * batch, 3, size, size)
    views = views.contiguous(memory_format=torch.channels_last)
    positive = torch.arange(2 * batch).roll(batch)

    def run():
        update.zero_grad(set_to_none=True)
        enabled = precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            z = model(views)
        z = functional.normalize(z.float(), dim=1)
        logits = (z @ z.T / 0.1).fill_diagonal_(-torch.inf)
        loss = functional.cross_entropy(logits, positive)
        loss.backward()
        update.step()
        return loss.item()

    return run


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="per round")
    parser.add_argument("--only", nargs="+", help="names of cases begin with one")
    given = parser.parse_args()
    builders = {"ours": ours, "Keras": stock_keras}
    if find_spec("torch"):
        builders["PyTorch"] = pytorch
    cases = {}
    for precision in ("float32", "bfloat16"):
        for name, build in builders.items():
            label = f"{name} {precision}"
            if not given.only or label.startswith(tuple(given.only)):
                cases[label] = build, (given.batch, given.size, precision)
    found = take_turns(cases, rounds=given.rounds, repeats=given.steps)
    print(machine_line())
    print(f"ResNet-18, {given.size} px, batch {given.batch}: median (lowest - highest)")
    print(f"{'step':18}  views per CPU-second      CPU ms per step")
    for name, times in found.items():
        rates = [2 * given.batch / cpu for cpu in times["cpu"]]
        milliseconds = [1e3 * cpu for cpu in times["cpu"]]
        print(f"{name:18}  {show(rates):24}  {show(milliseconds)}")


if __name__ == "__main__":
    main()
