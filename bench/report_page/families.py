"""A family's tables as the page's template fills them in: cells, filters, sentences.

Which columns there are and what stands in them is said by ``bench.report_columns.COLUMNS`` and the
grids of the other modules, as for the Markdown pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from markupsafe import Markup, escape

from bench import matrix, report_columns, report_family, report_glance, row_text, scenario_tables
from bench.case import Case
from bench.doubt_text import told_with_test
from bench.report_page.cells import behind
from bench.report_page.further import Further, of_family
from bench.report_page.prose import html, words
from bench.report_page.sheets import Cell, Head, Line, Numbers, Sheet, coloured
from bench.report_page.strip import strips
from bench.rows import Row, Table, runtime_name, speedup
from bench.stats import Estimate

_NAMES = ("variant", "recipe", "runtime", "threads", "batch")
_DRAWN_BEHIND = "speed-up (95 %)"
"""Behind this column its intervals are drawn."""
_ROOM, _WIDEST = 1.1, 100.0
"""What the pictures of speed-ups show at least and at most."""


@dataclass(frozen=True)
class Family:
    """One family with one set of weights: what is said above its table, and further tables."""

    anchor: str
    title: str
    said: tuple[Markup, ...]
    main: Sheet
    scenarios: Sheet | None
    further: tuple[Further, ...]


Outcomes = Mapping[Case, str]


def family(anchor: str, title: str, table: Table, numbers: Numbers, outcomes: Outcomes) -> Family:
    """The view of one table; ``numbers`` and ``outcomes`` are those of the page's rows."""
    said = (
        report_glance.at_a_glance(table),
        report_family.against(table),
        *matrix.surprises(table),
    )
    return Family(
        anchor,
        title,
        tuple(map(html, said)),
        _main(title, table, numbers, outcomes),
        _scenarios(title, table, numbers, outcomes),
        of_family(table, numbers),
    )


def _main(title: str, table: Table, numbers: Numbers, outcomes: Outcomes) -> Sheet:
    columns = [column for column in report_columns.COLUMNS if column.needed(table)]
    ratios = {row.case: _ratio(row, table) for row in table.rows}
    drawn = strips(ratios.values(), (1.0,), _ROOM, _WIDEST)

    def cells(row: Row) -> Iterator[Cell]:
        for column in columns:
            found = behind(column.title, row, table)
            order = "" if found.order is None else f"{found.order:.6g}"
            yield Cell(_shown(column, row, table), found.tip, order)
            if column.title == _DRAWN_BEHIND:
                yield Cell(drawn.picture(ratios[row.case]), order=order)

    return Sheet(
        f"{title}: all rows",
        tuple(_heads(columns)),
        tuple(_line(row, table, tuple(cells(row)), numbers, outcomes) for row in table.rows),
        names=sum(column.title in _NAMES for column in columns),
        notes=tuple(map(html, table.notes)),
    )


def _ratio(row: Row, table: Table) -> Estimate | None:
    """The speed-up that is drawn."""
    if row.is_null or row is table.reference or table.reference is None:
        return None
    return speedup(table.reference, row)


def _heads(columns: Iterable[report_columns.Column]) -> Iterator[Head]:
    for column in columns:
        # Words whose order is no alphabet's are sorted by numbers, too.
        numeric = column.align == "right" or column.title in ("parity", "verdict")
        yield Head(column.title, numeric, column.title not in report_columns.COMPACT)
        if column.title == _DRAWN_BEHIND:
            yield Head("drawn", True)


def _shown(column: report_columns.Column, row: Row, table: Table) -> Markup:
    if column.title == "variant":
        return escape(column.cell(row, table))  # a name is no Markdown
    shown = html(column.cell(row, table))
    judged = column.title == "verdict" and row.timed
    return coloured(row.verdict.level, shown) if judged else shown


def _line(
    row: Row, table: Table, cells: tuple[Cell, ...], numbers: Numbers, outcomes: Outcomes
) -> Line:
    filters = {
        "runtime": row.case.runtime,
        "recipe": row.case.recipe,
        "verdict": row.verdict.level if row.timed else row.blocks[-1].status,
        "outcome": outcomes.get(row.case, ""),
    }
    name = row_text.label(row, table.varying)
    which = name.removeprefix(f"{row.case.shown_variant} ")
    return Line(name, cells, numbers[row.case], tuple(filters.items()), which)


_NAMES_OF_SCENARIOS = 4
_OF_SCENARIOS: Mapping[str, Callable[[Row], Cell]] = {
    "variant": lambda row: Cell(escape(row.case.shown_variant)),
    "recipe": lambda row: Cell(escape(row.case.recipe)),
    "runtime": lambda row: Cell(escape(runtime_name(replace(row.case, scenario="single")))),
    "scenario": lambda row: Cell(escape(row.case.scenario)),
    "threads": lambda row: Cell(escape(str(row.case.threads))),
    "batch": lambda row: Cell(escape(str(row.case.batch_size))),
    "measured, its verdict": lambda row: Cell(
        html(scenario_tables.summary(row) if row.timed else row.blocks[-1].status),
        words(scenario_tables.reason(row)),
    ),
    "our verdict": lambda row: Cell(
        escape(scenario_tables.our_verdict(row)), "; ".join(told_with_test(row))
    ),
}


def _scenarios(title: str, table: Table, numbers: Numbers, outcomes: Outcomes) -> Sheet | None:
    """What LoadGen tested and what workers did: no row of the other table is held against it."""
    rows = scenario_tables.scenario_rows(table)
    if not rows:
        return None
    return Sheet(
        f"{title}: scenarios",
        tuple(Head(name, name in ("threads", "batch")) for name in _OF_SCENARIOS),
        tuple(
            _line(
                row,
                table,
                tuple(cell(row) for cell in _OF_SCENARIOS.values()),
                numbers,
                outcomes,
            )
            for row in rows
        ),
        names=_NAMES_OF_SCENARIOS,
    )
