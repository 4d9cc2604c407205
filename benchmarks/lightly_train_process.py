"""Pretrains with LightlyTrain, or embeds images with what it trained.

``benchmarks.against_lightly_train`` starts this file with the Python of another
environment, which has LightlyTrain and PyTorch but not this project. The
method is LightlyTrain's SimCLR with its defaults on torchvision's ResNet-18; only the
size of the views, the number of steps, the seed and the workers that load images are
given. Embeddings are LightlyTrain's own: the image scaled to the size, normalised, and
the pooled output of the backbone.

    python lightly_train_process.py pretrain --images=DIR --out=DIR --steps=N ...
    python lightly_train_process.py embed --images=DIR --out=FILE.npz --checkpoint=FILE
"""

import argparse
import math
import tempfile
from importlib.metadata import version
from pathlib import Path

BATCH = 128  # LightlyTrain's default


def pretrain(arguments: argparse.Namespace) -> None:
    """Train for a number of steps and leave a checkpoint in ``--out``."""
    import lightly_train

    images = sum(1 for _ in Path(arguments.images).rglob("*.png"))
    batch = min(BATCH, images)
    lightly_train.pretrain(
        out=arguments.out,
        data=arguments.images,
        model="torchvision/resnet18",
        method="simclr",
        # Its schedule ends with the last step; warm-up is a tenth of fewer than 100
        # epochs and at most 10 epochs.
        epochs=math.ceil(arguments.steps / max(1, images // batch)),
        trainer_args={"max_steps": arguments.steps},
        transform_args={"image_size": (arguments.image_size, arguments.image_size)},
        num_workers=arguments.num_workers,
        seed=arguments.seed,
        accelerator="cpu",
        overwrite=True,
    )


def embed(arguments: argparse.Namespace) -> None:
    """Write embeddings and file names of all images in a folder to a .npz file."""
    import lightly_train
    import numpy as np
    import torch

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "embeddings.pt"
        lightly_train.embed(
            out=file,
            data=arguments.images,
            checkpoint=arguments.checkpoint,
            image_size=arguments.image_size,
            num_workers=arguments.num_workers,
            accelerator="cpu",
        )
        found = torch.load(file, weights_only=True)
    np.savez(
        arguments.out,
        features=found["embeddings"].float().numpy(),
        files=np.array(found["filenames"]),
        versions=np.array([version("lightly-train"), version("torch")]),
    )


def main() -> None:
    """Run one of the two tasks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("pretrain", "embed"))
    parser.add_argument("--images", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--image_size", type=int, required=True)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num_workers", type=int, default=2)
    arguments = parser.parse_args()
    {"pretrain": pretrain, "embed": embed}[arguments.task](arguments)


if __name__ == "__main__":  # workers that load images import this file again
    main()
