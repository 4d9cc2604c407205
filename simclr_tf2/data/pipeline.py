"""Input pipelines: batches are a pure function of (seed, step), on any replica count.

Sets that fit in memory (pixels of one size, else encoded bytes) are read in a full
permutation per epoch; larger sets stream from their files (``records.stream``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf2 import augmentations, files, machine
from simclr_tf2.data import datasets, order, records, sampling
from simclr_tf2.data import service as data_service
from simclr_tf2.data.datasets import Split
from simclr_tf2.data.order import BatchPlan
from simclr_tf2.data.sources import ArraySource, RecordSource
from simclr_tf2.data.views import Example, Size, ViewSpec
from simclr_tf2.errors import ConfigError

logger = logging.getLogger(__name__)

_SAID: set[tuple[str, str]] = set()
FEW_CLASSES = 0.8  # [ours] of those that a random order would show
PART = 64  # images of one call, at most
Fetch = Callable[[Example], Example]


def plan_batches(
    split: Split,
    global_batch_size: int,
    context: tf.distribute.InputContext | None = None,
) -> BatchPlan:
    """Divide the batches of a split among workers and replicas.

    Args:
        split: What ``open_split`` gave.
        global_batch_size: Images per step, over all replicas.
        context: What ``distribute_datasets_from_function`` passes; None: one replica.

    Raises:
        ConfigError: The split is smaller than a batch, or the batch does not divide.
    """
    share = {}
    if context is not None:
        workers = context.num_input_pipelines
        share = {
            "num_workers": workers,
            "worker_index": context.input_pipeline_id,
            "replicas_per_worker": context.num_replicas_in_sync // workers,
        }
    return BatchPlan(
        num_examples=split.num_examples, global_batch_size=global_batch_size, **share
    )


def make_pretrain_dataset(
    split: Split,
    plan: BatchPlan,
    views: ViewSpec,
    *,
    seed: int,
    start_step: int = 0,
    cache: str = "auto",
    service: str | None = None,
) -> tf.data.Dataset:
    """Make endless batches of views, two per image in the paper (section 2.1).

    Args:
        split: What ``open_split`` gave.
        plan: Rows of a batch that this worker reads: ``plan_batches(split, ...)``.
        views: What is made of each image.
        seed: The run's seed; any integer.
        start_step: Global step of the first batch.
        cache: What is held in memory: "encoded" or "decoded" images, "off", or "auto",
            which holds what takes at most MEMORY_LIMIT.
        service: Address of a tf.data service that makes the batches (``service.py``).

    Returns:
        A dataset of {"views": (v1, v2, ..), each float32 [b, h, w, c] in [0, 1],
        "label": int64 [b] (-1: none), "index": int64 [b]} with b = images per replica.
        An element is one replica's rows. Local views stand in "local_views". With
        ``views.on_device`` views are windows, and what was drawn for them, each float32
        [b, 9], stands in "draws" and "local_draws".
    """
    pixels = _pixels_for_batches(split, cache, views) if service is None else None
    if pixels is None:
        return _train_batches(split, plan, views.draw, seed, start_step, cache, service)

    def make(example: Example) -> Example:
        drawn = views.draw_at_once(pixels[0], example["index"], example["seed"])
        label = tf.gather(pixels[1], example["index"])
        return {**drawn, "label": label, "index": example["index"]}

    return _batches_at_once(plan, make, seed, start_step)


def make_supervised_dataset(
    split: Split,
    plan: BatchPlan,
    *,
    image_size: Size,
    seed: int,
    start_step: int = 0,
    cache: str = "auto",
    service: str | None = None,
) -> tf.data.Dataset:
    """Make endless labelled batches: random crop and flip only (paper, appendix B.5).

    Arguments are those of ``make_pretrain_dataset``; ``image_size`` is the side of the
    view, or (height, width).

    Returns:
        A dataset of {"image": float32 [b, s, s, 3], "label": int64 [b] (or [b, l]:
        several yes-or-no labels), "index": int64 [b]}; an element is one replica's
        rows.

    Raises:
        ConfigError: The split has no labels.
    """
    if not split.label_shape:
        datasets.require_labels(split)

    def augment(image: tf.Tensor, example_seed: tf.Tensor) -> Example:
        view = augmentations.finetune_view(
            image, seed=example_seed, image_size=image_size
        )
        return {"image": view}

    return _train_batches(split, plan, augment, seed, start_step, cache, service)


def make_eval_dataset(
    split: Split,
    *,
    batch_size: int,
    image_size: Size,
    limit: int | None = None,
    view_of: Callable[..., tf.Tensor] = augmentations.eval_view,
) -> tf.data.Dataset:
    """Make batches of one static size with every image exactly once, in index order.

    Args:
        split: What ``open_split`` gave.
        batch_size: Images per batch; the last batch is padded up to it.
        image_size: Side of the view, or (height, width).
        limit: At most so many images, a sample (``sampling.sample``); None for all.
        view_of: ``(image [h, w, c], image_size=)`` -> ``[s, s, c]`` in [0, 1].

    Returns:
        A finite dataset of {"image": float32 [b, s, s, 3] in [0, 1], "label": int64
        [b] (-1: none), "mask": bool [b]}; mask is False on padding, whose image is 0
        and whose label is -1.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"at least one image must be evaluated. Received: {limit}.")

    def view(example: Example) -> Example:
        image = view_of(example["image"], image_size=image_size)
        return {"image": image, "label": example["label"], "mask": True}

    if split.fits_in_memory:
        rows = sampling.sampled_rows(split, limit)
        fetch = _from_pixels(split)
        dataset = tf.data.Dataset.from_tensor_slices({"index": rows})
    else:
        split = sampling.sample(split, limit)
        dataset, fetch = split.as_dataset(), _decoded(split)
    dataset = _parallel_map(dataset, lambda example: view(fetch(example)))
    dataset = dataset.batch(batch_size).map(lambda batch: _pad(batch, batch_size))
    return _finish(dataset)


def make_fixed_views_dataset(
    split: Split, views: ViewSpec, *, batch_size: int, seed: int
) -> tf.data.Dataset:
    """Make the views of every image once, in index order, the same at each pass.

    Args:
        split: What ``open_split`` gave.
        views: What is made of each image; local views are left out.
        batch_size: Views per batch; the last batch is padded up to it.
        seed: Of the views; with an image's index it says what they are.

    Returns:
        A finite dataset as ``make_eval_dataset``: view 1 and view 2 of the first image,
        of the second, and so on.
    """
    fetch = _from_pixels(split) if split.fits_in_memory else _decoded(split)

    def make(example: Example) -> Example:
        index = tf.cast(example["index"], tf.int64)
        seeds = order.example_seeds(seed, tf.constant(0, tf.int64), index[tf.newaxis])
        drawn = views.draw(fetch(example)["image"], seeds[0])["views"]
        return {
            "image": tf.stack(drawn),
            "label": tf.fill([len(drawn)], tf.constant(-1, tf.int64)),
            "mask": tf.fill([len(drawn)], True),
        }

    dataset = split.as_dataset()
    if split.fits_in_memory:
        dataset = tf.data.Dataset.range(split.num_examples)
        dataset = dataset.map(lambda index: {"index": index})
    dataset = _parallel_map(dataset, make).unbatch()
    dataset = dataset.batch(batch_size).map(lambda batch: _pad(batch, batch_size))
    return _finish(dataset)


def is_readable_by_index(split: Split, cache: str = "auto") -> bool:
    """Return whether training reads a split image by image, and not as a stream."""
    return split.source.random_access or _held(split, cache) != "off"


def _train_batches(
    split: Split,
    plan: BatchPlan,
    augment: Callable[[tf.Tensor, tf.Tensor], Example],
    seed: int,
    start_step: int,
    cache: str,
    service: str | None,
) -> tf.data.Dataset:
    assert start_step >= 0, start_step
    assert plan.num_examples == split.num_examples, (plan, split)
    fetch = _fetch(split, cache)
    if fetch is None:
        _warn_of_few_classes(split, seed)
        dataset = split.source.stream(plan, seed=seed, start_step=start_step)
        fetch = _decoded(split)
    else:
        dataset = order.count_from(start_step).map(
            lambda step: order.batch_order(step, plan=plan, seed=seed)
        )
        dataset = dataset.unbatch()

    def make(example: Example) -> Example:
        example = fetch(example)
        views = augment(example["image"], example["seed"])
        return {**views, "label": example["label"], "index": example["index"]}

    dataset = _parallel_map(dataset, make)
    dataset = dataset.batch(plan.per_replica, drop_remainder=True)
    if service is not None:
        dataset = data_service.distribute(dataset, service)
    return _finish(_endless(dataset))


def _warn_of_few_classes(split: Split, seed: int) -> None:
    """Warn once if the first window of streamed records is in class order."""
    source, classes = split.source, split.num_classes or 0
    unsure = split.has_labels and isinstance(source, RecordSource) and not source.mixed
    if not unsure or classes < 2 or (split.name, split.split) in _SAID:
        return
    _SAID.add((split.name, split.split))
    assert isinstance(source, RecordSource)
    labels = records.first_labels(source.shards, seed=seed)
    found = len(np.unique(labels))
    expected = classes * (1 - (1 - 1 / classes) ** len(labels))  # in a random order
    if found < FEW_CLASSES * expected:
        logger.warning(
            "%s:%s is sorted by class: the %d images that training mixes first are of "
            "%d of %d classes, so that batches are less varied than random ones. Write "
            "the records in random order, or pass --cache=encoded to "
            "hold all %.1f GiB in memory",
            split.name,
            split.split,
            len(labels),
            found,
            classes,
            source.num_bytes / 2**30,
        )


def _batches_at_once(
    plan: BatchPlan,
    make: Callable[[Example], Example],
    seed: int,
    start_step: int,
) -> tf.data.Dataset:
    """Make batches in parts, each by one call, so that threads share a batch."""
    part = _part_of(plan.per_replica)

    def parts(step: tf.Tensor) -> Example:
        rows = order.batch_order(step, plan=plan, seed=seed)
        return {k: tf.reshape(x, [-1, part, *x.shape[1:]]) for k, x in rows.items()}

    dataset = order.count_from(start_step).map(parts).unbatch()
    dataset = _parallel_map(dataset, make)
    if part < plan.per_replica:
        dataset = dataset.rebatch(plan.per_replica, drop_remainder=True)
    return _finish(_endless(dataset))


def _part_of(count: int) -> int:
    """Return the largest divisor up to PART that is not tiny, else all."""
    divisors = [d for d in range(PART // 4, PART + 1) if count % d == 0]
    return divisors[-1] if divisors else count


def _pixels_for_batches(split: Split, cache: str, views: ViewSpec) -> tuple | None:
    """Return images and labels if in memory and if views are made of many at once."""
    if not views.can_draw_at_once or _held(split, cache) != "decoded":
        return None
    images, labels = split.pixels
    images = np.asarray(memoryview(images))  # no copy
    if not augmentations.makes(images.shape[-1], tf.as_dtype(images.dtype)):
        return None
    _say(split, "decoded", split.decoded_bytes)
    return images, labels


def _held(split: Split, cache: str) -> str:
    """Return the form in which images are held in memory: decoded, encoded, or off."""
    if isinstance(split.source, ArraySource):
        return "decoded"
    if cache != "auto":
        return cache
    if split.fits_in_memory:
        return "decoded"
    return "encoded" if split.encoded_bytes <= datasets.MEMORY_LIMIT else "off"


def _fetch(split: Split, cache: str) -> Fetch | None:
    """Return how an example gets image and label by its index; None: stream it.

    ``auto`` holds decoded what is of one size and small, encoded what is small.
    """
    held = _held(split, cache)
    if held == "decoded":
        _say(split, "decoded", split.decoded_bytes)
        return _from_pixels(split)
    if held == "encoded":
        _say(split, "as stored", split.encoded_bytes)
        return _from_memory(split)
    return _from_source(split) if split.source.random_access else None


def _say(split: Split, how: str, size: int | None) -> None:
    """Log once what of a split is held in memory."""
    text = f"{split.name}:{split.split}: {split.num_examples} images held in memory"
    if size is not None and (text, how) not in _SAID:
        _SAID.add((text, how))
        logger.info("%s, %s (%s)", text, how, files.size_text(size))


def _from_pixels(split: Split) -> Fetch:
    images, labels = split.pixels  # captured, so never written into a graph

    def fetch(example: Example) -> Example:
        index = example["index"]
        return {
            **example,
            "image": tf.gather(images, index),
            "label": tf.gather(labels, index),
        }

    return fetch


def _from_memory(split: Split) -> Fetch:
    stored = split.encoded

    def fetch(example: Example) -> Example:
        found = {k: tf.gather(v, example["index"]) for k, v in stored.items()}
        return {**example, **found, "image": split.source.decode(found)}

    return fetch


def _from_source(split: Split) -> Fetch:
    def fetch(example: Example) -> Example:
        found = split.source.at(example["index"])
        return {**example, **found, "image": split.source.decode(found)}

    return fetch


def _decoded(split: Split) -> Fetch:
    """Return how examples that are there already, as they are stored, are decoded."""

    def fetch(example: Example) -> Example:
        return {**example, "image": split.source.decode(example)}

    return fetch


def _pad(batch: Example, batch_size: int) -> Example:
    missing = batch_size - tf.shape(batch["mask"])[0]
    fill = {"image": 0.0, "label": -1, "mask": False}

    def pad(value: tf.Tensor, constant: Any) -> tf.Tensor:
        paddings = [[0, missing]] + [[0, 0]] * (value.shape.rank - 1)
        padded = tf.pad(value, paddings, constant_values=constant)
        return tf.ensure_shape(padded, [batch_size, *value.shape[1:]])

    return {key: pad(value, fill[key]) for key, value in batch.items()}


def _parallel_map(
    dataset: tf.data.Dataset, function: Callable[[Example], Example]
) -> tf.data.Dataset:
    return dataset.map(
        tf.autograph.experimental.do_not_convert(function),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _endless(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Declare that a dataset has no end, which TensorFlow may not see by itself.

    Several workers would ask each other before every step whether there are images
    left, and the number of rows would be unknown while the step is traced.
    """
    return dataset.apply(
        tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    )


def _finish(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    cores = machine.usable_cores()
    if cores < machine.schedulable_cores():  # tf.data counts those without the quota
        options.threading.private_threadpool_size = cores
    # The plan above has dealt the shares; tf.distribute must not deal again.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)
