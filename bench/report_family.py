"""A family as Markdown: its table, what that is compared with, and what explains it."""

from __future__ import annotations

from collections.abc import Sequence

from bench import matrix, resources, scenario_tables, score_tables, stats
from bench.record import Measurement, Run, RunHeader
from bench.report_columns import COLUMNS, COMPACT
from bench.report_grids import aligned, folded, grid_text
from bench.row_text import row_name
from bench.rows import Table, speedup, tables_of
from bench.text import number, rounded, unescaped


def family_table(run: Run, family: str) -> str:
    """The Markdown of one family: a heading and a table for each set of weights.

    Raises ``KeyError`` for a family of which nothing was measured.
    """
    found = {key: table for key, table in tables_of(run).items() if key[0] == family}
    if not found:
        raise KeyError(family)
    return "\n\n".join(family_text(*key, table) for key, table in found.items())


def tables(header: RunHeader, measurements: Sequence[Measurement], compact: bool = False) -> str:
    """The Markdown of all tables of one run, finished or not; ``compact``: for a terminal."""
    found = tables_of(Run(header, tuple(measurements)))
    text = "\n\n".join(family_text(*key, table, compact) for key, table in found.items())
    return unescaped(text) if compact else text


def disturbed(header: RunHeader, measurements: Sequence[Measurement]) -> str:
    """How many rows of a run can't be believed, and what to do; empty if all can."""
    found = tables_of(Run(header, tuple(measurements))).values()
    levels = [row.verdict.level for table in found for row in table.rows if row.timed]
    doubtful, void = levels.count("SUSPECT"), levels.count("INVALID")
    if not doubtful and not void:
        return ""
    again = (
        " On a quiet machine the same command measures the blocks that are INVALID again."
        if void
        else ""
    )
    return (
        f"{doubtful} of {len(levels)} rows are SUSPECT and {void} INVALID: the codes say what "
        f"disturbed them, the page what they mean.{again}"
    )


def family_text(family: str, weights: str, table: Table, compact: bool = False) -> str:
    """A family with one set of weights: a heading, its tables; ``compact``: for a terminal."""
    heading = f"### {family} (weights: {weights})"
    scenarios = scenario_tables.text(table)
    if compact:
        parts = [heading, table_text(table, compact), scenarios]
    else:
        grids = (*score_tables.tables(table), *resources.tables(table))
        further = [folded(grid) for grid in grids]
        parts = [heading, *_small_tables(table), table_text(table), scenarios, *further]
    return "\n\n".join(part for part in parts if part)


def _small_tables(table: Table) -> list[str]:
    """Which runtime for which variant, and what threads and batches do, before all columns."""
    grids = (*matrix.matrices(table), *matrix.sweeps(table))
    return [*map(grid_text, grids), *(f"- {text}" for text in matrix.surprises(table))]


def table_text(table: Table, compact: bool = False) -> str:
    """The table with what it is compared with above, and its notes below."""
    columns = [column for column in COLUMNS if column.needed(table)]
    columns = [column for column in columns if not compact or column.title in COMPACT]
    cells = [[column.cell(row, table) for column in columns] for row in table.rows]
    grid = aligned([c.title for c in columns], cells, [c.align for c in columns])
    notes = "\n".join(f"{place}. {text}" for text, place in table.notes.items())
    return "\n\n".join(part for part in (against(table), grid, notes) if part)


def against(table: Table) -> str:
    """What the speed-ups of a table are against, and what its A/A pair says, as Markdown."""
    reference = "Speed-ups: none, no row can be a reference."
    if table.reference is not None:
        name = row_name(table.reference, table)
        reference = f"Speed-ups are against {name}{resources.mark(table.reference)}."
    return reference + _told_apart(table)


def _told_apart(table: Table) -> str:
    """What the A/A pair says about this host and this run."""
    if table.twin is None:
        return ""
    first, again = table.twin
    ratio = speedup(first, again)
    assert ratio is not None or not first.image_medians_s.keys() & again.image_medians_s.keys()
    who = f"{row_name(first, table)}{resources.mark(first, again)}"
    name = f" A/A: {who}, measured twice under two names,"
    if ratio is None or ratio.half_width is None:
        known = "" if ratio is None else f" came out {number(ratio)}x as fast the second time;"
        return f"{name}{known} fewer than {stats.LEAST_BLOCKS} blocks give no interval."
    ends = "–".join(rounded(end or 0, digits=4) for end in (ratio.low, ratio.high))
    least = 100 * (table.told_apart - 1)
    factor = rounded(table.told_apart)
    unknown = f"below {least:.1f} %" if least < 100 else f"of less than {factor} times"
    different = "; it came out different from itself" if ratio.excludes(1) else ""
    return (
        f"{name} came out {number(ratio)}x as fast the second time ({ends}){different}: "
        f"a difference {unknown} could not have been told from none."
    )
