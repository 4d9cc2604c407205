import logging
import socket

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_tf2.data import datasets, prepare
from simclr_tf2.errors import ConfigError


def open_error(*args, **kwargs):
    """The message of the ConfigError that opening raises; it must be one line."""
    with pytest.raises(ConfigError) as caught:
        datasets.open_split(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


def test_a_split_knows_its_numbers_names_and_shape(data_dir):
    split = datasets.open_split("tiny_gray", "train", data_dir=data_dir)
    assert split.num_examples == 23
    assert (split.num_classes, split.class_names) == (3, ("a", "b", "c"))
    assert split.has_labels
    assert split.image_shape == (7, 5, 3)
    assert split.source.shards.take.sum() == 23 and len(split.source.shards.files) == 5


def test_gray_images_become_rgb_in_the_order_of_the_index(data_dir):
    split = datasets.open_split("tiny_gray", "train", data_dir=data_dir)
    images, labels = split.arrays()
    assert images.shape == (23, 7, 5, 3) and images.dtype == np.uint8
    assert labels.shape == (23,) and labels.dtype == np.int64
    assert (images == images[:, :1, :1, :1]).all()
    values = images[:, 0, 0, 0].astype(int)
    assert sorted(values) == [10 * n for n in range(23)]
    np.testing.assert_array_equal(values // 10 % 3, labels)
    streamed = [e["label"] for e in split.as_dataset().as_numpy_iterator()]
    np.testing.assert_array_equal(streamed, labels)


def test_arrays_are_decoded_once_and_cannot_be_changed(data_dir):
    split = datasets.open_split("tiny_gray", "train", data_dir=data_dir)
    first, second = split.arrays()[0], split.arrays()[0]
    assert first.ctypes.data == second.ctypes.data
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0


@pytest.mark.parametrize(
    ("spec", "count"),
    [("train[:50%]", 12), ("train[-3:]", 3), ("train[:3]+test[2:4]", 5)],
)
def test_slices_and_sums_of_splits(data_dir, spec, count):
    split = datasets.open_split("tiny_gray", spec, data_dir=data_dir)
    assert split.num_examples == count
    assert split.source.shards.take.sum() == count
    assert len(split.arrays()[0]) == count


def test_images_of_various_sizes_do_not_fit_as_arrays(data_dir):
    split = datasets.open_split("tiny_sizes", "train", data_dir=data_dir)
    assert split.image_shape == (None, None, 3)
    assert not split.fits_in_memory
    with pytest.raises(ConfigError, match="does not fit in memory"):
        split.arrays()


def test_a_set_above_the_limit_does_not_fit_as_arrays(data_dir, monkeypatch):
    split = datasets.open_split("tiny_gray", "train", data_dir=data_dir)
    monkeypatch.setattr(datasets, "MEMORY_LIMIT", 23 * 7 * 5 * 3)
    assert split.fits_in_memory
    monkeypatch.setattr(datasets, "MEMORY_LIMIT", 23 * 7 * 5 * 3 - 1)
    assert not split.fits_in_memory


@pytest.mark.parametrize(
    ("name", "spec", "classes"),
    [
        ("tiny_sizes", "unlabelled", 4),
        ("tiny_sizes", "train+unlabelled", 4),
        ("tiny_no_label", "train", None),
    ],
)
def test_labels_of_minus_one_are_no_labels(data_dir, name, spec, classes):
    split = datasets.open_split(name, spec, data_dir=data_dir)
    assert not split.has_labels
    assert split.num_classes == classes
    with pytest.raises(ConfigError, match="has no labels"):
        datasets.require_labels(split)
    if split.fits_in_memory:
        assert split.arrays()[1] is None


def test_require_labels_accepts_a_labelled_split(data_dir):
    datasets.require_labels(
        datasets.open_split("tiny_sizes", "train", data_dir=data_dir)
    )


def test_simclr_shapes_is_drawn_on_first_use_with_one_log_line(
    tmp_path, caplog, capsys, monkeypatch
):
    monkeypatch.setattr("simclr_tf2.data.shapes_builder.IMAGES_PER_CHUNK", 500)
    caplog.set_level(logging.INFO)
    open_it = lambda: datasets.open_split(  # noqa: E731
        "simclr_shapes/tiny", "unlabeled", data_dir=str(tmp_path)
    )
    split = open_it()
    assert [r.message for r in caplog.records] == [
        f"drawing simclr_shapes/tiny into {tmp_path} (once)"
    ]
    assert capsys.readouterr().out == ""
    assert (split.num_classes, split.has_labels) == (10, False)
    assert split.num_examples == len(split.arrays()[0])
    caplog.clear()
    assert open_it().num_examples == split.num_examples
    assert not caplog.records


def test_unprepared_is_refused_without_asking_the_network(tmp_path, monkeypatch):
    asked = []
    refuse = lambda *args, **_: asked.append(args)  # noqa: E731
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    monkeypatch.setattr(tfds.core.utils.gcs_utils, "exists", refuse)
    message = open_error("cifar10", "train", data_dir=str(tmp_path))
    assert not asked
    assert "cifar10" in message and "--download" in message
    assert not list(tmp_path.iterdir())


def test_a_set_got_by_hand_says_where_its_archives_go(tmp_path):
    message = open_error("imagenet2012", "train", data_dir=str(tmp_path))
    assert str(tmp_path / "downloads" / "manual") in message


def test_unknown_names_suggest_close_ones(data_dir):
    assert "cifar10" in open_error("ciphar10", "train", data_dir=data_dir)
    assert "tiny_gray" in open_error("tiny_grey", "train", data_dir=data_dir)
    assert "unknown" in open_error("qqqqqq", "train", data_dir=data_dir)
    open_error("bad name!!", "train", data_dir=data_dir)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("CIFAR10", "cifar10"),
        ("cifar-10", "cifar10"),
        ("FASHION-MNIST", "fashion_mnist"),
        ("stl-10", "stl10"),
    ],
)
def test_a_name_in_other_letters_suggests_the_set(data_dir, name, known):
    message = open_error(name, "train", data_dir=data_dir)
    assert f"--dataset={name}; did you mean {known}?" in message


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("photos", "--image_dir="),
        ("list.csv", "--manifest="),
        ("a.tfrecord", "--tfrecords="),
        ("photos.zip", "unpack the archive"),
    ],
)
def test_a_path_for_a_name_says_which_flag_reads_it(tmp_path, name, flag):
    (tmp_path / "photos").mkdir()
    path = str(tmp_path / name)
    message = open_error(path, "train", data_dir=str(tmp_path))
    assert flag in message and path in message and "\n" not in message


def test_val_opens_validation_of_a_prepared_set(tmp_path):
    class Held(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        SKIP_REGISTERING = True

        def _info(self):
            features = {"image": tfds.features.Image(shape=(3, 3, 1))}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {name: self._generate_examples() for name in ("train", "validation")}

        def _generate_examples(self):
            for n in range(2):
                yield n, {"image": np.full([3, 3, 1], n, np.uint8)}

    Held(data_dir=str(tmp_path)).download_and_prepare()
    split = datasets.open_split("held", "val[:1]", data_dir=str(tmp_path), channels=1)
    assert split.num_examples == 1 and split.split == "validation[:1]"


def test_unknown_config_lists_configs_and_unknown_version_fails(tmp_path):
    message = open_error("simclr_shapes/tinny", "train", data_dir=str(tmp_path))
    assert message.startswith("unknown config") and "tiny" in message
    assert "9.9.9" in open_error("mnist:9.9.9", "train", data_dir=str(tmp_path))


def test_a_missing_split_lists_what_exists(data_dir):
    message = open_error("tiny_gray", "validation", data_dir=data_dir)
    assert "train (23)" in message and "test (7)" in message
    open_error("tiny_gray", "train[oops]", data_dir=data_dir)
    open_error("tiny_gray", "", data_dir=data_dir)


def test_an_empty_split_is_refused(data_dir):
    assert "no images" in open_error("tiny_gray", "test[:0]", data_dir=data_dir)


def test_a_set_without_images_is_refused(data_dir):
    message = open_error("tiny_no_image", "train", data_dir=data_dir)
    assert "`image`" in message and "text" in message


def test_an_unwritable_data_dir_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    folder = str(tmp_path / "file" / "data")
    message = open_error("simclr_shapes/tiny", "train", data_dir=folder)
    assert folder in message and "--data_dir" in message


def test_a_failed_preparation_is_one_line(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise tf.errors.ResourceExhaustedError(None, None, "disk full\nstack\nstack")

    builder = "simclr_tf2.data.shapes_builder.SimclrShapes.download_and_prepare"
    monkeypatch.setattr(builder, fail)
    message = open_error("simclr_shapes/tiny", "train", data_dir=str(tmp_path))
    assert "disk full" in message


def test_another_worker_may_prepare_the_set_first(tmp_path, monkeypatch):
    kind = prepare.tfds.builder_cls("simclr_shapes")
    real = kind.download_and_prepare

    def lose_the_race(self, **kwargs):
        real(kind(config="tiny", data_dir=str(tmp_path)), **kwargs)
        raise OSError("folder exists")

    monkeypatch.setattr(kind, "download_and_prepare", lose_the_race)
    split = datasets.open_split("simclr_shapes/tiny", "test", data_dir=str(tmp_path))
    assert split.num_examples > 0
