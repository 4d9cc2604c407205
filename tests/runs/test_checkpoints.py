"""Checkpoints are whole, counted, and never silently replaced by a fresh start."""

import errno
import logging
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.errors import ConfigError, RunFailed
from simclr_tf2.runs import checkpoints


def holder(value=0.0):
    return tf.train.Checkpoint(w=tf.Variable(np.full([3, 5], value, np.float32)))


def save_steps(folder, *steps, keep=10):
    for step in steps:
        checkpoints.save(holder(step), folder, step=step, config_json="{}", keep=keep)


def test_the_newest_is_restored_by_number_not_by_name(tmp_path):
    save_steps(tmp_path, 9, 100, 20)
    fresh = holder()
    assert checkpoints.restore_newest(fresh, tmp_path) == 100
    assert (fresh.w.numpy() == 100).all()
    assert tf.train.latest_checkpoint(tmp_path)  # other tools find one as well


def test_taking_part_in_a_checkpoint_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    written = []

    class Saved:
        """Stands for the checkpoint, and remembers where it was written."""

        def write(self, prefix):
            written.append(holder().write(prefix))

    checkpoints.take_part(Saved())
    assert written[0].startswith(str(tmp_path)) and not list(tmp_path.iterdir())


def test_a_full_temporary_folder_is_one_line_that_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(RunFailed, match=r"could not write in .*missing.*TMPDIR"):
        checkpoints.take_part(holder())


def test_the_digest_of_weights_changes_with_any_value_and_name():
    def variables(value=1.0, name="w"):
        return [keras.Variable(np.full([2, 3], value), name=name)]

    digest = checkpoints.digest(variables())
    assert digest == checkpoints.digest(variables())
    changed = variables()
    changed[0].assign(np.nextafter(changed[0].numpy(), np.float32(2)))
    others = [changed, variables(name="v"), variables() * 2]
    assert digest not in [checkpoints.digest(other) for other in others]


def test_an_empty_folder_has_none(tmp_path):
    assert checkpoints.restore_newest(holder(), tmp_path) is None


def test_only_the_newest_are_kept_with_their_configs(tmp_path):
    save_steps(tmp_path, 1, 2, 3, 4, keep=2)
    assert [step for step, _ in checkpoints.list_checkpoints(tmp_path)] == [4, 3]
    assert sorted(p.name for p in tmp_path.glob("*.config.json")) == [
        "ckpt-3.config.json",
        "ckpt-4.config.json",
    ]


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "index"])
def test_damage_falls_back_to_an_older_one_and_says_so(tmp_path, caplog, damage):
    save_steps(tmp_path, 1, 2)
    data = tmp_path / "ckpt-2.data-00000-of-00001"
    if damage == "truncate":
        data.write_bytes(data.read_bytes()[:20])
    elif damage == "flip":
        content = bytearray(data.read_bytes())
        content[10] ^= 0xFF
        data.write_bytes(bytes(content))
    elif damage == "remove":
        data.unlink()
    else:
        (tmp_path / "ckpt-2.index").write_bytes(b"")
    fresh = holder()
    with caplog.at_level(logging.WARNING):
        assert checkpoints.restore_newest(fresh, tmp_path) == 1
    assert (fresh.w.numpy() == 1).all()
    assert "ckpt-2 cannot be used" in caplog.text


def test_when_none_can_be_read_it_is_an_error(tmp_path):
    save_steps(tmp_path, 1)
    (tmp_path / "ckpt-1.data-00000-of-00001").unlink()
    with pytest.raises(ConfigError, match="none of them can be read"):
        checkpoints.restore_newest(holder(), tmp_path)


def test_a_checkpoint_of_another_model_is_not_loaded_in_part(tmp_path):
    save_steps(tmp_path, 1)
    other = tf.train.Checkpoint(w=tf.Variable(tf.zeros([3, 5])), v=tf.Variable(1.0))
    with pytest.raises(ConfigError, match="none of them can be read"):
        checkpoints.restore_newest(other, tmp_path)


NODE = "{{function_node __wrapped__SaveV2_dtypes_3_device_/job:localhost/replica:0}} "


@pytest.mark.parametrize("before", [(), (1,)])
def test_a_failed_write_is_one_line_and_leaves_only_the_older_one(
    tmp_path, monkeypatch, before
):
    """As TensorFlow fails on a full disk: parts stay, and the reason comes last."""
    save_steps(tmp_path, *before)
    files = {path.name for path in tmp_path.iterdir()}

    def full(prefix):
        (tmp_path / "ckpt-2_temp").mkdir()
        (tmp_path / "ckpt-2_temp" / "part-00000-of-00001").write_text("half of it")
        path = f"{prefix}_temp/part-00000-of-00001{'.' * 200}"
        text = f"{NODE}{path}; No space left on device [Op:SaveV2]"
        raise tf.errors.ResourceExhaustedError(None, None, text)

    broken = holder(2.0)
    monkeypatch.setattr(broken, "write", full)
    step = before[0] if before else 0
    with pytest.raises(checkpoints.RunFailed) as caught:
        checkpoints.save(broken, tmp_path, step=2, config_json="{}", keep=1)
    text = str(caught.value)
    assert "ckpt-2: No space left on device; make room" in text
    assert "{" not in text and "\n" not in text and text.endswith(f"from step {step}")
    assert {path.name for path in tmp_path.iterdir()} == files
    assert checkpoints.restore_newest(holder(), tmp_path) == (step or None)


def test_a_config_that_finds_no_room_takes_its_checkpoint_with_it(
    tmp_path, monkeypatch
):
    save_steps(tmp_path, 1)

    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(checkpoints.files, "write_text", full)
    with pytest.raises(checkpoints.RunFailed, match="No space left on device"):
        save_steps(tmp_path, 2, keep=1)
    assert [step for step, _ in checkpoints.list_checkpoints(tmp_path)] == [1]


@pytest.mark.parametrize(
    "name", ["[b 1]", "a*b", "q?x", "back\\slash", "\\[x]", "{a,b}"]
)
def test_a_path_that_tensorflow_reads_as_a_pattern_is_read_as_it_is(tmp_path, name):
    """Beside a folder that the pattern would find."""
    for other in ("b", "aXXb", "qXx", "backslash", "[x]"):
        (tmp_path / other).mkdir()
        save_steps(tmp_path / other, 7)
    folder = tmp_path / name
    folder.mkdir()
    save_steps(folder, 1, 2)
    fresh = holder()
    assert checkpoints.restore_newest(fresh, folder) == 2
    assert (fresh.w.numpy() == 2).all()
    (_, prefix), *_ = checkpoints.list_checkpoints(folder)
    with checkpoints._reader(prefix) as reader:
        (key,) = (k for k in reader.get_variable_to_shape_map() if k.startswith("w/"))
        assert (reader.get_tensor(key) == 2).all()


def test_missing_checkpoint_argument_is_an_error_not_a_fresh_start(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ConfigError, match="no checkpoint there"):
        checkpoints.initialize_weights(model, str(tmp_path / "ckpt-7"))
    with pytest.raises(ConfigError, match="no checkpoint there$"):
        checkpoints.initialize_weights(model, str(tmp_path))
    save_steps(tmp_path, 7)
    with pytest.raises(ConfigError, match="does not fit this model"):
        checkpoints.initialize_weights(model, str(tmp_path))


def test_a_folder_that_is_not_there_is_said_with_what_is_near(tmp_path):
    def said(path):
        with pytest.raises(ConfigError) as caught:
            checkpoints.prefix_of(str(path))
        return str(caught.value).replace(str(tmp_path), "HERE")

    (tmp_path / "quickstart").mkdir()
    save_steps(tmp_path / "quickstart", 5, 9)
    text = "--checkpoint=HERE/{}: no checkpoint there; {}"
    near = "did you mean HERE/quickstart?"
    wanted = {
        "quikstart": f"there is no such folder; {near}",
        "quikstart/ckpt-9": f"there is no folder HERE/quikstart; {near}",
        "zzz": "there is no such folder; check the path",
        "quickstart/ckpt-7": "HERE/quickstart holds ckpt-9, ckpt-5",
    }
    for path, what in wanted.items():
        assert said(tmp_path / path) == text.format(path, what)
