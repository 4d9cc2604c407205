"""Which images are held out of training: by a rule that other images do not touch."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.config import DataConfig
from simclr_tf2.data import array_files, held_out, image_sets, pipeline
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.errors import ConfigError


def write(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full([9, 9, 3], hash(name) % 251, np.uint8)
        path.write_bytes(tf.io.encode_png(pixels).numpy())


def opened(folder, data_dir, split="train"):
    data = DataConfig(image_dir=str(folder), data_dir=str(data_dir))
    return image_sets.look_at(data).open(split)


def names(split):
    base = split.source.base
    return {base.paths[i].decode().rsplit("/", 1)[1] for i in split.source.indices}


def test_a_file_stays_on_its_side_when_files_come_and_the_folder_moves(tmp_path):
    first = [f"{i}.png" for i in range(60)]
    write(tmp_path / "a", first)
    train, held = held_out.hold_out(opened(tmp_path / "a", tmp_path), 0.3)
    assert names(train) | names(held) == set(first)
    assert not names(train) & names(held) and len(names(held)) > 5
    (tmp_path / "a").rename(tmp_path / "b")
    write(tmp_path / "b", [f"new{i}.png" for i in range(40)])
    more, more_held = held_out.hold_out(opened(tmp_path / "b", tmp_path), 0.3)
    assert names(held) == {n for n in names(more_held) if "new" not in n}
    assert names(train) == {n for n in names(more) if "new" not in n}


def test_the_part_is_about_as_large_as_asked_for():
    split = array_files.from_arrays(np.zeros([4000, 2, 2, 3], np.uint8))
    for fraction in (0.05, 0.5):
        found = held_out.is_held_out(split, fraction).mean()
        # four standard deviations of a share of 4,000
        assert abs(found - fraction) < 4 * np.sqrt(fraction * (1 - fraction) / 4000)
    small, large = (held_out.is_held_out(split, f) for f in (0.05, 0.5))
    assert (small <= large).all()  # a larger part holds the smaller one


def test_what_a_labelled_folder_holds_out_itself_takes_nothing_from_it(tmp_path):
    """The smallest hashes of paths are the split validation already."""
    write(tmp_path / "a", [f"{c}/{i}.png" for c in "xy" for i in range(150)])
    split = opened(tmp_path / "a", tmp_path)
    _, held = held_out.hold_out(split, 0.1)
    assert 0.05 < held.num_examples / split.num_examples < 0.17


def test_none_is_the_whole_split_and_too_few_are_refused():
    split = array_files.from_arrays(np.zeros([30, 2, 2, 3], np.uint8))
    assert held_out.hold_out(split, 0.0) == (split, None)
    with pytest.raises(ConfigError, match=r"--valid_size=0.001 holds out 0 of the 30"):
        held_out.hold_out(split, 0.001)
    with pytest.raises(ConfigError, match="either part needs 2 or more"):
        held_out.hold_out(split, 0.999)


def test_fixed_views_are_the_same_at_each_pass_and_every_image_has_two():
    images = np.random.default_rng(0).integers(0, 255, [7, 12, 12, 3], np.uint8)
    split = array_files.from_arrays(images)
    spec = ViewSpec(image_size=8, strength=0.5, use_blur=False)
    dataset = pipeline.make_fixed_views_dataset(split, spec, batch_size=4, seed=1)
    passes = [list(dataset.as_numpy_iterator()) for _ in range(2)]
    views = [
        np.concatenate([e["image"][e["mask"]] for e in elements]) for elements in passes
    ]
    np.testing.assert_array_equal(*views)
    assert views[0].shape == (14, 8, 8, 3)
    assert len(np.unique(views[0].reshape(14, -1), axis=0)) == 14
