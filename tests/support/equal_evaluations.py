"""Measurements of one network that must not depend on the number of devices: a program.

    python -m tests.support.equal_evaluations OUT.json FEATURES.npy --devices=4

Batches of 10 images divide by 2 only, and no number of images is a whole number of
batches. The network is the same in every process, and nothing is trained.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import simclr_tf2  # noqa: F401, I001  (before TensorFlow: chooses its kernels)
import keras
import numpy as np
import tensorflow as tf

from simclr_tf2 import distribution, models
from simclr_tf2.data import array_files
from simclr_tf2.data.datasets import Split
from simclr_tf2.evaluation import finetuning, monitoring, pairs_of_views
from simclr_tf2.evaluation.classifier import classify
from simclr_tf2.evaluation.inputs import Splits
from simclr_tf2.evaluation.subject import Conditions
from tests.support.tiny_runs import tiny_config

SIZE, CLASSES, BATCH = 16, 4, 10
PROBE, TEST, HELD = 87, 37, 21  # images


def images(count: int, seed: int) -> Split:
    """Make noisy images whose colour depends on the class, some harder than others."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    colours = 60 * np.eye(CLASSES)[labels][:, None, None, :3]
    noise = rng.uniform(0, 190, (count, SIZE, SIZE, 3))
    return array_files.from_arrays((colours + noise).astype(np.uint8), labels)


def network(conditions: Conditions, strategy: tf.distribute.Strategy) -> models.SimCLR:
    """Build the network that a run trains under ``strategy``: same weights always."""
    keras.utils.set_random_seed(3)
    with strategy.scope():
        model = models.build_simclr(
            conditions.model,
            image_size=SIZE,
            num_classes=CLASSES,
            num_replicas=2,  # the same layers on any number of devices
        )
    plain = models.export_copy(model)
    models.open_residual_branches(plain.backbone)
    pixels, _ = conditions.images.probe.pixels
    run = tf.function(lambda x: plain(x, training=True)["logits"])
    for _ in range(30):  # moving statistics that fit the images
        run(tf.cast(pixels, tf.float32) / 255)
    for variable in plain.variables:  # rounded, as processes may sum in other orders
        variable.assign(np.round(variable.numpy(), 2))
    models.copy_weights(plain, model)
    return model


def measured(devices: int) -> tuple[dict[str, Any], np.ndarray]:
    """Return what each measurement finds, and h of the test images."""
    config = tiny_config(
        strategy="mirrored",
        num_virtual_devices=devices,
        image_size=SIZE,
        eval_batch_size=BATCH,
        monitor_epochs=1.0,
        train_batch_size=8,
    )
    strategy = distribution.local_strategy(config.distribution)
    assert strategy.num_replicas_in_sync == devices
    probe, test, held = images(PROBE, 0), images(TEST, 1), images(HELD, 2)
    conditions = Conditions.of(config, Splits(probe, probe, test, held=held))
    model = network(conditions, strategy)
    exported = models.export_copy(model)
    encoder = models.build_encoder(exported.backbone)
    features = conditions.features_of(None)(encoder, test, None)
    records, labels = classify(conditions, test, exported)
    (record,) = records.values()
    validation = finetuning.make_validation_monitor(config, test, model, strategy)
    assert validation is not None
    monitor = monitoring.make_run_monitor(conditions, model, strategy)
    found = {
        "labels": features.labels.tolist(),
        "classifier": {
            "labels": labels.tolist(),
            "predictions": record["predictions"].tolist(),
            "top1": record["top1"],
            "confusion": record["confusion"],
        },
        "validation": validation(),
        "monitor": monitor(),
        "label_free": pairs_of_views.measure_pairs(
            conditions, exported, random=exported
        ),
    }
    return found, features.features


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    asked = parser.parse_args()
    found, features = measured(asked.devices)
    asked.out.write_text(json.dumps(found, indent=1))
    np.save(asked.features, features)


if __name__ == "__main__":
    main()
