"""What one cell says of a row's accuracy: top-1, and what was lost against the fp32 parent.

Pure functions over ``bench.rows``.
"""

from __future__ import annotations

from collections.abc import Callable

from bench import scores
from bench.rows import Compared, Row, Table, fp32_rows
from bench.scores import Paired
from bench.text import NOTHING, difference_text, difference_value, percent

WORSE, BETTER = "▼", "▲"
PARENT = "parent"


def top1(row: Row, table: Table) -> str:
    """Accuracy in percent; of sampled images alone with their number."""
    found = table.scored.get(row.case)
    if found is None:
        return NOTHING
    text = percent(scores.top(found, 1))
    return text if row.answers else f"~{text} ({len(found)} images)"


def against_parent(row: Row, table: Table) -> str:
    """Points of accuracy gained or lost, with the interval, marked where told from none."""
    return _against(row, table, points)


def change(row: Row, table: Table) -> str:
    """The same without the interval, where there is little room."""
    return _against(row, table, lambda paired: difference_value(paired.difference, 100))


def _against(row: Row, table: Table, text: Callable[[Paired], str]) -> str:
    compared = table.compared.get(row.case)
    if compared is None:
        own = fp32_rows(row.case.variant, table)
        return PARENT if own and row is own[0] else NOTHING
    said = text(compared.paired) + mark(compared)
    return said if row.answers else f"~{said}"


def points(paired: Paired) -> str:
    """What a row gained or lost, with the interval."""
    return difference_text(paired.difference, 100)


def mark(compared: Compared) -> str:
    """Whether McNemar's test tells a row from its parent, and which of the two is better."""
    if not compared.told:
        return ""
    return f" {WORSE if compared.paired.lost > compared.paired.won else BETTER}"
