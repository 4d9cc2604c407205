"""Probes on several stages of a finished run, beside those on h.

LogReg and kNN as ``--protocols=logreg,knn`` measures them, on the pooled outputs of the
last one, two and three stages of the network, joined. The last stage alone is h. Run
from the repository's root::

    python -m benchmarks.stage_probes --model_dir=runs/fashion_mnist
        [--train=train[:20000] --score=train[50000:]]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import keras
import tensorflow as tf

from simclr_tf2 import evaluation
from simclr_tf2.config import Config
from simclr_tf2.data import opening, pipeline
from simclr_tf2.errors import ConfigError
from simclr_tf2.runs import folder as run_folder
from simclr_tf2.runs.restoring import restore_model

STAGES = {  # name of a row -> names of the network's outputs
    "h": ("final_avg_pool",),
    "last two stages": ("block_group3", "final_avg_pool"),
    "last three stages": ("block_group2", "block_group3", "final_avg_pool"),
}
BATCH = 256


def joined(backbone: keras.Model, names: tuple[str, ...]) -> keras.Model:
    """Return a network from images to the joined, pooled outputs of some stages."""
    outputs = []
    for name in names:
        output = backbone.output[name]
        if len(output.shape) == 4:
            output = keras.layers.GlobalAveragePooling2D()(output)
        outputs.append(keras.ops.cast(output, "float32"))
    whole = keras.ops.concatenate(outputs, axis=-1) if outputs[1:] else outputs[0]
    return keras.Model(backbone.input, whole)


def measure(
    folder: Path, train: str, score: str, data_dir: str = ""
) -> dict[str, dict[str, float]]:
    """Return name of a row -> protocol -> top-1 in percent.

    Args:
        folder: A finished run.
        train: Split that the probes learn from.
        score: Split that they are scored on.
        data_dir: Where the data set is; "": where the run found it.

    Raises:
        ConfigError: No run, no checkpoint, or no such split.
    """
    config: Config = run_folder.read_config(folder)
    model, _ = restore_model(config, folder)
    datasets = {}
    for split in (train, score):
        place = data_dir or config.data.data_dir
        opened = opening.open_split(
            dataclasses.replace(config.data, data_dir=place), split
        )
        datasets[split] = pipeline.make_eval_dataset(
            opened, batch_size=BATCH, image_size=config.data.image_size
        )
    found = {}
    for row, names in STAGES.items():
        network = joined(model.backbone, names)
        encode = tf.function(lambda x, network=network: network(x, training=False))
        features = [
            evaluation.extract(encode, datasets[split], name=split)
            for split in (train, score)
        ]
        records = evaluation.evaluate_rows(
            {row: tuple(features)}, ("logreg", "knn"), config.seed
        )
        found[row] = {r["protocol"]: 100 * r["value"] for r in records.values()}
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print a line for each row, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model_dir", type=Path, required=True)
    parser.add_argument("--train", default="train", help="split of the probes")
    parser.add_argument("--score", default="test", help="split they are scored on")
    parser.add_argument("--data_dir", default="", help="where TFDS sets are")
    asked = parser.parse_args(arguments)
    try:
        found = measure(asked.model_dir, asked.train, asked.score, asked.data_dir)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    for row, values in found.items():
        print(f"{row}: LogReg {values['logreg']:.1f}, kNN {values['knn']:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
