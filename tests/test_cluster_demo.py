"""Real workers on this machine: stopped, killed, suspended, absent, and unequal."""

import pytest

from deploy import cluster_demo


@pytest.mark.slow
@pytest.mark.story
@pytest.mark.parametrize("name", cluster_demo.SCENARIOS)
def test_workers(name, tmp_path):
    assert cluster_demo.SCENARIOS[name](tmp_path)


def test_the_demo_names_unknown_scenarios(capsys):
    with pytest.raises(SystemExit):
        cluster_demo.main(["kil"])
    assert "no such scenario: kil" in capsys.readouterr().err
