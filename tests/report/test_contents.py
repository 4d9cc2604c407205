"""What the records of the report say of themselves."""

import pytest

from simclr_tf2.report import ReportData, Results


@pytest.mark.parametrize(
    ("chance", "classes", "expected"),
    [
        (0.6, ("a", "b"), (0.6, "commonest class")),
        (None, ("a", "b", "c", "d"), (0.25, "chance")),
        (None, ("a",), None),  # nothing to guess
        (None, (), None),
    ],
)
def test_a_guess_is_the_commonest_class_where_its_share_is_known(
    chance, classes, expected
):
    data = ReportData(title="t", results=Results(chance=chance), class_names=classes)
    assert data.guess == expected
