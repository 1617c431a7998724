"""What the page has besides the main tables: all that the Markdown page has, or it is named."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

pytest.importorskip("bokeh", reason="the page needs: pip install 'deploybench[report]'")

from bench import report_pages
from bench.case import Case
from bench.choices import Choice
from bench.record import Run, read_run
from bench.report_page import document
from bench.report_page.further import Further, of_family, of_run
from bench.report_page.prose import words
from bench.report_page.sheets import Sheet
from bench.rows import Table, tables_of
from export.build import Int8
from tests.bench.clickable import GIVEN, OPT, STATIC, run

ROOT = Path(__file__).parents[3]
LEFT_OUT = ("Percentiles, ms", "Not VALID", "Further plots")
"""How those titles of the Markdown page begin that the page has none of; see ``further``."""
ELSEWHERE = ("At a glance", "Old model against new")
"""Headings whose parts stand on the page, each under its own title or its family's."""
_TITLES = re.compile(r"^### (.+)$|<summary>(.+)</summary>|^\*\*([^*]+)\*\*$", re.MULTILINE)


def numbers_of(tables: Iterable[Table]) -> dict[Case, int]:
    """A number for each row, as the page gives them."""
    rows = (row for table in tables for row in (*table.rows, *table.scenarios))
    return {row.case: place for place, row in enumerate(rows)}


def further(found: Run) -> dict[str, Further]:
    """The further tables of a run by their titles; of several with one title the first."""
    tables = tuple(tables_of(found).values())
    numbers = numbers_of(tables)
    own = [one for table in tables for one in of_family(table, numbers)]
    return {one.title: one for one in reversed((*own, *of_run(found, tables, numbers)))}


def table_of(found: Further) -> Sheet:
    """Its table."""
    assert found.sheet is not None
    return found.sheet


def chosen() -> Run:
    """The run as if a search had chosen how its INT8 file was made."""
    found = run()
    choice = Choice("vgg19", "seeded", Int8("entropy", keep_fp32=("a|b",)), "images.zip", 1.0)
    return Run(replace(found.header, int8_choices=(choice,)), found.measurements)


def test_a_line_knows_its_rows() -> None:
    """By the numbers of their details: of one row, of all in which a file was opened, of none."""
    found = run()
    numbers = numbers_of(tables_of(found).values())
    shown = further(found)
    [int8] = table_of(shown["INT8 against the best fp32"]).lines
    assert (int8.name, int8.of) == ("vgg19 int8-static ort", (numbers[STATIC],))
    built = [line.of for line in table_of(shown["What building cost"]).lines]
    assert (numbers[OPT],) in built
    cold = next(one for title, one in shown.items() if title.startswith("Cold start"))
    assert all(len(line.of) == 1 for line in table_of(cold).lines)
    classes = table_of(shown["F1 by class, %"])
    assert {line.of for line in classes.lines} == {()}


def test_why_rows_are_not_faster_is_told() -> None:
    """With what was asked of the runtimes above the table, as on the Markdown page."""
    slow = run(only=4.0)
    shown = further(slow)["Did the optimisation happen?"]
    assert shown.above.startswith("Asked of the runtimes")
    assert any("is not faster than" in text for text in shown.below)
    lines = {words(line.removeprefix("- ")) for line in report_pages.page([slow]).splitlines()}
    assert {text.striptags() for text in shown.below} <= lines


def test_how_int8_was_chosen_is_told() -> None:
    """Each variant's choice with the sentences below; a pipe in a name is a pipe."""
    shown = further(chosen())["How INT8 was chosen"]
    assert [line.name for line in table_of(shown).lines] == ["vgg19"]
    assert "a|b" in [cell.shown for cell in table_of(shown).lines[0].cells]
    assert any("bench.search" in text for text in shown.below)
    assert "How INT8 was chosen" not in further(run())


def test_what_becomes_of_int8_elsewhere_is_told() -> None:
    """A sentence on CPUs without VNNI, once for all families."""
    assert document.page(run()).count("on x86 CPUs without VNNI the same QDQ file") == 1


def missing(found: Run) -> list[str]:
    """The titles of a run's Markdown that its page lacks, but for those that are known to be."""
    markdown = report_pages.page([found]).partition("\n## Variants")[0]
    titles = [words(next(filter(None, one))) for one in _TITLES.findall(markdown)]
    page = document.page(found).partition('<div id="tip"')[0]
    text = " ".join(unescape(re.sub(r"<[^>]+>", "", page)).split())
    return [
        title
        for title in titles
        if not title.startswith((*LEFT_OUT, *ELSEWHERE)) and title not in text
    ]


def test_the_page_has_every_table_of_the_markdown_page() -> None:
    """But for those that the module and the README name."""
    found = chosen()
    # A family's heading is Markdown on one page and a name on the other.
    blocks = tuple(block for block in found.measurements if block.case != GIVEN)
    assert missing(replace(found, measurements=blocks)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default-d96c72d2", "default-b640b3ba"])
def test_so_have_the_pages_of_committed_runs(name: str) -> None:
    """One with the paper's networks, one with an old and a new model and choices of INT8."""
    found = read_run(ROOT / "results" / "records" / f"{name}.jsonl.gz")
    assert missing(found) == []
