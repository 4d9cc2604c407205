"""Pixels of more than 8 bits: one range for a data set, right values, said."""

import io

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from simclr_tf2 import augmentations
from simclr_tf2.config import DataConfig
from simclr_tf2.data import datasets, image_files, opening
from simclr_tf2.data.array_files import from_arrays
from simclr_tf2.errors import ConfigError

STEP = 1 / 65535  # of the 16 bits that images are kept with
RNG = np.random.default_rng(0)
UNIT = RNG.random((4, 5, 6, 3))  # the pictures that every case below holds
UNIT[0, 0, 0], UNIT[0, 0, 1] = 0, 1  # black and white are in them


def as_unit(images):
    return images / np.iinfo(images.dtype).max


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "low", "high", "setting", "decided"),
    [
        ("float32", 0, 1, "auto", "full"),
        ("float64", 0, 1, "auto", "full"),
        ("float16", 0, 1, "full", "full"),
        ("float32", -1, 1, "auto", "-1,1"),
        ("float32", 0, 255, "auto", "0,255"),
        ("float32", -0.3, 1.7, "-0.3,1.7", "-0.3,1.7"),
        ("uint16", 0, 65535, "auto", "full"),
        ("uint16", 0, 4095, "auto", "0,4095"),
        ("uint16", 0, 1023, "auto", "0,1023"),
        ("int16", 0, 4095, "auto", "0,4095"),
        ("int16", 0, 32767, "auto", "0,32767"),
        ("int16", -1024, 3071, "-1024,3071", "-1024,3071"),
        ("int64", 0, 255, "auto", "0,255"),
        ("uint16", 0, 255, "auto", "0,255"),
        ("uint8", 0, 255, "auto", "auto"),
        ("uint8", 0, 100, "0,100", "0,100"),
    ],
)
def test_arrays_of_any_type_are_read_over_their_range(
    kind, low, high, setting, decided
):
    stored = low + UNIT * (high - low)
    if np.dtype(kind).kind in "iu":
        stored = np.rint(stored)
    stored = stored.astype(kind)
    split = from_arrays(stored, pixels=setting)
    images, _ = split.arrays()
    assert split.pixel_range == decided and images.dtype in (np.uint8, np.uint16)
    expected = (stored.astype(np.float64) - low) / (high - low)
    np.testing.assert_allclose(as_unit(images), expected, rtol=0, atol=STEP)


def test_masks_are_black_and_white():
    mask = UNIT[..., :1] > 0.5
    np.testing.assert_array_equal(from_arrays(mask).arrays()[0], mask * 255)


@pytest.mark.parametrize(
    ("images", "suggested"),
    [
        (UNIT * 3 - 1.5, "--pixel_range=LO,HI"),  # standardised
        (UNIT * 40, "(0,40 is"),
        ((UNIT * 4000 - 1000).astype(np.int16), "-1000,3000"),
        ((UNIT * 1e6).astype(np.int32), "(0,1000000 is"),
    ],
)
def test_values_that_do_not_say_what_white_is_are_refused_in_one_line(
    images, suggested
):
    with pytest.raises(ConfigError) as caught:
        from_arrays(images)
    text = str(caught.value)
    assert suggested in text and str(images.dtype) in text and "\n" not in text


def test_nan_is_black_and_its_images_are_named(caplog):
    images = UNIT.astype(np.float32)
    images[3, :2] = np.nan
    images[1, 0, 0] = np.inf
    found, _ = from_arrays(images, pixels="full").arrays()
    assert (found[3, :2] == 0).all() and (found[1, 0, 0] == 65535).all()
    np.testing.assert_allclose(as_unit(found[2]), UNIT[2], rtol=0, atol=STEP)
    assert "1 of 4 images hold NaN (image 3)" in caplog.text
    images[1] = np.nan
    with pytest.raises(ConfigError, match=r"1 of 4 .* nothing but NaN \(image 1\)"):
        from_arrays(images)


@pytest.mark.parametrize(
    ("images", "setting", "flag"),
    [
        ((UNIT * 4095).astype(np.uint16), "full", "--pixel_range=0,4095"),
        ((UNIT * 20).astype(np.uint8), "auto", "--pixel_range=0,20"),
        ((30000 + UNIT * 900).astype(np.uint16), "auto", "--pixel_range=30000,30900"),
        (UNIT * 0.02, "auto", "--pixel_range=0,0.02"),
    ],
)
def test_a_range_that_is_mostly_empty_is_warned_of(images, setting, flag, caplog):
    from_arrays(images, pixels=setting)
    assert "nearly flat" in caplog.text and flag in caplog.text


def test_hot_pixels_are_not_the_range_and_bright_spots_are(caplog):
    """A dead pixel in a 12-bit image, and stars on a black sky."""
    images = np.rint(np.tile(UNIT, (8, 8, 8, 1)) * 4095).astype(np.uint16)
    images[0, 0, 0] = 65535
    assert from_arrays(images).pixel_range == "full"
    assert "nearly flat; --pixel_range=0,4095" in caplog.text
    caplog.clear()
    stars = np.zeros_like(images)
    stars[:, 3, 4] = 60000
    assert from_arrays(stars, name="stars").pixel_range == "full"
    assert caplog.text == ""


def test_big_endian_arrays_are_read():
    stored = (UNIT * 4095).astype(">u2")
    images, _ = from_arrays(stored).arrays()
    np.testing.assert_allclose(as_unit(images), stored / 4095, rtol=0, atol=STEP)


def test_a_good_range_is_not_warned_of(caplog):
    from_arrays((UNIT * 65535).astype(np.uint16))
    from_arrays(UNIT)
    from_arrays((UNIT * 255).astype(np.uint8))
    from_arrays((UNIT * 4095).astype(np.uint16), pixels="0,4095")
    assert caplog.text == ""


def test_one_range_for_all_splits_of_a_file(tmp_path):
    """The dark split is not made brighter than the other."""
    dark, bright = np.full((2, 4, 4, 3), 900, "u2"), np.full((2, 4, 4, 3), 4000, "u2")
    np.savez(tmp_path / "set.npz", train_images=dark, test_images=bright)
    data = DataConfig(dataset=str(tmp_path / "set.npz"))
    for split, value in (("train", 900), ("test", 4000)):
        images, _ = opening.open_split(data, split).arrays()
        np.testing.assert_allclose(as_unit(images), value / 4095, atol=STEP)


def folder_of(tmp_path, high, *, name="images", count=4):
    """Gray 16-bit PNG files of the pictures, and what they hold."""
    stored = np.rint(UNIT[..., 0] * high).astype(np.uint16)
    (tmp_path / name).mkdir()
    for i, pixels in enumerate(stored[:count]):
        (tmp_path / name / f"{i}.png").write_bytes(png(pixels))
    return stored


def opened(tmp_path, name="images", **settings):
    data = DataConfig(
        image_dir=str(tmp_path / name),
        data_dir=str(tmp_path / "data"),
        **{"image_channels": 1, **settings},
    )
    split = opening.open_split(data, "all")
    order = [int(p.rsplit(b"/", 1)[1][:-4]) for p in split.source.paths]
    images, _ = split.arrays()
    return split, images[np.argsort(order)][..., 0]


@pytest.mark.parametrize("check", ["decode", "header"])
@pytest.mark.parametrize(
    ("high", "setting", "decided", "white"),
    [
        (4095, "auto", "0,4095", 4095),
        (4095, "full", "full", 65535),
        (65535, "auto", "full", 65535),
        (16383, "auto", "0,16383", 16383),
        (3000, "0,3000", "0,3000", 3000),
    ],
)
def test_folders_of_sixteen_bits(tmp_path, check, high, setting, decided, white):
    stored = folder_of(tmp_path, high)
    split, images = opened(tmp_path, pixel_range=setting, check_files=check)
    assert split.pixel_range == decided and split.pixel_bytes == 2
    np.testing.assert_allclose(as_unit(images), stored / white, rtol=0, atol=STEP)


def test_every_bit_is_kept():
    """Of the full range today's 256 levels become 65,536."""
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = image_files.decode_wide(png(ramp), channels=1, pixels="full")[..., 0]
    np.testing.assert_array_equal(found, ramp)


def test_photos_beside_scans_keep_their_own_range(tmp_path):
    stored = folder_of(tmp_path, 4095)
    eight = np.rint(UNIT[3] * 255).astype(np.uint8)
    (tmp_path / "images" / "3.png").write_bytes(png(eight))
    data = DataConfig(image_dir=str(tmp_path / "images"), data_dir=str(tmp_path))
    split = opening.open_split(data, "all")
    order = [int(p.rsplit(b"/", 1)[1][:-4]) for p in split.source.paths]
    images = as_unit(split.arrays()[0])[np.argsort(order)]
    np.testing.assert_allclose(images[3], eight / 255, rtol=0, atol=STEP)
    scans = np.repeat(stored[:3, ..., None], 3, -1) / 4095
    np.testing.assert_allclose(images[:3], scans, rtol=0, atol=STEP)


def test_tiff_scans_are_read_over_the_range_of_the_set(tmp_path):
    stored = folder_of(tmp_path, 4095, count=2)
    for i in (2, 3):
        Image.fromarray(stored[i]).save(tmp_path / "images" / f"{i}.tif")
    eight = np.rint(UNIT[3] * 255).astype(np.uint8)
    Image.fromarray(eight).save(tmp_path / "images" / "3.tif")
    data = DataConfig(image_dir=str(tmp_path / "images"), data_dir=str(tmp_path))
    split = opening.open_split(data, "all")
    assert split.pixel_range == "0,4095"
    order = [int(p.rsplit(b"/", 1)[1][:1]) for p in split.source.paths]
    images = as_unit(split.arrays()[0])[np.argsort(order)]
    scans = np.repeat(stored[:3, ..., None], 3, -1) / 4095
    np.testing.assert_allclose(images[:3], scans, rtol=0, atol=STEP)
    np.testing.assert_allclose(images[3], eight / 255, rtol=0, atol=STEP)


def test_eight_bit_files_are_read_as_ever(tmp_path):
    (tmp_path / "images").mkdir()
    pixels = np.rint(UNIT[0] * 255).astype(np.uint8)
    (tmp_path / "images" / "0.png").write_bytes(png(pixels))
    for setting in ("auto", "full", "0,4095"):  # the last is of a run on scans
        data = DataConfig(
            image_dir=str(tmp_path / "images"),
            data_dir=str(tmp_path),
            pixel_range=setting,
        )
        split = opening.open_split(data, "all")
        images, _ = split.arrays()
        assert images.dtype == np.uint8 and split.pixel_range == setting
        np.testing.assert_array_equal(images[0], pixels)


def test_features_of_another_range_are_not_taken_for_these(tmp_path):
    folder_of(tmp_path, 4095)
    found = {
        opened(tmp_path, pixel_range=r)[0].source.fingerprint
        for r in ("0,4095", "full", "0,4000")
    }
    assert len(found) == 3


def test_views_of_sixteen_bits_are_those_of_the_float_image(tmp_path):
    stored = folder_of(tmp_path, 4095)
    split, _ = opened(tmp_path, image_channels=3)
    example = next(iter(split.as_dataset()))
    name = int(split.source.paths[0].rsplit(b"/", 1)[1][:-4])
    unit = np.repeat(stored[name][..., None] / 4095, 3, -1).astype(np.float32)
    for make in (augmentations.views, augmentations.BACKENDS["numba"].views):
        settings = {"seed": tf.constant([1, 2]), "num_views": 1, "image_size": 8}
        (view,) = make(split.source.decode(example), use_blur=False, **settings)
        (expected,) = make(tf.constant(unit), use_blur=False, **settings)
        np.testing.assert_allclose(view, expected, rtol=0, atol=20 * STEP)


def records(tmp_path, high):
    stored = np.rint(UNIT * high).astype(np.uint16)
    with tf.io.TFRecordWriter(str(tmp_path / "train.tfrecord")) as writer:
        for pixels in stored:
            value = {"value": [tf.io.encode_png(pixels).numpy()]}
            feature = {"image": tf.train.Feature(bytes_list=value)}
            writer.write(
                tf.train.Example(features={"feature": feature}).SerializeToString()
            )
    return stored


def test_tfrecords_of_sixteen_bits(tmp_path):
    stored = records(tmp_path, 4095)
    data = DataConfig(
        tfrecords=str(tmp_path / "train.tfrecord"), data_dir=str(tmp_path)
    )
    split = opening.open_split(data, "train")
    images = [split.source.decode(e).numpy() for e in split.as_dataset()]
    assert split.pixel_range == "0,4095"
    expected = stored / 4095
    np.testing.assert_allclose(as_unit(np.stack(images)), expected, rtol=0, atol=STEP)


class TinyFloats(tfds.core.GeneratorBasedBuilder):
    """Plain float features, and encoded ones of 16 bits."""

    VERSION = tfds.core.Version("1.0.0")
    SKIP_REGISTERING = True

    def _info(self):
        features = {
            "plain": tfds.features.Tensor(shape=(5, 6, 3), dtype=np.float32),
            "image": tfds.features.Image(shape=(5, 6, 3), dtype=np.uint16),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for n, unit in enumerate(UNIT):
            pixels = np.rint(unit * 1023).astype(np.uint16)
            yield n, {"plain": unit.astype(np.float32), "image": pixels}


def test_features_of_tfds_of_other_types(tmp_path):
    TinyFloats(data_dir=str(tmp_path)).download_and_prepare()
    for key, decided in (("plain", "full"), ("image", "0,1023")):
        split = datasets.open_split(
            "tiny_floats", "train", data_dir=str(tmp_path), image_key=key
        )
        images, _ = split.arrays()
        assert split.pixel_range == decided
        # TFDS stores examples in an order of its own
        found = np.sort(as_unit(images).reshape(4, -1).mean(1))
        expected = np.sort(UNIT.reshape(4, -1).mean(1))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("value", ["0", "5,5", "9,1", "a,b", "0,1,2", "nan,1", ""])
def test_a_range_that_is_none_is_refused(value):
    with pytest.raises(ConfigError, match="--pixel_range must be auto, full, or LO,HI"):
        DataConfig(pixel_range=value)


def test_a_range_is_spelled_one_way():
    assert DataConfig(pixel_range="0.0, 4095").pixel_range == "0,4095"
    assert DataConfig(pixel_range=(-1, 1)).pixel_range == "-1,1"
