"""What a run's Markdown page says besides its families' main tables, for the page's template.

By the functions that the Markdown page uses. These parts of that page are left out:

- its plots, its percentiles with intervals, and what spoke against rows that are not VALID: every
  row's details have its own charts, percentiles, and figures block by block;
- of scenarios, early stopping, our loop's figure beside LoadGen's, the rates that a search tried,
  and the workers' memory;
- what the variants and recipes are;
- what another resize filter costs, which is asked for a folder and not in a run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from markupsafe import Markup

from bench import (
    client_table,
    executed,
    int8_tables,
    matrix,
    own_quantisers,
    paper,
    report_sections,
    report_tables,
    resources,
    score_tables,
)
from bench.matrix import Grid
from bench.record import Run
from bench.report_page.prose import html
from bench.report_page.sheets import NO_TEXT, Numbers, Sheet, sheet
from bench.rows import Table, family_of


@dataclass(frozen=True)
class Further:
    """What opens with a click: a sentence, a table, if there is one, and sentences below it."""

    title: str
    sheet: Sheet | None
    above: Markup = NO_TEXT
    below: tuple[Markup, ...] = ()


def of_family(table: Table, numbers: Numbers) -> tuple[Further, ...]:
    """The further tables of one family; ``numbers`` are those of the page's rows."""
    grids = (
        *(*matrix.matrices(table), *matrix.sweeps(table), *score_tables.tables(table)),
        *(resources.cold_starts(table), resources.memory(table)),
    )
    return (
        *_tables(grids, numbers),
        *_old_against_new(table, numbers),
        *_beside_paper(table, numbers),
        *_executed(table, numbers),
    )


def of_run(run: Run, tables: Collection[Table], numbers: Numbers) -> tuple[Further, ...]:
    """The further tables of all families together."""
    return (
        *_int8_choices(run, tables, numbers),
        *_tables((report_tables.against_fp32(tables), report_tables.building(tables)), numbers),
    )


def said_of_run(run: Run, tables: Collection[Table]) -> tuple[Markup, ...]:
    """Of a run's INT8 files: what becomes of them elsewhere, which ones lose too much and how."""
    texts = (
        int8_tables.saturation(run.header.host, tables),
        own_quantisers.remark(run.header, tables),
    )
    return tuple(html(text) for text in texts if text)


def _tables(grids: Iterable[Grid], numbers: Numbers) -> Iterator[Further]:
    """Each that has a line."""
    for grid in grids:
        if grid.lines:
            found = sheet(grid, numbers)
            yield Further(found.title, found)


def _told(title: str, grid: Grid | None, texts: Iterable[str], numbers: Numbers) -> Further:
    below = tuple(map(html, texts))
    return Further(title, None if grid is None else sheet(grid, numbers), below=below)


def _old_against_new(table: Table, numbers: Numbers) -> tuple[Further, ...]:
    found = tuple(_tables(client_table.tables(table), numbers))
    explained = (html(client_table.explanation(table)),)
    return (*found[:-1], *(replace(one, below=explained) for one in found[-1:]))


def _beside_paper(table: Table, numbers: Numbers) -> tuple[Further, ...]:
    """The published figures of the networks, where ours answered the same kind of images."""
    if not paper.applies(table):
        return ()
    title = f"{family_of(table.rows[0].case)} beside the paper"
    return (_told(title, paper.beside(table), paper.findings(table), numbers),)


def _executed(table: Table, numbers: Numbers) -> tuple[Further, ...]:
    """What the runtimes made of the files, and why a row is not faster than its parent."""
    grid, told = executed.grid(table), executed.sentences(table)
    if grid is None and not told:
        return ()
    found = _told("Did the optimisation happen?", grid, told, numbers)
    return (replace(found, above=html(" ".join(report_sections.EXECUTED.split()))),)


def _int8_choices(run: Run, tables: Iterable[Table], numbers: Numbers) -> tuple[Further, ...]:
    """How the static INT8 files of a run came about, where a search had chosen."""
    chosen = run.header.int8_choices
    if not chosen:
        return ()
    grid = int8_tables.choices(chosen)
    return (_told(grid.title, grid, int8_tables.remarks(chosen, tables), numbers),)
