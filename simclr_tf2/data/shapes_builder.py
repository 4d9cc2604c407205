"""The embedded data set `simclr_shapes` as a TFDS builder: drawn, never downloaded."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_tf2.data import shapes_drawing, shapes_scene

NO_LABEL = -1
IMAGES_PER_CHUNK = 256

_DESCRIPTION = """
Drawn pictures with one textured object each: two shapes (ellipse, star) times five
textures (stripes, dots, checks, rings, plain) make ten classes. Colours go with the
class only now and then, so that pixels say little and shape and texture say all. A
fifth of the split `unlabeled` shows other shapes. Made for learning without labels on
a small machine.
"""


@dataclasses.dataclass(kw_only=True)
class ShapesConfig(tfds.core.BuilderConfig):
    """Sizes of one variant; an index shows the same scene in all variants."""

    image_size: int = 32
    num_train: int = 5000
    num_test: int = 3000
    num_unlabeled: int = 20000
    seed: int = shapes_scene.SEED


class SimclrShapes(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of `simclr_shapes`.

    `label` is the class in `train` and `test`, balanced, and NO_LABEL in `unlabeled`:
    -1 is the value that tfds.features.ClassLabel reserves for "no label", as in the
    unlabelled split of stl10. `index` is the number that draws the image again with
    `shapes_drawing.draw`.
    """

    # Bump whenever a pixel changes: TFDS then draws anew instead of reading old files.
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [
        ShapesConfig(name="default", description="32 px"),
        ShapesConfig(
            name="64",
            description="64 px",
            image_size=64,
            num_train=4000,
            num_test=2000,
            num_unlabeled=10000,
        ),
        ShapesConfig(
            name="96",
            description="96 px",
            image_size=96,
            num_train=2500,
            num_test=1500,
            num_unlabeled=5000,
        ),
        ShapesConfig(
            name="tiny",
            description="32 px, for tests",
            num_train=500,
            num_test=500,
            num_unlabeled=1000,
        ),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.image_size
        return self.dataset_info_from_configs(
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3)),
                    "label": tfds.features.ClassLabel(
                        names=list(shapes_scene.CLASS_NAMES)
                    ),
                    "bbox": tfds.features.BBoxFeature(),
                    "segmentation_mask": tfds.features.Image(
                        shape=(size, size, 1), use_colormap=True
                    ),
                    "index": tfds.features.Scalar(dtype=np.int64),
                }
            ),
            supervised_keys=("image", "label"),
            metadata=tfds.core.MetadataDict(seed=self.builder_config.seed),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Any]:
        del dl_manager  # nothing to download
        config = self.builder_config
        return {
            "train": self._generate_examples("train", config.num_train),
            "test": self._generate_examples("test", config.num_test),
            "unlabeled": self._generate_examples("unlabeled", config.num_unlabeled),
        }

    def _generate_examples(
        self, split: str, num_examples: int
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for start in range(0, num_examples, IMAGES_PER_CHUNK):
            indices = range(start, min(start + IMAGES_PER_CHUNK, num_examples))
            drawings = shapes_drawing.draw(
                indices,
                split=split,
                image_size=self.builder_config.image_size,
                seed=self.builder_config.seed,
            )
            images, masks = _png(drawings.images), _png(drawings.masks)
            for row, index in enumerate(indices):
                label = drawings.labels[row] if split != "unlabeled" else NO_LABEL
                yield (
                    index,
                    {
                        "image": io.BytesIO(images[row]),
                        "label": int(label),
                        "bbox": tfds.features.BBox(*map(float, drawings.boxes[row])),
                        "segmentation_mask": io.BytesIO(masks[row]),
                        "index": index,
                    },
                )


def _png(images: np.ndarray) -> list[bytes]:
    """Encode images [n, h, w, c] in one call, much faster than one by one."""
    return list(tf.io.encode_png(images).numpy())
