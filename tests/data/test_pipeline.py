import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import augmentations
from simclr_tf2.data import array_files, datasets, order, pipeline
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.errors import ConfigError

BATCH, STEPS = 4, 5  # 23 images: 5 steps per epoch, 3 images left over
SEED = 11
PLAN = {field.name for field in dataclasses.fields(order.BatchPlan)}
READING = ("start_step", "cache", "service")


def plan_of(split, *, global_batch_size=BATCH, **share):
    return order.BatchPlan(
        num_examples=split.num_examples, global_batch_size=global_batch_size, **share
    )


def spec_of(**changes):
    return ViewSpec(**{"image_size": 2, "strength": 0.5, "use_blur": False, **changes})


def pretrain(split, *, steps, seed=SEED, **changes):
    """The first ``steps`` elements as nested numpy arrays."""
    plan = {name: changes.pop(name) for name in PLAN & changes.keys()}
    reading = {name: changes.pop(name) for name in READING if name in changes}
    dataset = pipeline.make_pretrain_dataset(
        split, plan_of(split, **plan), spec_of(**changes), seed=seed, **reading
    )
    return list(dataset.take(steps).as_numpy_iterator())


def indices(elements):
    return np.concatenate([e["index"] for e in elements])


def assert_equal(first, second):
    first, second = tf.nest.flatten(first), tf.nest.flatten(second)
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("cheap_views")
class TestPretrain:
    def test_an_element_has_the_promised_types(self, split):
        dataset = pipeline.make_pretrain_dataset(
            split, plan_of(split), spec_of(use_blur=True), seed=SEED
        )
        spec = dataset.element_spec
        view = tf.TensorSpec([BATCH, 2, 2, 3], tf.float32)
        number = tf.TensorSpec([BATCH], tf.int64)
        assert spec == {"views": (view, view), "label": number, "index": number}

    def test_each_epoch_has_every_image_at_most_once_in_another_order(
        self, split, store
    ):
        found = indices(pretrain(split, steps=12 * STEPS)).reshape(12, -1)
        for epoch in found:
            assert len(set(epoch)) == STEPS * BATCH
            assert set(epoch) <= set(range(23))
        assert len({tuple(e) for e in found}) == 12
        left_over = [frozenset(set(range(23)) - set(e)) for e in found]
        assert len(set(left_over)) > 1
        assert set(found.ravel()) == set(range(23))

    def test_a_batch_as_large_as_the_set_holds_every_image(self, split):
        for element in pretrain(split, steps=3, global_batch_size=23):
            assert sorted(element["index"]) == list(range(23))

    def test_a_restart_at_any_step_equals_the_uninterrupted_stream(self, split):
        whole = pretrain(split, steps=2 * STEPS + 5)
        for start in (2, STEPS - 1, 2 * STEPS + 3):
            rest = pretrain(split, steps=2, start_step=start)
            assert_equal(rest, whole[start : start + 2])

    @pytest.mark.parametrize(("workers", "replicas"), [(1, 4), (2, 1), (2, 2)])
    def test_shares_join_to_the_batch_of_one_replica(self, split, workers, replicas):
        steps, start = 2, STEPS - 1
        whole = pretrain(split, steps=steps, start_step=start)
        shares = [
            pretrain(
                split,
                steps=steps * replicas,
                start_step=start,
                num_workers=workers,
                worker_index=worker,
                replicas_per_worker=replicas,
            )
            for worker in range(workers)
        ]
        for step in range(steps):
            parts = [
                share[step * replicas + r] for share in shares for r in range(replicas)
            ]
            joined = tf.nest.map_structure(lambda *x: np.concatenate(x), *parts)
            assert_equal(joined, whole[step])

    def test_only_the_seed_given_changes_order_and_views(self, split):
        tf.random.set_seed(1)
        first = pretrain(split, steps=STEPS)
        tf.random.set_seed(2)
        again = pretrain(split, steps=STEPS)
        other = pretrain(split, steps=STEPS, seed=12)
        assert_equal(first, again)
        assert list(indices(first)) != list(indices(other))
        noise = by_index(first), by_index(other)
        shared = set(noise[0]) & set(noise[1])
        assert not any(np.array_equal(noise[0][i], noise[1][i]) for i in shared)

    def test_an_image_has_other_views_in_each_epoch(self, split):
        elements = pretrain(split, steps=2 * STEPS)
        first, second = by_index(elements[:STEPS]), by_index(elements[STEPS:])
        shared = set(first) & set(second)
        assert len(shared) >= 17
        assert not any(np.array_equal(first[i], second[i]) for i in shared)

    def test_labels_belong_to_the_images(self, split):
        elements = pretrain(split, steps=STEPS)
        expected = [e["label"] for e in split.as_dataset().as_numpy_iterator()]
        for element in elements:
            np.testing.assert_array_equal(
                element["label"], np.array(expected)[element["index"]]
            )

    def test_a_batch_larger_than_the_set_is_refused(self, split):
        with pytest.raises(ConfigError, match="train_batch_size=24"):
            pretrain(split, steps=1, global_batch_size=24)


@pytest.mark.parametrize(
    ("name", "limit", "cache", "expected"),
    [
        ("tiny_gray", None, "auto", "_from_pixels"),
        ("tiny_gray", None, "encoded", "_from_memory"),
        ("tiny_sizes", None, "auto", "_from_memory"),
        ("tiny_sizes", None, "off", "_decoded"),
        ("tiny_sizes", 0, "encoded", "_from_memory"),
        ("tiny_sizes", 0, "auto", "_decoded"),
        ("tiny_gray", 0, "auto", "_decoded"),
        ("tiny_gray", 0, "decoded", "_from_pixels"),
    ],
)
def test_what_fits_is_held_in_memory_and_the_rest_streams(
    data_dir, monkeypatch, cheap_views, name, limit, cache, expected
):
    used = []
    for fetch in ("_from_pixels", "_from_memory", "_decoded"):
        real = getattr(pipeline, fetch)
        monkeypatch.setattr(
            pipeline, fetch, lambda s, n=fetch, f=real: used.append(n) or f(s)
        )
    if limit is not None:
        monkeypatch.setattr(datasets, "MEMORY_LIMIT", limit)
    split = datasets.open_split(name, "train", data_dir=data_dir)
    pipeline.make_pretrain_dataset(
        split, plan_of(split), spec_of(), seed=SEED, cache=cache
    )
    assert used == [expected]


@pytest.mark.parametrize("share", [{}, {"num_workers": 2, "replicas_per_worker": 2}])
class TestEndless:
    """TensorFlow knows that training data have no end, and the rows of a batch."""

    def check(self, dataset, plan):
        assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
        for spec in tf.nest.flatten(dataset.element_spec):
            assert spec.shape.is_fully_defined() and spec.shape[0] == plan.per_replica

    def test_of_every_store(self, split, share):
        plan = plan_of(split, **share)
        self.check(
            pipeline.make_pretrain_dataset(split, plan, spec_of(), seed=SEED), plan
        )
        self.check(
            pipeline.make_supervised_dataset(split, plan, image_size=2, seed=SEED), plan
        )

    def test_made_at_once(self, share):
        split = array_files.from_arrays(np.zeros([23, 8, 8, 3], np.uint8))
        for batch in (8, 20):
            plan = plan_of(split, global_batch_size=batch, **share)
            views = spec_of(image_size=8, backend="numba")
            assert pipeline._pixels_for_batches(split, "auto", views) is not None
            self.check(
                pipeline.make_pretrain_dataset(split, plan, views, seed=SEED), plan
            )


def by_index(elements):
    """Index -> first view."""
    return {
        int(i): v
        for e in elements
        for i, v in zip(e["index"], e["views"][0], strict=True)
    }


def test_views_do_not_depend_on_how_images_are_held(data_dir, monkeypatch, cheap_views):
    """Per-example seeds are functions of (seed, epoch, index) in every store."""
    found = []
    for limit in (datasets.MEMORY_LIMIT, 0):
        monkeypatch.setattr(datasets, "MEMORY_LIMIT", limit)
        split = datasets.open_split("tiny_sizes", "train", data_dir=data_dir)
        elements = pretrain(split, steps=1, global_batch_size=23)
        found.append(by_index(elements))
    assert_equal(found[0], found[1])


@pytest.mark.usefixtures("cheap_views")
def test_a_streamed_sum_of_slices_holds_exactly_its_images(data_dir, monkeypatch):
    monkeypatch.setattr(datasets, "MEMORY_LIMIT", 0)
    split = datasets.open_split("tiny_sizes", "train[3:17]+test[2:]", data_dir=data_dir)
    images = [e["image"] for e in split.as_dataset().as_numpy_iterator()]
    first_pixels = [tf.io.decode_image(i).numpy()[0, 0, 0] for i in images]
    assert len(first_pixels) == 14 + 5
    dataset = datasets.records.stream(
        split.source.shards,
        pipeline.order.BatchPlan(num_examples=19, global_batch_size=19),
        seed=0,
        start_step=0,
    )
    seen = {int(e["index"]): e["image"] for e in dataset.take(19).as_numpy_iterator()}
    assert seen == dict(enumerate(images))


def test_unlabelled_images_have_label_minus_one(data_dir, cheap_views):
    for name, spec in (("tiny_sizes", "unlabelled"), ("tiny_no_label", "train")):
        split = datasets.open_split(name, spec, data_dir=data_dir)
        (element,) = pretrain(split, steps=1)
        assert (element["label"] == -1).all()


def test_real_views_are_reproduced_after_a_restart(data_dir):
    split = datasets.open_split("tiny_gray", "train", data_dir=data_dir)
    arguments = {"image_size": 8, "use_blur": True, "strength": 1.0}
    whole = pretrain(split, steps=7, **arguments)
    assert_equal(whole[6:], pretrain(split, steps=1, start_step=6, **arguments))
    first, second = whole[0]["views"]
    assert first.shape == (BATCH, 8, 8, 3) and first.dtype == np.float32
    assert first.min() >= 0 and first.max() <= 1
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("store", ["pixels", "stream"], indirect=True)
class TestSupervised:
    def batches(self, split, *, steps, **changes):
        start = {name: changes.pop(name) for name in READING if name in changes}
        dataset = pipeline.make_supervised_dataset(
            split, plan_of(split, **changes), image_size=2, seed=SEED, **start
        )
        return list(dataset.take(steps).as_numpy_iterator())

    def test_shares_and_restarts_reproduce_the_stream(self, split, cheap_views):
        whole = self.batches(split, steps=STEPS + 2)
        assert set(whole[0]) == {"image", "label", "index"}
        assert whole[0]["image"].shape == (BATCH, 2, 2, 3)
        halves = self.batches(split, steps=4, start_step=STEPS, replicas_per_worker=2)
        joined = [
            tf.nest.map_structure(lambda *x: np.concatenate(x), *halves[i : i + 2])
            for i in (0, 2)
        ]
        assert_equal(joined, whole[STEPS:])


def test_supervised_batches_need_labels(data_dir):
    split = datasets.open_split("tiny_sizes", "unlabelled", data_dir=data_dir)
    with pytest.raises(ConfigError, match="has no labels"):
        pipeline.make_supervised_dataset(split, plan_of(split), image_size=2, seed=SEED)


@pytest.mark.parametrize("store", ["pixels", "stream"], indirect=True)
class TestEval:
    @pytest.mark.parametrize("batch", [7, 23, 30])
    def test_every_image_counts_once(self, split, batch):
        dataset = pipeline.make_eval_dataset(split, batch_size=batch, image_size=5)
        elements = list(dataset.as_numpy_iterator())
        assert len(elements) == -(-23 // batch)
        assert all(e["image"].shape == (batch, 5, 5, 3) for e in elements)
        mask = np.concatenate([e["mask"] for e in elements])
        assert mask.dtype == bool and mask.sum() == 23 and mask[:23].all()
        labels = np.concatenate([e["label"] for e in elements])
        expected = [e["label"] for e in split.as_dataset().as_numpy_iterator()]
        np.testing.assert_array_equal(labels[:23], expected)
        assert (labels[23:] == -1).all()
        assert not np.concatenate([e["image"] for e in elements])[23:].any()

    def test_shapes_are_static(self, split):
        dataset = pipeline.make_eval_dataset(split, batch_size=8, image_size=5)
        assert dataset.element_spec["image"].shape == [8, 5, 5, 3]
        assert dataset.element_spec["label"].shape == [8]
        assert dataset.element_spec["mask"].shape == [8]

    @pytest.mark.parametrize(("limit", "count"), [(5, 5), (8, 8), (100, 23)])
    def test_a_limit_takes_the_first_images(self, split, limit, count):
        dataset = pipeline.make_eval_dataset(
            split, batch_size=4, image_size=5, limit=limit
        )
        assert sum(e["mask"].sum() for e in dataset.as_numpy_iterator()) == count


def test_eval_pixels_are_those_of_the_set(data_dir):
    split = datasets.open_split("tiny_gray", "train", data_dir=data_dir)
    dataset = pipeline.make_eval_dataset(split, batch_size=23, image_size=5)
    images = next(dataset.as_numpy_iterator())["image"]
    expected = split.arrays()[0][:, :1, :1] / 255.0
    np.testing.assert_allclose(images, expected + np.zeros([1, 5, 5, 1]), atol=1e-6)


def test_an_eval_limit_of_nothing_is_refused(data_dir):
    split = datasets.open_split("tiny_gray", "train", data_dir=data_dir)
    with pytest.raises(ConfigError):
        pipeline.make_eval_dataset(split, batch_size=4, image_size=5, limit=0)


def test_two_replicas_of_a_strategy_see_the_halves(data_dir, two_replicas, cheap_views):
    split = datasets.open_split("tiny_gray", "train", data_dir=data_dir)
    whole = pretrain(split, steps=3)
    distributed = two_replicas.distribute_datasets_from_function(
        lambda context: pipeline.make_pretrain_dataset(
            split,
            pipeline.plan_batches(split, BATCH, context),
            spec_of(),
            seed=SEED,
        )
    )
    for expected, element in zip(whole, itertools.islice(distributed, 3), strict=True):
        for key in ("index", "label"):
            local = two_replicas.experimental_local_results(element[key])
            np.testing.assert_array_equal(np.concatenate(local), expected[key])
        local = two_replicas.experimental_local_results(element["views"][0])
        np.testing.assert_array_equal(np.concatenate(local), expected["views"][0])


@pytest.mark.parametrize("changes", [{}, {"num_views": 3, "num_local_views": 1}])
@pytest.mark.parametrize(
    "share", [{}, {"num_workers": 2, "worker_index": 1}, {"replicas_per_worker": 2}]
)
def test_batches_made_at_once_are_those_made_one_by_one(monkeypatch, changes, share):
    monkeypatch.setattr(pipeline, "PART", 4)
    images = np.random.default_rng(0).integers(0, 255, [23, 9, 7, 3], np.uint8)
    split = array_files.from_arrays(images, np.arange(23) % 3)
    kwargs = {"image_size": 12, "local_image_size": 7, "use_blur": True, "steps": 3}
    kwargs |= {"global_batch_size": 16, "start_step": 2, **changes, **share}
    found = pretrain(split, backend="numba", **kwargs)
    wanted = pretrain(split, backend="tf", **kwargs)
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_array_equal(one["index"], other["index"])
        np.testing.assert_array_equal(one["label"], other["label"])
        for key in one.keys() - {"index", "label"}:
            for view, expected in zip(one[key], other[key], strict=True):
                np.testing.assert_allclose(view, expected, atol=5e-6)


@pytest.mark.parametrize("backend", ["tf", "numba"])
@pytest.mark.parametrize("at_once", [True, False])
def test_what_the_device_finishes_is_what_the_host_makes(monkeypatch, backend, at_once):
    images = np.random.default_rng(0).integers(0, 255, [23, 29, 27, 3], np.uint8)
    split = array_files.from_arrays(images, np.arange(23) % 3)
    if not at_once:
        monkeypatch.setattr(pipeline, "_pixels_for_batches", lambda *_: None)
    kwargs = {"image_size": 21, "local_image_size": 12, "steps": 2, "strength": 1.0}
    kwargs |= {"global_batch_size": 8, "num_local_views": 1, "backend": backend}
    found = pretrain(split, on_device=True, **kwargs)
    for use_blur in (True, False):
        wanted = pretrain(split, use_blur=use_blur, **kwargs)
        for one, other in zip(found, wanted, strict=True):
            one = augmentations.finish_batch(one, use_blur=use_blur)
            assert one.keys() == other.keys()
            for made, expected in zip(
                tf.nest.flatten(one), tf.nest.flatten(other), strict=True
            ):
                np.testing.assert_allclose(made, expected, atol=5e-6)


@pytest.mark.parametrize(
    ("count", "part"), [(512, 64), (100, 50), (48, 48), (7, 7), (509, 509), (30, 30)]
)
def test_parts_are_divisors(count, part):
    assert pipeline._part_of(count) == part


def test_what_is_held_in_memory_is_said_once_with_its_size(caplog):
    caplog.set_level("INFO")
    split = array_files.from_arrays(np.zeros([80, 8, 8, 3], np.uint8), name="small")
    for _ in range(2):
        pretrain(split, steps=1)
    (said,) = [r.message for r in caplog.records if "held in memory" in r.message]
    assert said == ("small:train: 80 images held in memory, decoded (under 0.1 MiB)")
