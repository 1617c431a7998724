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


def test_a_column_is_of_numbers_if_a_cell_begins_with_one() -> None:
    """Each column by itself: words alone are sorted as words, whatever stands in the next one."""
    grid = Grid(
        "mixed",
        ("name", "pays after", "classes", "points", "p", "at", "all", ""),
        (
            ("1", "at once", "old 3, new 5", "–", "<0.001", "≈1", "136,380", "opened by ort"),
            ("2", "12 images", "old 4, new 4", "-0.5 (-1 to 0)", "0.3", "**4.7x**", "9", ""),
        ),
    )
    heads = sheet(grid, {}).heads
    assert [head.numeric for head in heads] == [False, True, False, True, True, True, True, False]
