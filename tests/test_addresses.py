"""Addresses are told from paths, and lead to local copies while there are some."""

from pathlib import Path

import pytest

from simclr_tf2 import addresses
from simclr_tf2.run_paths import RunFolder


@pytest.fixture
def copy(tmp_path):
    addresses.register_copy("gs://b/run/", tmp_path / "copy")
    yield tmp_path / "copy"
    addresses.forget_copy("gs://b/run")


@pytest.mark.parametrize("place", ["gs://b/run", "s3://b", "ram://a/b", "abc+d://x"])
def test_an_address_has_a_scheme(place):
    assert addresses.is_remote(place)


@pytest.mark.parametrize(
    "place", ["runs/a", "/runs/a", "C:/a", "a:b", "", "cifar10:test"]
)
def test_a_path_is_no_address(place):
    assert not addresses.is_remote(place)
    assert addresses.meant(place) is None
    assert addresses.local(place) == Path(place)


@pytest.mark.parametrize("slip", ["gs:/b/run", "gs:b/run"])
def test_what_was_meant_by_a_missing_slash(slip):
    assert addresses.meant(slip) == "gs://b/run"
    assert addresses.meant("gs://b/run") is None


def test_places_at_and_below_an_address_lead_into_its_copy(copy):
    assert addresses.local("gs://b/run") == addresses.local("gs://b/run/") == copy
    assert addresses.local("gs://b/run/ckpt-4") == copy / "ckpt-4"
    assert addresses.has_copy("gs://b/run/best") and not addresses.has_copy("gs://b/r")


def test_the_inner_one_of_two_copies_counts(copy, tmp_path):
    addresses.register_copy("gs://b/run/best", tmp_path / "inner")
    try:
        assert addresses.local("gs://b/run/best/a") == tmp_path / "inner" / "a"
        assert addresses.local("gs://b/run/best2") == copy / "best2"
    finally:
        addresses.forget_copy("gs://b/run/best")


def test_an_address_without_a_copy_is_no_path(copy):
    for place in ("gs://b/run2", "gs://b", "s3://b/run"):
        with pytest.raises(ValueError, match="no local copy"):
            addresses.local(place)


def test_messages_and_settings_have_the_address(copy):
    folder = RunFolder.at("gs://b/run")
    assert Path(folder) == copy
    assert str(folder) == f"{folder}" == "gs://b/run"
    assert str(folder.baseline("x")) == "gs://b/run/baselines/x"
    text = f"wrote {folder.report}"
    assert addresses.with_addresses(text) == "wrote gs://b/run/report.html"
    assert addresses.shown(f"{copy}2/a") == f"{copy}2/a"
