"""Hardware files: those of the program, those of users, and mistakes."""

import json

import pytest

from simclr_tf2.errors import ConfigError
from simclr_tf2.planning import hardware

NAMES = hardware.names()


def test_the_hardware_of_the_published_runs_and_of_small_machines_is_there():
    assert {"tpu_v3_32", "tpu_v4_128", "8xh100", "1xa100", "2_cpu_cores"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_figure_of_a_file_has_a_source_and_is_possible(name):
    found = hardware.find(name)
    assert found.name == name and found.devices >= 1
    for figure in found.figures.values():
        assert figure.kind in hardware.KINDS and len(figure.source) > 5
    for precision in hardware.PRECISIONS:
        peak = found.value(f"{found.precision(precision)}_tflops") * 1e12
        assert 0 < found.flops(precision) <= peak
    # What was measured here names the CPU and the program.
    for figure in found.figures.values():
        if figure.kind == "measured" and "step" in figure.source:
            assert "EPYC" in figure.source and "benchmarks" in figure.source


def test_a_name_a_path_of_a_recipe_and_a_file_are_found(tmp_path):
    named = hardware.find("1xa100")
    assert hardware.find("recipes/hardware/1xa100.json").figures == named.figures
    path = tmp_path / "mine.json"
    path.write_text((hardware.folder() / "1xa100.json").read_text())
    assert hardware.find(str(path)).name == "mine"


def test_a_precision_without_figures_is_float32():
    v100 = hardware.find("8xv100")
    assert v100.precision("bfloat16") == "float32"
    assert v100.flops("float16") > v100.flops("bfloat16") == v100.flops("float32")


@pytest.mark.parametrize(
    ("text", "meant"), [("8xH100", "8xh100"), ("tpu_v3-32", "tpu_v3_32"), ("zzz", None)]
)
def test_an_unknown_name_is_answered_with_what_is_meant(text, meant):
    with pytest.raises(ConfigError) as caught:
        hardware.find(text)
    assert f"did you mean {meant}?" in str(caught.value) or meant is None
    assert all(name in str(caught.value) for name in NAMES)


def changed(tmp_path, **changes):
    """The file of one A100 with other entries; None takes one out."""
    entries = json.loads((hardware.folder() / "1xa100.json").read_text())
    for name, value in changes.items():
        place = entries["figures"] if name in entries["figures"] else entries
        if value is None:
            del place[name]
        else:
            place[name] = value
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory_gib": None}, "no figure memory_gib"),
        ({"devices": 0}, "must be 1 or more"),
        ({"topology": "star"}, "topology must be one of"),
        ({"title": None}, "no entry 'title'"),
        (
            {"memory_gib": {"value": -1, "kind": "vendor", "source": "x"}},
            "above 0, not -1",
        ),
        (
            {"memory_gib": {"value": 1, "kind": "guess", "source": "x"}},
            "kind of memory_gib must be one of",
        ),
        (
            {"memory_gib": {"value": 1, "kind": "vendor", "source": ""}},
            "needs a source",
        ),
        (
            {"float32_achieved": {"value": 2, "kind": "vendor", "source": "x"}},
            "at most 1",
        ),
    ],
    ids=str,
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        hardware.find(str(changed(tmp_path, **change)))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    path = tmp_path / "text.json"
    path.write_text("devices: 8")
    with pytest.raises(ConfigError, match="cannot be read"):
        hardware.find(str(path))
