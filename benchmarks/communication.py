"""Bytes that a replica sends in one pretraining step, from the shapes alone.

Three exchanges: the projections of all replicas for NT-Xent (all-gather), the sums of
the synchronised batch norms (forward: mean and mean square; backward: as much), and the
gradients (all-reduce). In a ring of p replicas an all-gather of s bytes each sends
(p - 1) s, an all-reduce of s bytes 2 (p - 1) / p s (Patarasuk and Yuan 2009,
doi 10.1016/j.jpdc.2008.09.002). The negatives' gradients come back as a reduce-scatter,
as much as the gather. Nothing is measured here. Run::

    python -m benchmarks.communication [--depth 50] [--batch 4096] [--replicas 32]
"""

from __future__ import annotations

import argparse
import math


def sent(*, batch: int, replicas: int, width: int, channels: int, weights: int) -> dict:
    """Count the bytes that each replica sends in one step, by name.

    Args:
        batch: Images of the global batch; each has two views.
        replicas: Of them.
        width: Of a projection.
        channels: Of all synchronised batch norms together.
        weights: Trainable numbers.
    """
    others = replicas - 1
    rows = 2 * batch // replicas
    return {
        "projections, all-gather": others * rows * width * 4,
        "their gradients, reduce-scatter": others * rows * width * 4,
        "batch norm, all-reduce": 2 * others / replicas * channels * 2 * 4 * 2,
        "gradients, all-reduce": 2 * others / replicas * weights * 4,
    }


def main() -> None:
    """Print the table."""
    import keras

    from simclr_tf2 import models
    from simclr_tf2.config import ModelConfig

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--width", type=float, default=1)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--replicas", type=int, default=32)
    given = parser.parse_args()
    config = ModelConfig(resnet_depth=given.depth, width_multiplier=given.width)
    model = models.build_simclr(config, image_size=224, export=True)
    layers = model._flatten_layers()
    norms = [x for x in layers if isinstance(x, keras.layers.BatchNormalization)]
    channels = sum(x.moving_mean.shape[0] for x in norms)
    weights = sum(math.prod(v.shape) for v in model.trainable_variables)
    table = sent(
        batch=given.batch,
        replicas=given.replicas,
        width=config.proj_out_dim,
        channels=channels,
        weights=weights,
    )
    print(
        f"ResNet-{given.depth}, width {given.width}, batch {given.batch} on "
        f"{given.replicas} replicas: {weights / 1e6:.1f} M weights, {len(norms)} batch "
        f"norms of {channels} channels in all, projections of {config.proj_out_dim}"
    )
    for name, size in table.items():
        print(f"{name:34} {size / 2**20:9.2f} MiB a step and replica")


if __name__ == "__main__":
    main()
