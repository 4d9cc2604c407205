"""Tiny TFDS sets: gray of one size, colour of many sizes, no label, no image."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_tf2 import augmentations
from simclr_tf2.data import datasets


class TinyBuilder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    SKIP_REGISTERING = True
    FEATURES = {}
    SIZES = {"train": 23, "test": 7}

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(self.FEATURES)
        )

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(name) for name in self.SIZES}

    def _generate_examples(self, split):
        for n in range(self.SIZES[split]):
            yield n, self.example(split, n)


class TinyGray(TinyBuilder):
    """7x5 gray images of the constant value 10 n, labels n % 3."""

    FEATURES = {
        "image": tfds.features.Image(shape=(7, 5, 1)),
        "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
    }

    def example(self, split, n):
        return {"image": np.full([7, 5, 1], 10 * n, np.uint8), "label": n % 3}


class TinySizes(TinyBuilder):
    """Colour images of height 5 + n % 4, first pixel n; `unlabelled` has label -1."""

    SIZES = {"train": 23, "test": 7, "unlabelled": 5}
    FEATURES = {
        "image": tfds.features.Image(encoding_format="png"),
        "label": tfds.features.ClassLabel(num_classes=4),
    }

    def example(self, split, n):
        image = np.random.default_rng(n).integers(0, 255, [5 + n % 4, 6, 3], np.uint8)
        image[0, 0] = n
        return {"image": image, "label": -1 if split == "unlabelled" else n % 4}


class TinyNoLabel(TinyBuilder):
    FEATURES = {"image": tfds.features.Image(shape=(5, 5, 3))}

    def example(self, split, n):
        return {"image": np.full([5, 5, 3], n, np.uint8)}


class TinyNoImage(TinyBuilder):
    FEATURES = {"text": tfds.features.Text()}

    def example(self, split, n):
        return {"text": str(n)}


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder in which the tiny sets are prepared, in 5 files each."""
    folder = str(tmp_path_factory.mktemp("tfds"))
    config = tfds.download.DownloadConfig(num_shards=5, try_download_gcs=False)
    for kind in (TinyGray, TinySizes, TinyNoLabel, TinyNoImage):
        kind(data_dir=folder).download_and_prepare(download_config=config)
    return folder


@pytest.fixture(params=["pixels", "encoded", "stream"])
def store(request, monkeypatch):
    """The way images are held; sets name, and the limits that lead there."""
    if request.param == "stream":
        monkeypatch.setattr(datasets, "MEMORY_LIMIT", 0)
        # 2 steps of 4 images a window, in chunks of 4 images
        monkeypatch.setattr(datasets.records, "WINDOW_BYTES", 0)
        monkeypatch.setattr(datasets.records, "SHUFFLE_WINDOW", 8)
        monkeypatch.setattr(datasets.records, "MIXED_CHUNKS", 2)
    return request.param


@pytest.fixture
def split(store, data_dir):
    """23 images, through the store."""
    name = "tiny_gray" if store == "pixels" else "tiny_sizes"
    return datasets.open_split(name, "train", data_dir=data_dir)


@pytest.fixture
def cheap_views(monkeypatch):
    """Views that cost nothing to trace but depend on image and seed like real ones."""

    def view(image, *, seed, image_size):
        pixel = tf.cast(image[0, 0], tf.float32) / 255.0
        noise = tf.random.stateless_uniform([image_size, image_size, 3], seed)
        return pixel + noise

    def views(image, *, seed, num_views, image_size, strength, use_blur, **_):
        first = view(image, seed=seed, image_size=image_size)
        return tuple(first + float(i) for i in range(num_views))

    backend = augmentations.ViewBackend(views=views, windows=views)
    monkeypatch.setitem(augmentations.BACKENDS, "tf", backend)
    monkeypatch.setattr(augmentations, "finetune_view", view)


@pytest.fixture(scope="session")
def data_dir_of_shapes(tmp_path_factory):
    """Prepared ``simclr_shapes/tiny``."""
    folder = tmp_path_factory.mktemp("shapes")
    datasets.open_split("simclr_shapes/tiny", "train", data_dir=str(folder))
    return folder
