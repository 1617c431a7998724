"""Small tables as the page shows them: how a column is sorted, and which rows a line is of."""

from __future__ import annotations

import pytest

pytest.importorskip("markupsafe", reason="the page needs: pip install 'deploybench[report]'")

from bench.case import Case
from bench.matrix import Grid
from bench.report_page.sheets import NO_TITLE, sheet

ONE = Case("vgg19", "fp32", "ort", 2)
OTHER = Case("vgg19", "fp32", "openvino", 2)


def test_a_line_has_the_numbers_of_its_rows() -> None:
    """One, several, or none where lines are of no rows."""
    lines = (("a", "1"), ("b", "2"))
    grid = Grid("t", ("name", "ms"), lines, cases=((ONE,), (ONE, OTHER)))
    assert [line.of for line in sheet(grid, {ONE: 3, OTHER: 7}).lines] == [(3,), (3, 7)]
    assert [line.of for line in sheet(Grid("t", ("name", "ms"), lines), {}).lines] == [(), ()]


def test_a_title_is_never_empty() -> None:
    """What sorts a column is a button, and a button has a name."""
    heads = sheet(Grid("t", ("a", ""), (("b", "c"),)), {}).heads
    assert [head.title for head in heads] == ["a", NO_TITLE]
