"""Small TFDS sets under real names: TFDS finds them where the real ones would lie."""

import numpy as np
import tensorflow_datasets as tfds


def prepare(name, folder, sizes):
    """Prepare noise of the form of TFDS's ``name`` in ``folder``; nothing is fetched.

    Version, configuration and features are the real builder's, which later reads the
    files from disk.

    Args:
        name: TFDS name, with its config.
        folder: The ``--data_dir``.
        sizes: Split -> number of images.
    """
    real = tfds.builder(name, data_dir=str(folder))
    variant = real.builder_config

    class StandIn(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = real.version
        BUILDER_CONFIGS = (
            [tfds.core.BuilderConfig(name=variant.name, version=real.version)]
            if variant
            else []
        )

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=real.info.features)

        def _split_generators(self, dl_manager):
            return {s: self._generate_examples(s) for s in sizes}

        def _generate_examples(self, split):
            for n in range(sizes[split]):
                yield n, _example(real.info.features, n)

    StandIn.name = real.name
    builder = StandIn(data_dir=str(folder))
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
    assert tfds.builder(name, data_dir=str(folder)).is_prepared()


def _example(features, n):
    """Number ``n``: labels in turn, sizes that vary where the set's do."""
    rng = np.random.default_rng(n)
    shape = [side or int(rng.integers(40, 60)) for side in features["image"].shape]
    values = {
        "image": rng.integers(0, 256, shape, np.uint8),
        "label": n % features["label"].num_classes,
    }
    return values | {key: str(n) for key in features if key not in values}


def voc_example(features, n):
    """Classes n and n + 1 of 3, the second one difficult in every other image."""
    rng = np.random.default_rng(n)
    sure, other = [n % 3], [(n + 1) % 3]
    return {
        "image": rng.integers(0, 256, [40 + n % 5, 50, 3], np.uint8),
        "image/filename": f"{n}.jpg",
        "objects": [],
        "labels": sorted(sure + other),
        "labels_no_difficult": sorted(sure + (other if n % 2 else [])),
    }
