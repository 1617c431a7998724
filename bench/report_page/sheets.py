"""Tables that can be sorted, as the page's template fills them in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bench.case import Case
from bench.matrix import Grid
from bench.report_page.prose import html, words

NO_TEXT = Markup("")
NO_TITLE = "remarks"
"""A column's title where the Markdown page has none: what sorts it needs a name."""
_NUMBER = re.compile(r"[~≈<]?[+-]?\.?\d")
"""How a cell begins that ``report-tables.js`` sorts by a number."""

Numbers = Mapping[Case, int]
"""The place of each row's details among those of the page."""


@dataclass(frozen=True)
class Cell:
    """What is shown, what it tells when asked, and what it is sorted by (empty: by its text)."""

    shown: Markup
    tip: str = ""
    order: str = ""


@dataclass(frozen=True)
class Head:
    """A column's title, whether it is sorted by numbers, and whether few columns do without it.

    Cells of such a column that begin with no number are sorted by their text, behind the others.
    """

    title: str
    numeric: bool
    further: bool = False


@dataclass(frozen=True)
class Line:
    """A row of a sortable table.

    ``number`` is that of its details, ``None``: it has none; ``name`` is what a sentence calls
    it, ``which`` what of that the first column leaves open. ``filters`` are the values that the
    filters of the page compare. ``of`` are the numbers of the rows that a line without filters
    is of: it is shown as long as one of them is; empty: always.
    """

    name: str
    cells: tuple[Cell, ...]
    number: int | None = None
    filters: tuple[tuple[str, str], ...] = ()
    which: str = ""
    of: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sheet:
    """A table that can be sorted, with what stands below it.

    The first ``names`` columns say what a line is of: they stay where they are while the
    others are scrolled.
    """

    title: str
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    names: int = 1
    notes: tuple[Markup, ...] = ()
    note: Markup = NO_TEXT


def sheet(grid: Grid, numbers: Numbers) -> Sheet:
    """A grid, whose first columns are names; of the others some are numbers."""
    texts = [tuple(map(words, line)) for line in grid.lines]
    return Sheet(
        words(grid.title),
        tuple(
            Head(words(title) or NO_TITLE, place >= grid.names and _numeric(texts, place))
            for place, title in enumerate(grid.head)
        ),
        tuple(
            Line(
                text[0],
                tuple(Cell(html(cell)) for cell in line),
                which=_which(grid, text),
                of=tuple(numbers[case] for case in _cases(grid, place)),
            )
            for place, (line, text) in enumerate(zip(grid.lines, texts, strict=True))
        ),
        names=grid.names,
        note=html(grid.note),
    )


def _numeric(lines: Iterable[Sequence[str]], place: int) -> bool:
    """Whether any cell of a column begins with a number."""
    return any(_NUMBER.match(line[place]) for line in lines)


def _cases(grid: Grid, place: int) -> tuple[Case, ...]:
    return grid.cases[place] if grid.cases else ()


def _which(grid: Grid, line: Sequence[str]) -> str:
    """What of a line's names its first one leaves open; threads and batch as keys have them."""
    names = list(zip(grid.head, line, strict=True))[1 : grid.names]
    return " ".join(f"{head if head in ('t', 'b') else ''}{text}" for head, text in names)


def coloured(kind: str, shown: str) -> Markup:
    """A text in the colour of what it says: the first word of ``kind`` names its style."""
    return Markup('<span class="{}">{}</span>').format(kind.split(maxsplit=1)[0].lower(), shown)
