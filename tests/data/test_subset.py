import numpy as np
import pytest

from simclr_tf2.data import datasets, pipeline, subset
from simclr_tf2.data.array_files import from_arrays


@pytest.mark.parametrize("name", ["tiny_gray", "tiny_sizes", "arrays"])
def test_a_subset_holds_exactly_its_images_in_order(data_dir, name):
    if name == "arrays":
        images = np.random.default_rng(0).integers(0, 255, [23, 5, 4, 3], np.uint8)
        whole = from_arrays(images, np.arange(23) % 3)
    else:
        whole = datasets.open_split(name, "train", data_dir=data_dir)
    chosen = np.array([1, 4, 5, 17, 22])
    part = subset.take(whole, chosen, name="five")
    assert (part.num_examples, part.split) == (5, "five")
    everything = list(whole.as_dataset().as_numpy_iterator())
    found = list(part.as_dataset().as_numpy_iterator())
    assert [e["index"] for e in found] == [0, 1, 2, 3, 4]
    for e, place in zip(found, chosen, strict=True):
        np.testing.assert_array_equal(e["image"], everything[place]["image"])
        assert e["label"] == everything[place]["label"]
    np.testing.assert_array_equal(
        subset.labels_of(part), subset.labels_of(whole)[chosen]
    )
    dataset = pipeline.make_supervised_dataset(
        part, pipeline.plan_batches(part, 5), image_size=4, seed=0
    )
    (element,) = dataset.take(1).as_numpy_iterator()
    assert sorted(element["index"]) == [0, 1, 2, 3, 4]
    assert part.source.fingerprint != whole.source.fingerprint
