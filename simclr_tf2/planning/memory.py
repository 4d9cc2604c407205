"""Bytes that one replica needs at the peak of a training step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simclr_tf2.planning.counting import Counts
from simclr_tf2.planning.workload import Workload

FLOAT = 4  # bytes
# Matrices [rows, columns] of the similarities that are in memory at once. NT-Xent:
# similarities and their exponential; the metrics compare view 1 with view 2, three
# matrices of a quarter. Other losses: similarities, mask, candidates and gradient of
# half as many columns.
WHOLE_MATRICES = 2 + 3 / 4
HALF_MATRICES = 4
BLOCK_MATRICES = 3


@dataclass(frozen=True)
class Memory:
    """Bytes of a replica, by what holds them.

    Attributes:
        weights: Variables of the network, and copies of another precision; averages.
        gradients: Gradients of the weights.
        optimizer: Slots of the optimizer.
        activations: What the backward pass reads, and the largest layer's gradients.
        images: The views of a batch, as they arrive and joined.
        loss: Projections of all replicas and their similarities.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    images: float
    loss: float

    @property
    def total(self) -> float:
        """All bytes together."""
        parts = (self.weights, self.gradients, self.optimizer)
        return sum(parts) + self.activations + self.images + self.loss


def memory(work: Workload, *, compiled: bool = False) -> Memory:
    """Estimate the memory of a replica at the peak of a step.

    Args:
        work: The run.
        compiled: Whether XLA compiles the step, as on a TPU.
    """
    counts = work.counts[0]
    copies = FLOAT / 2 if work.precision != "off" else 0
    # Micro-batches add their gradients to those of earlier ones.
    sums = 2 if work.parts > 1 else 1
    return Memory(
        weights=(counts.numbers + work.averages) * FLOAT + counts.trained * copies,
        gradients=counts.trained * FLOAT * sums,
        optimizer=counts.trained * FLOAT * work.slots,
        activations=_activations(work, compiled),
        images=_images(work),
        loss=loss_bytes(work),
    )


def checkpoint_bytes(work: Workload) -> float:
    """Return the bytes of a checkpoint: network, optimizer, averages of weights."""
    counts = work.counts[0]
    return FLOAT * (counts.numbers + work.averages + work.slots * counts.trained)


def loss_bytes(work: Workload) -> float:
    """Return the bytes of the contrastive loss; 0 in fine-tuning.

    All replicas' projections ``[columns, width]`` and the similarities of the local
    rows with them: whole matrices, or blocks.
    """
    if work.mode == "finetune":
        return 0.0
    rows, columns = work.rows, work.rows * work.replicas
    gathered = 2 * columns * work.counts[0].width * FLOAT
    if work.config.loss.loss != "nt_xent":
        return gathered + HALF_MATRICES * rows * columns / 2 * FLOAT
    if work.blockwise:
        block = min(work.block_rows, rows)
        metrics = 3 * block * columns / 2
        return gathered + (BLOCK_MATRICES * rows * block + metrics) * FLOAT
    return gathered + WHOLE_MATRICES * rows * columns * FLOAT


def kept_bytes(counts: Counts, remat: str, *, compiled: bool = False) -> float:
    """Return the activations of one view that are in memory at the peak.

    With ``--remat`` they are the outputs of the blocks, and the inside of the largest
    block while it is computed again.

    Args:
        counts: Cost of the view.
        remat: ``--remat``.
        compiled: Whether XLA compiles the step.
    """
    kept = counts.kept_compiled if compiled else counts.kept
    if remat == "off":
        return kept.total
    inside, borders = kept.segments, counts.borders
    rest = kept.total - sum(inside.values())
    if remat == "groups":
        inside = _by_group(inside)
        borders = _last_of_group(borders)
    return rest + sum(borders.values()) + max(inside.values(), default=0)


def _activations(work: Workload, compiled: bool) -> float:
    total = 0.0
    for (number, _), counts in zip(work.views, work.counts, strict=True):
        view = kept_bytes(counts, work.remat, compiled=compiled) + counts.largest
        total += work.at_once * number * view
    return total


def _images(work: Workload) -> float:
    channels = work.config.data.image_channels
    one = sum(n * math.prod(size) for n, size in work.views) * channels * FLOAT
    return (work.per_replica + work.at_once) * one


def _group(block: str) -> str:
    return block.partition("_")[0]


def _by_group(sizes: dict[str, int]) -> dict[str, int]:
    groups: dict[str, int] = {}
    for name, size in sizes.items():
        groups[_group(name)] = groups.get(_group(name), 0) + size
    return groups


def _last_of_group(sizes: dict[str, int]) -> dict[str, int]:
    return {_group(name): size for name, size in sizes.items()}
