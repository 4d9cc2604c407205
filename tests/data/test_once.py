import logging

import pytest

from simclr_tf2.data import once


@pytest.mark.parametrize(
    ("say", "level"), [(once.warn, "WARNING"), (once.tell, "INFO")]
)
def test_a_line_is_logged_once_at_its_level_and_as_it_is(caplog, say, level):
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            say("100 % of a line")
        say("another")
    found = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert found == [(level, "100 % of a line"), (level, "another")]
