"""Source images per CPU-second of the pretraining input, two views of each.

Draws simclr_shapes at each size and reads batches for a while, nothing else. CPU time
is that of the whole process, all threads. The best of the rounds is the one least
disturbed by other work on the machine.

    python benchmarks/input.py --data_dir=data
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from simclr_tf2.data import datasets, pipeline  # noqa: E402

DATASETS = {32: "simclr_shapes", 64: "simclr_shapes/64", 96: "simclr_shapes/96"}


def measure(
    split: datasets.Split,
    *,
    image_size: int,
    strength: float,
    use_blur: bool,
    batch_size: int,
    rounds: int,
    seconds: float,
) -> tuple[list[float], list[float]]:
    """Images per CPU-second and per second of each round."""
    dataset = pipeline.make_pretrain_dataset(
        split,
        global_batch_size=batch_size,
        image_size=image_size,
        strength=strength,
        use_blur=use_blur,
        seed=0,
    )
    batches = iter(dataset)
    for _ in range(4):  # tracing, and the buffers that fill at first
        next(batches)
    per_cpu, per_wall = [], []
    for _ in range(rounds):
        cpu, wall, images = time.process_time(), time.perf_counter(), 0
        while time.perf_counter() - wall < seconds:
            next(batches)
            images += batch_size
        per_cpu.append(images / (time.process_time() - cpu))
        per_wall.append(images / (time.perf_counter() - wall))
    return per_cpu, per_wall


def main() -> None:
    """Print one line per size, without and with blur."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 96])
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--strength", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="per round")
    args = parser.parse_args()
    print("size  blur  images per CPU-second: best  median   images per second: best")
    for size in args.sizes:
        split = datasets.open_split(DATASETS[size], "unlabeled", data_dir=args.data_dir)
        for use_blur in (False, True):
            per_cpu, per_wall = measure(
                split,
                image_size=size,
                strength=args.strength,
                use_blur=use_blur,
                batch_size=args.batch_size,
                rounds=args.rounds,
                seconds=args.seconds,
            )
            print(
                f"{size:4}  {'yes' if use_blur else 'no':4}  {max(per_cpu):27.0f}  "
                f"{statistics.median(per_cpu):6.0f}   {max(per_wall):23.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
