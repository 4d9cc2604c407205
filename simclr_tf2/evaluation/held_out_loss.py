"""The contrastive loss on images that are never trained on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2.errors import ConfigError
from simclr_tf2.evaluation.features.extraction import collect, make_runner

logger = logging.getLogger(__name__)

ContrastiveLoss = Callable[[tf.Tensor], tuple[tf.Tensor, dict[str, tf.Tensor]]]


def batch_sizes(num_images: int, train_batch_size: int) -> list[int]:
    """Divide held-out images into batches of nearly equal size, none left out.

    Args:
        num_images: Held-out images, 2 or more.
        train_batch_size: Global batch of training.

    Returns:
        Sizes that differ by one at most and sum to ``num_images``. For fewer images
        than two training batches there is one batch; else each is at least as large as
        a training batch.
    """
    count = max(1, num_images // train_batch_size)
    return [len(part) for part in np.array_split(np.arange(num_images), count)]


def make_held_out_loss(
    project: Callable[[tf.Tensor], tf.Tensor],
    views: Iterable[dict[str, Any]],
    loss: ContrastiveLoss,
    *,
    sizes: list[int],
    strategy: tf.distribute.Strategy | None = None,
) -> Callable[[], dict[str, float]]:
    """Build a function that measures the loss with the weights at the time of a call.

    The replicas share the work of the network. The loss is computed in one place, over
    batches that do not depend on the number of replicas. Every image counts once.

    Args:
        project: ``[b, s, s, c] -> z [b, d]`` in inference mode.
        views: Finite and the same at each pass: view 1 and view 2 of the first image,
            then of the second, and so on; elements as for ``extract``.
        loss: ``[2n, d]``, rows of view 1 then of view 2 -> (mean loss, metrics).
        sizes: Images of each batch of the loss, in order.
        strategy: Devices of the network; None: the default device.

    Returns:
        A function without arguments -> ``valid_loss`` and, by the names of the metrics,
        ``valid_contrastive_accuracy`` and ``valid_contrastive_entropy``, means over
        images. Empty, with one warning, if the projections are not finite.
    """
    said: list[ConfigError] = []

    @tf.function(reduce_retracing=True)
    def projected(image: tf.Tensor) -> tf.Tensor:
        return tf.cast(project(image), tf.float32)

    runner = make_runner(projected, strategy)

    def measure() -> dict[str, float]:
        try:
            z = collect(runner, views, limit=None, name="held-out images").features
        except ConfigError as error:  # must not end a run that can continue
            if not said:
                logger.warning("held-out loss not measured: %s", error)
            said.append(error)
            return {}
        assert len(z) == 2 * sum(sizes), (len(z), sizes)
        totals: dict[str, float] = {}
        for part, size in zip(
            np.split(z, 2 * np.cumsum(sizes)[:-1]), sizes, strict=True
        ):
            value, scalars = loss(tf.constant(np.concatenate([part[::2], part[1::2]])))
            for name, number in {"loss": value, **scalars}.items():
                totals[name] = totals.get(name, 0.0) + size * float(number)
        return {f"valid_{name}": total / sum(sizes) for name, total in totals.items()}

    return measure
