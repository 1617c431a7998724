"""Which rows of a table a plot shows, how it calls them, and what stands below it.

Pure functions over ``bench.rows``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.figure import Mark, Series
from bench.record import RunHeader
from bench.rows import Row, Table, main_setting, runtime_name
from export.printable import printable

Tables = Mapping[tuple[str, str], Table]
"""(family, weights) -> its table, in the order of the page."""
HOLLOW = "Hollow: INVALID, or its answers are wrong: no candidate"
LEFT_OUT = "Rows that are INVALID or whose answers are wrong are left out"
_LONGEST = 60


def usual_rows(table: Table) -> tuple[Row, ...]:
    """The measured rows of models at the table's main setting, second names left out."""
    usual = main_setting(row.case for row in table.rows)
    return tuple(row for row in measured_rows(table) if setting_of(row) == usual)


def measured_rows(table: Table) -> tuple[Row, ...]:
    """The same at any setting."""
    return tuple(row for row in table.rows if row.timed and not row.is_null and not row.case.copy)


def setting_of(row: Row) -> tuple[int, int]:
    """Threads and batch size."""
    return row.case.threads, row.case.batch_size


def setting_text(table: Table) -> str:
    """The main setting in words."""
    threads, batch_size = main_setting(row.case for row in table.rows)
    return f"{threads} thread{'' if threads == 1 else 's'}, batch {batch_size}"


def counts(row: Row) -> bool:
    """Whether a row may be drawn as one that could be shipped."""
    return row.candidate and row.verdict.level != "INVALID"


def variant_name(row: Row) -> str:
    """The variant, as the tables call it."""
    return short(row.case.shown_variant)


def file_name(row: Row) -> str:
    """Variant and recipe, as the tables call them."""
    return short(f"{row.case.shown_variant} {row.case.recipe}")


def way_name(row: Row) -> str:
    """Recipe and runtime."""
    return short(f"{row.case.recipe} {runtime_name(row.case)}")


def whole_name(row: Row) -> str:
    """Variant, recipe and runtime."""
    return short(f"{row.case.shown_variant} {row.case.recipe} {runtime_name(row.case)}")


def heading(family: str, weights: str, more: str = "") -> str:
    """A panel's title."""
    return short(f"{family} ({weights})") + more


def short(text: str) -> str:
    """Text that may come from outside as a plot can show it: on one line, not endless."""
    line = " ".join(printable(text).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def places(rows: Iterable[Row]) -> dict[str, int]:
    """Variant -> the number of its colour, the same in all panels that are drawn from ``rows``."""
    names = dict.fromkeys(map(variant_name, rows))
    return {name: place for place, name in enumerate(names)}


def by_variant(marks: Iterable[tuple[Row, Mark]], numbers: Mapping[str, int]) -> tuple[Series, ...]:
    """A series for each variant that has marks; ``numbers`` is what ``places`` returns."""
    found: dict[str, list[Mark]] = {}
    for row, mark in marks:
        found.setdefault(variant_name(row), []).append(mark)
    return tuple(
        Series(name, numbers[name], tuple(found[name])) for name in numbers if name in found
    )


def footer(header: RunHeader, rows: Sequence[Row], *more: str) -> tuple[str, ...]:
    """Host, date and n of what was drawn, then ``more``; how many rows are doubtful."""
    cores = header.host.get("usable cores") or header.host.get("cores", "")
    host = short(header.host.get("CPU", "an unknown CPU").partition(" (")[0])
    where = f"{cores} core{'' if cores == '1' else 's'} of {host}" if cores else host
    blocks = span(len(row.timed) for row in rows)
    samples = span(sum(len(block.latencies_ns) for block in row.timed) for row in rows)
    doubtful = sum(row.verdict.level == "SUSPECT" for row in rows)
    doubt = f"{doubtful} of {len(rows)} rows are SUSPECT" if doubtful else ""
    first = (
        f"{where}, {short(header.started[:10])}, commit {short(header.commit)}; "
        f"n: {blocks} blocks and {samples} inferences a row"
    )
    return (first, *(text for text in (*more, doubt) if text))


def span(values: Iterable[int]) -> str:
    """ "3", or "3 to 6" where they differ."""
    found = sorted(values) or [0]
    return f"{found[0]}" if found[0] == found[-1] else f"{found[0]} to {found[-1]}"


def hollow_note(series: Iterable[Series], text: str = HOLLOW) -> str:
    """``text``, which says what a hollow mark means, where there is one."""
    return text if any(mark.hollow for one in series for mark in one.marks) else ""
