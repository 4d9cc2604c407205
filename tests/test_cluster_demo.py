"""Real workers on this machine: stopped, killed, suspended, absent, and unequal."""

import pytest

from deploy import cluster_demo


@pytest.mark.slow
@pytest.mark.story
@pytest.mark.parametrize("name", cluster_demo.SCENARIOS)
def test_workers(name, tmp_path, monkeypatch):
    """The time limit of the demo is not that of the tests: a machine may be busy."""
    monkeypatch.setattr(cluster_demo, "GONE", cluster_demo.LIMIT)
    try:
        assert cluster_demo.SCENARIOS[name](tmp_path)
    except cluster_demo.NotHere as error:
        pytest.skip(str(error))


def test_the_demo_names_unknown_scenarios(capsys):
    with pytest.raises(SystemExit):
        cluster_demo.main(["kil"])
    assert "no such scenario: kil" in capsys.readouterr().err
