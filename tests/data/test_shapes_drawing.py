import dataclasses
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import simclr_tf2.data  # registers simclr_shapes
from simclr_tf2.data import shapes_builder, shapes_drawing, shapes_scene
from simclr_tf2.data.shapes_scene import CLASS_NAMES, SHAPES, TEXTURES

FIELDS = [field.name for field in dataclasses.fields(shapes_drawing.Drawings)]


def draw(indices, split="unlabeled", image_size=32, **kwargs):
    return shapes_drawing.draw(indices, split=split, image_size=image_size, **kwargs)


@pytest.fixture(scope="module")
def many():
    return draw(range(3000))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    splits, info = tfds.load("simclr_shapes/tiny", data_dir=data_dir, with_info=True)
    return splits, info, data_dir


# Sums over six images; see test_drawing_is_that_of_version_1_0_0.
PINNED = [1164160, 721696, 1025307, 895719, 473091, 718057]

# ------------------------------------------------------------------------- drawing


@pytest.mark.parametrize("image_size", [7, 32, 33])
def test_one_image_alone_equals_the_image_in_a_batch(image_size):
    batch = draw(range(70), image_size=image_size)
    for index in (0, 1, 41, 69):  # 69 is in the second batch at 32 px
        alone = draw([index], image_size=image_size)
        for field in FIELDS:
            np.testing.assert_array_equal(
                getattr(alone, field)[0], getattr(batch, field)[index]
            )


def test_order_and_repetition_of_indices_do_not_matter():
    forward, shuffled = draw(range(7)), draw([5, 2, 2, 6])
    np.testing.assert_array_equal(shuffled.images, forward.images[[5, 2, 2, 6]])


def test_two_processes_draw_the_same():
    # The package is stubbed: drawing needs numpy alone, TensorFlow takes long to load.
    code = f"""if True:
        import hashlib, sys, types
        package = types.ModuleType("simclr_tf2.data")
        package.__path__ = {list(simclr_tf2.data.__path__)!r}
        sys.modules["simclr_tf2.data"] = package
        from simclr_tf2.data import shapes_drawing
        assert "tensorflow" not in sys.modules
        drawings = shapes_drawing.draw(range(13), split="test", image_size=33)
        print(hashlib.sha256(drawings.images.tobytes()).hexdigest())
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout.strip()
    here = draw(range(13), split="test", image_size=33)
    assert other == hashlib.sha256(here.images.tobytes()).hexdigest()


def test_drawing_is_that_of_version_1_0_0():
    # When this fails on purpose: new numbers here, a new VERSION in the builder.
    assert str(shapes_builder.SimclrShapes.VERSION) == "1.0.0"
    images = draw([0, 1, 2, 3, 4, 10**6]).images.reshape(6, -1).astype(np.int64)
    weights = np.arange(images.shape[1]) % 7
    # Platforms may differ in the last bit of a sine: allow some pixels to be off by 1.
    np.testing.assert_allclose(images @ weights, PINNED, atol=100)


def test_random_words_are_the_counter_based_streams_of_numpy():
    words = shapes_scene.random_words(
        np.array([3, 5]), split="test", seed=7, num_words=9
    )
    for row, index in zip(words, (3, 5), strict=True):
        key = np.array([7, (1 << 48) | index], np.uint64)
        np.testing.assert_array_equal(row, np.random.Philox(key=key).random_raw(9))


def test_splits_and_seeds_share_no_image():
    variants = [draw(range(50), split=s) for s in shapes_scene.SPLITS]
    variants += [draw(range(50), seed=1)]
    images = np.concatenate([v.images for v in variants])
    assert len(np.unique(images.reshape(200, -1), axis=0)) == 200


def test_every_size_shows_the_same_scene():
    small, large = draw(range(20)), draw(range(20), image_size=96)
    np.testing.assert_array_equal(small.shapes, large.shapes)
    np.testing.assert_allclose(small.boxes, large.boxes, atol=2.5 / 32)  # thin tips
    shrunk = large.images.reshape(20, 32, 3, 32, 3, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - small.images).mean() < 12  # noise alone gives about 9


def test_labels_name_shape_and_texture_and_are_balanced():
    train = draw(range(230), split="train")
    names = [
        f"{SHAPES[s]}_{TEXTURES[t]}"
        for s, t in zip(train.shapes, train.textures, strict=True)
    ]
    assert names == [CLASS_NAMES[label] for label in train.labels]
    assert np.bincount(train.labels).tolist() == [23] * 10


def test_a_fifth_of_unlabeled_are_other_shapes_with_every_texture(many):
    others = many.shapes >= shapes_scene.NUM_CLASS_SHAPES
    assert abs(others.mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 3000)
    np.testing.assert_array_equal(many.labels == -1, others)
    pairs = set(zip(many.shapes[others], many.textures[others], strict=True))
    assert len(pairs) == 5 * len(TEXTURES)


def test_boxes_are_the_tight_boxes_of_the_masks(many):
    assert set(np.unique(many.masks)) == {0, 1}
    for mask, box in zip(many.masks[:50, ..., 0], many.boxes[:50], strict=True):
        ymin, xmin, ymax, xmax = np.rint(box * 32).astype(int)
        np.testing.assert_allclose(box * 32, [ymin, xmin, ymax, xmax], atol=1e-5)
        assert mask[ymin:ymax, xmin:xmax].sum() == mask.sum()
        for side in (mask[ymin], mask[ymax - 1], mask[:, xmin], mask[:, xmax - 1]):
            assert side.any()


def test_objects_are_large_and_mostly_inside(many):
    area = many.masks.mean(axis=(1, 2, 3))
    assert area.min() > 0.04
    assert area.max() < 0.65


def test_an_ellipse_has_the_area_of_its_axes():
    index = np.arange(0, 100, 10)  # ellipse_stripes
    words = shapes_scene.random_words(
        index,
        split="train",
        seed=shapes_scene.SEED,
        num_words=shapes_scene.NUM_UNIFORMS,
    )
    scene = shapes_scene.make_scene(
        shapes_scene.to_uniforms(words), index, split="train"
    )
    area = draw(index, split="train", image_size=192).masks.mean(axis=(1, 2, 3))
    expected = np.pi * (0.85 * scene.scale) ** 2 / 4  # the image has area 4
    np.testing.assert_allclose(area, expected, rtol=0.02)


def test_hsv_matches_the_standard_library():
    import colorsys

    rng = np.random.default_rng(0)
    hue, saturation, value = rng.random((3, 7))
    expected = [
        colorsys.hsv_to_rgb(*c) for c in zip(hue, saturation, value, strict=True)
    ]
    np.testing.assert_allclose(
        shapes_scene.hsv_to_rgb(hue, saturation, value), expected, atol=1e-12
    )


def test_noise_has_the_stated_deviation():
    words = np.random.default_rng(0).integers(2**64, size=(3, 5000), dtype=np.uint64)
    noise = shapes_drawing._noise(words, 9999)
    assert noise.shape == (3, 9999)
    assert abs(noise.mean()) < 1e-3
    assert abs(noise.std() / shapes_drawing.NOISE_SIGMA - 1) < 0.02


# ------------------------------------------------------------------------- builder


def test_tiny_loads_with_its_sizes_and_features(tiny):
    _, info, _ = tiny
    sizes = {name: split.num_examples for name, split in info.splits.items()}
    assert sizes == {"train": 500, "test": 500, "unlabeled": 1000}
    assert tuple(info.features["label"].names) == CLASS_NAMES
    assert info.features["image"].shape == (32, 32, 3)
    assert info.features["segmentation_mask"].shape == (32, 32, 1)
    assert info.supervised_keys == ("image", "label")


@pytest.mark.parametrize("split", ["test", "unlabeled"])
def test_what_is_read_is_what_is_drawn(tiny, split):
    rows = list(tfds.as_numpy(tiny[0][split].take(33)))
    drawn = draw([row["index"] for row in rows], split=split)
    for number, row in enumerate(rows):
        np.testing.assert_array_equal(row["image"], drawn.images[number])
        np.testing.assert_array_equal(row["segmentation_mask"], drawn.masks[number])
        np.testing.assert_allclose(row["bbox"], drawn.boxes[number], atol=1e-6)
        label = drawn.labels[number] if split == "test" else shapes_builder.NO_LABEL
        assert row["label"] == label


def test_every_index_is_read_once_and_labels_only_where_they_exist(tiny):
    for split, dataset in tiny[0].items():
        rows = dataset.map(lambda row: (row["index"], row["label"])).batch(2000)
        index, label = (x.numpy() for x in rows.get_single_element())
        assert sorted(index) == list(range(len(index)))
        expected = {-1} if split == "unlabeled" else set(range(10))
        assert set(label) == expected


def test_a_slice_of_train_holds_all_classes(tiny):
    dataset = tfds.load(
        "simclr_shapes/tiny", data_dir=tiny[2], split="train[:20%]", as_supervised=True
    )
    labels = [int(label) for _, label in dataset]
    assert len(labels) == 100
    assert set(labels) == set(range(10))


def test_other_configs_are_known_by_name(tmp_path):
    for name, size in (("", 32), ("/64", 64), ("/96", 96)):
        builder = tfds.builder("simclr_shapes" + name, data_dir=tmp_path)
        assert builder.info.features["image"].shape == (size, size, 3)
    assert tf.io.gfile.listdir(str(tmp_path)) == []
