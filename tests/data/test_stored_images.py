"""TIFF by tifffile, PPM and PGM, .npy tiles and DICOM: the values of other programs."""

import io

import numpy as np
import pytest
from PIL import Image

from simclr_tf2.config import DataConfig
from simclr_tf2.data import (
    dicom_files,
    file_index,
    image_files,
    image_headers,
    image_sets,
    layouts,
    stored_images,
)
from simclr_tf2.errors import ConfigError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (7, 11, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (7, 11, 3)).astype(np.uint16)
REAL = RNG.normal(size=(7, 11)).astype(np.float32)


def tiff(values, **options):
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def npy(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def pillow(values, form):
    file = io.BytesIO()
    Image.fromarray(values).save(file, form)
    return file.getvalue()


def pnm(kind, values, largest):
    """A binary PGM or PPM as its format says; Pillow writes 8 bits alone."""
    height, width = values.shape[:2]
    stored = values.astype(np.uint8 if largest < 256 else ">u2").tobytes()
    return f"{kind} # a comment\n{width} {height}\n{largest}\n".encode() + stored


def read(contents):
    """The values and the header, which must say the same."""
    header, values = image_headers.parse(contents), stored_images.read(contents)
    assert values.shape == (header.height, header.width, header.channels)
    assert values.dtype == header.kind and header.complete
    return values


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_colour_tiff_of_16_bits_keeps_them(planes):
    image = DEEP if planes == "contig" else np.moveaxis(DEEP, -1, 0)
    contents = tiff(image, photometric="rgb", planarconfig=planes, compression="zlib")
    np.testing.assert_array_equal(read(contents), DEEP)


def test_16_bits_become_the_upper_8_without_tifffile(monkeypatch):
    contents = tiff(DEEP, photometric="rgb")
    monkeypatch.setattr("simclr_tf2.data.wide_tiff_files.is_installed", lambda: False)
    np.testing.assert_array_equal(read(contents), DEEP >> 8)


def test_lzw_is_read():
    pytest.importorskip("imagecodecs")
    contents = tiff(DEEP, photometric="rgb", compression="lzw", predictor=True)
    np.testing.assert_array_equal(read(contents), DEEP)


@pytest.mark.parametrize("kind", ["float32", "float64", "int16", "int32", "uint32"])
def test_other_numbers_of_a_tiff(kind):
    values = (REAL * 100).astype(kind)
    np.testing.assert_array_equal(read(tiff(values))[..., 0], values)


def test_five_channels_of_a_tiff():
    five = RNG.integers(0, 4096, (7, 11, 5)).astype(np.uint16)
    contents = tiff(five, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(read(contents), five)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_wide_tiff_is_turned_as_an_image_of_8_bits(orientation):
    contents = tiff(DEEP, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    expected = image_files.orient(DEEP, orientation)
    np.testing.assert_array_equal(read(contents), expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("largest", [255, 4095, 65535])
def test_binary_ppm_and_pgm(channels, largest):
    values = RNG.integers(0, largest + 1, (7, 11, channels))
    values[0, 0] = largest
    contents = pnm("P6" if channels == 3 else "P5", values, largest)
    np.testing.assert_array_equal(read(contents), values)
    if largest == 255:
        np.testing.assert_array_equal(
            np.asarray(Image.open(io.BytesIO(contents))), values.squeeze()
        )


@pytest.mark.parametrize("largest", [1, 15, 100])
def test_few_bits_of_a_pgm_are_stretched_as_pillow_does(largest):
    values = RNG.integers(0, largest + 1, (7, 11))
    contents = pnm("P5", values, largest)
    want = np.asarray(Image.open(io.BytesIO(contents)).convert("L"))
    np.testing.assert_allclose(read(contents)[..., 0], want, atol=1)  # it rounds down
    np.testing.assert_array_equal(
        read(contents)[..., 0], np.rint(values * 255 / largest)
    )


def test_bitmaps_and_text():
    bits = RGB[..., 0] > 127
    packed = pillow(bits, "PPM")
    assert packed.startswith(b"P4")
    np.testing.assert_array_equal(read(packed)[..., 0], bits * 255)
    text = b"P3\n# colours\n2 1\n300\n" + b"0 1 2 # first\n 298 299 300\n"
    expected = [[[0, 1, 2], [298, 299, 300]]]
    np.testing.assert_array_equal(read(text), expected)
    assert read(b"P2 2 1 7\n0 7 ")[..., 0].tolist() == [[0, 255]]


@pytest.mark.parametrize(
    "values", [RGB, DEEP, REAL, RGB[..., 0] > 9, DEEP.astype(">u2"), RGB[..., :1] - 9.5]
)
def test_npy_tiles(values):
    found = read(npy(values))
    if values.dtype == bool:
        values = values * np.uint8(255)
    np.testing.assert_array_equal(found.reshape(values.shape), values)


@pytest.mark.parametrize(
    ("contents", "why"),
    [
        (npy(RGB[..., 0, 0]), "one image is .h, w."),
        (npy(np.zeros((2, 7, 11, 3))), "--dataset=FILE.npy"),
        (npy(np.zeros((3, 200, 200))), "np.moveaxis"),
        (npy(np.array(["a", "b"])), "an image has numbers"),
        (npy(np.zeros(3, "c16")), "an image has numbers"),
        (b"P5 7", "cut off header"),
        (b"P5 7 0 70000 ", "not 1 to 65535"),
        (b"\x93NUMPY\x01\x00", "cut off header"),
    ],
)
def test_what_is_no_image_is_one_line(contents, why):
    with pytest.raises(image_headers.BadImage, match=why) as error:
        image_headers.parse(contents)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "contents", [npy(DEEP), pnm("P6", DEEP, 65535), b"P2 2 2 7 1 2 3 4"]
)
def test_cut_off_files_are_found(tmp_path, contents):
    (tmp_path / "a.pgm").write_bytes(contents[:-2])
    listing = layouts.list_folder(str(tmp_path))
    index = file_index.build_index(listing)
    assert index.error[0]


def folder_of(folder, **files):
    """Write files NAME__SUFFIX=contents, and return the settings that read them."""
    folder.mkdir(exist_ok=True)
    for name, contents in files.items():
        (folder / name.replace("__", ".")).write_bytes(contents)
    image_sets._open_image_set.cache_clear()
    return DataConfig(image_dir=str(folder), data_dir=str(folder.parent / "data"))


def decoded(data, channels=3, pixels="auto"):
    images = image_sets.open_image_set(data)
    split = images.open("all", channels=channels, pixels=pixels)
    found = {}
    for example in split.as_dataset():
        path = split.source.paths[int(example["index"])].decode()
        found[path.rpartition("/")[2]] = split.source.decode(example).numpy()
    return found, split


def test_one_range_for_all_kinds_of_16_bits(tmp_path):
    small = DEEP >> 4  # 12 bits
    data = folder_of(
        tmp_path / "set",
        a__tif=tiff(small, photometric="rgb"),
        b__ppm=pnm("P6", small, 4095),
        c__tif=pillow(small[..., 0], "TIFF"),
        d__pgm=pnm("P5", RGB[..., 0], 255),
    )
    found, split = decoded(data)
    assert split.pixel_range == "0,4095"
    expected = np.rint(small * (65535 / 4095))
    np.testing.assert_allclose(found["a.tif"], expected, atol=1)
    np.testing.assert_array_equal(found["a.tif"], found["b.ppm"])
    np.testing.assert_array_equal(found["a.tif"][..., 0], found["c.tif"][..., 1])
    np.testing.assert_array_equal(found["d.pgm"], RGB[..., :1] * np.uint16([257] * 3))


def test_float_tiles_have_a_range_and_any_number_of_channels(tmp_path):
    five = RNG.random((7, 11, 5)).astype(np.float32)
    data = folder_of(tmp_path / "set", a__npy=npy(five), b__npy=npy(five[::-1]))
    found, split = decoded(data, channels=5)
    assert split.pixel_range == "full" and split.image_shape == (7, 11, 5)
    np.testing.assert_array_equal(found["a.npy"], np.rint(five * 65535.0))
    with pytest.raises(ConfigError, match="5 channels.*pass --image_channels=5"):
        decoded(data, channels=3)


def test_floats_without_a_plain_range_ask_for_one(tmp_path):
    data = folder_of(tmp_path / "set", a__tif=tiff(REAL * 1000))
    with pytest.raises(ConfigError, match="--pixel_range=LO,HI"):
        decoded(data)
    found, _ = decoded(data, channels=1, pixels="-500,500")
    want = np.rint(np.clip(REAL * 1000 + 500, 0, 1000) * 65.535)
    np.testing.assert_allclose(found["a.tif"][..., 0], want, atol=1)


def test_npy_beside_images_is_left_out(tmp_path):
    data = folder_of(tmp_path / "set", a__png=pillow(RGB, "PNG"), labels__npy=npy(REAL))
    images = image_sets.open_image_set(data)
    assert images.listing.paths == ("a.png",)
    assert images.listing.others == {".npy": 1}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz"])
def test_an_archive_is_named_as_one(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    command = "unzip" if name == "a.zip" else "tar -xf"
    for place in (tmp_path / name, tmp_path):
        with pytest.raises(ConfigError, match="archive.*unpack.*" + command) as error:
            layouts.list_folder(str(place))
        assert str(tmp_path / name) in str(error.value)
        assert "\n" not in str(error.value)


# DICOM


def dicom(values, **elements):
    pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    file = Dataset()
    file.SOPClassUID, file.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    file.file_meta = FileMetaDataset()
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.Rows, file.Columns = values.shape[:2]
    file.SamplesPerPixel = 3 if values.ndim == 3 else 1
    if values.ndim == 3:
        file.PlanarConfiguration = 0
    file.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    file.BitsAllocated = file.BitsStored = values.dtype.itemsize * 8
    file.HighBit = file.BitsStored - 1
    file.PixelRepresentation = int(values.dtype.kind == "i")
    file.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    for name, value in elements.items():
        setattr(file, name, value)
    stream = io.BytesIO()
    file.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


CT = (RNG.random((7, 11)) * 3000).astype(np.uint16)
HOUNSFIELD = {"RescaleSlope": 2, "RescaleIntercept": -1024}
WINDOW = {"WindowCenter": 40, "WindowWidth": 400}


def test_slope_and_intercept_are_applied_as_pydicom_does():
    found = read(dicom(CT, **HOUNSFIELD))
    np.testing.assert_array_equal(found[..., 0], CT * 2.0 - 1024)
    assert image_headers.parse(dicom(CT, **HOUNSFIELD)).windowed is False


def test_a_window_says_what_is_black_and_white(tmp_path):
    """Between center - 0.5 - (width - 1) / 2 and + (DICOM PS3.3 C.11.2.1.2.1)."""
    data = folder_of(
        tmp_path / "set",
        a__dcm=dicom(CT, **HOUNSFIELD, **WINDOW),
        b__dcm=dicom(
            CT, **HOUNSFIELD, **WINDOW, PhotometricInterpretation="MONOCHROME1"
        ),
    )
    found, split = decoded(data, channels=1)
    assert split.pixel_range == "full"
    low, high = 39.5 - 399 / 2, 39.5 + 399 / 2
    want = np.clip((CT * 2.0 - 1024 - low) / (high - low), 0, 1) * 65535
    np.testing.assert_allclose(found["a.dcm"][..., 0], want, atol=1)
    np.testing.assert_allclose(found["b.dcm"][..., 0], 65535 - want, atol=1)
    found, _ = decoded(data, channels=1, pixels="-1000,2000")
    want = np.clip((CT * 2.0 - 24) / 3000, 0, 1) * 65535
    np.testing.assert_allclose(found["a.dcm"][..., 0], want, atol=1)
    np.testing.assert_allclose(found["b.dcm"][..., 0], 65535 - want, atol=1)


def test_a_window_is_pydicoms():
    from pydicom import dcmread
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    contents = dicom(CT, **HOUNSFIELD, **WINDOW, VOILUTFunction="SIGMOID")
    file = dcmread(io.BytesIO(contents))
    shown = apply_voi_lut(apply_modality_lut(file.pixel_array, file), file)
    want = (shown + 1024) / (65535 * 2) * 255  # black and white of these 16 bits
    found = stored_images.read_8_bit(contents)[..., 0]
    np.testing.assert_allclose(found, want, atol=1)


def test_colours_and_8_bits(tmp_path):
    data = folder_of(
        tmp_path / "set",
        a__dcm=dicom(RGB),
        b__dcm=dicom(RGB[..., 0]),
        c__dcm=dicom(RGB[..., 0], WindowCenter=100, WindowWidth=101),
    )
    found, split = decoded(data)
    assert split.pixel_bytes == 1
    np.testing.assert_array_equal(found["a.dcm"], RGB)
    np.testing.assert_array_equal(found["b.dcm"][..., 2], RGB[..., 0])
    want = np.clip((RGB[..., 0] - 49.5) / 100, 0, 1) * 255
    np.testing.assert_allclose(found["c.dcm"][..., 0], want, atol=1)


def test_some_with_a_window_and_some_without_need_a_range(tmp_path):
    data = folder_of(
        tmp_path / "set",
        a__dcm=dicom(CT, **HOUNSFIELD, **WINDOW),
        b__dcm=dicom(CT, **HOUNSFIELD),
    )
    with pytest.raises(ConfigError, match="1 of the 2 images.*--pixel_range=LO,HI"):
        decoded(data, channels=1)


def test_damaged_and_foreign_dicom_is_one_line(tmp_path):
    contents = dicom(CT)
    data = folder_of(
        tmp_path / "set", a__dcm=contents, b__dcm=contents[:200], c__dcm=contents[:-40]
    )
    images = image_sets.look_at(data)
    assert images.index.good.tolist() == [True, False, False]
    assert all("\n" not in error for error in images.index.error)


def test_without_pydicom_the_command_is_named(tmp_path, monkeypatch):
    contents = dicom(CT)
    monkeypatch.setattr(dicom_files, "is_installed", lambda: False)
    data = folder_of(tmp_path / "set", a__dcm=contents)
    with pytest.raises(
        ConfigError, match=r"pip install 'simclr-tf2\[dicom\]'"
    ) as error:
        image_sets.open_image_set(data)
    assert "\n" not in str(error.value)
    with pytest.raises(image_headers.BadImage, match=r"simclr-tf2\[dicom\]"):
        image_headers.parse(contents)
