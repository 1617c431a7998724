"""At a glance: sentences on the smallest file and the fastest row of each table."""

from __future__ import annotations

from collections.abc import Mapping

from bench import resources, score_cells
from bench.row_text import marked, row_name
from bench.rows import MOST_LOST, Row, Table, speedup
from bench.text import megabytes, number, rounded, speedup_text

_RIVALS = 3


def glance(found: Mapping[tuple[str, str], Table]) -> str:
    """The sentences of every family, a line each."""
    return "\n".join(
        f"- **{family}** ({weights}): {at_a_glance(table)}"
        for (family, weights), table in found.items()
    )


def at_a_glance(table: Table) -> str:
    """The smallest file and the fastest row of a table, against its reference.

    Where accuracy was taken, of the rows that keep it; who was passed over is named.
    """
    small, fast, reference = table.best_small, table.best_fast, table.reference
    found = []
    if small is not None and small.file is not None:
        found.append(
            f"Smallest file: {row_name(small, table)}, {megabytes(small.file.size_bytes)} MB"
            f"{_times_smaller(small, reference)}{_accuracy(small, table)}"
            f"{_passed_over('smaller', table.smallest, table)}."
        )
    if fast is not None and (p50 := fast.latency_s(0.5)):
        found.append(
            f"Fastest: {row_name(fast, table)}{resources.mark(fast)}, p50 {number(p50, 1e3)} ms"
            f"{_times_faster(fast, table)}{_accuracy(fast, table)}{_rivals(fast, table)}"
            f"{_passed_over('faster', table.fastest, table)}."
        )
    if found and table.judged:
        found.append(_CONDITION)
    if reference is not None and found:
        facts = f"{_reference_facts(reference)}{_accuracy(reference, table)}"
        found.append(f"(Reference: {row_name(reference, table)}{facts}.)")
    return " ".join(found) or (_NOTHING_KEPT if table.smallest else _NOTHING_RIGHT)


def _accuracy(row: Row, table: Table) -> str:
    """How often a row's answers are right: small and fast is not all that counts."""
    return f", top-1 {score_cells.top1(row, table)} %" if row.answers else ""


_NOTHING_RIGHT = "No row is both measured and right."
_NOTHING_KEPT = (
    f"No row that is measured and right is within {MOST_LOST} point of top-1 of its network in "
    "fp32 and of the one that this was made from."
)
_CONDITION = (
    f"Chosen among the rows not seen to lose more than {MOST_LOST} point of top-1 to their own "
    "network in fp32, or to the one that this was made from."
)


def _passed_over(how: str, best: Row | None, table: Table) -> str:
    """The row that is better but loses too much, if the best one does."""
    if best is None or best in table.accurate:
        return ""
    found = table.judged[best.case]
    lost = score_cells.points(found.paired)
    name, parent = row_name(best, table), row_name(found.parent, table)
    return f"; {how} but passed over for its accuracy: {name}, {lost} points against {parent}"


def _times_smaller(row: Row, reference: Row | None) -> str:
    if reference is None or row.file is None or reference.file is None or row is reference:
        return ""
    ratio = reference.file.size_bytes / row.file.size_bytes
    return f", {rounded(ratio)} times smaller than the reference" if ratio > 1 else ""


def _times_faster(row: Row, table: Table) -> str:
    reference = table.reference
    if reference is None:
        return ""
    if row is reference:
        return ", the reference itself"
    estimate = speedup(reference, row)
    if estimate is None:
        return ""
    if estimate.half_width is None:
        return f", {speedup_text(estimate)} the speed of the reference, without an interval"
    text = marked(estimate, table, holds=row.case in table.held_together)
    if not table.proven(estimate):
        return f", against the reference {text}"
    return f", {text} the speed of the reference"


def _rivals(fast: Row, table: Table) -> str:
    """Those that may be just as fast: their ratio's interval contains 1, or the A/A pair's does."""
    names = []
    known = (fast, table.reference)  # the sentence already says how fast it is against that
    for row in table.accurate:
        ratio = speedup(row, fast) if row.candidate and row not in known else None
        if ratio and ratio.half_width is not None and not table.proven(ratio):
            names.append(f"{row_name(row, table)}{resources.mark(row)}")
    more = f" and {len(names) - _RIVALS} more" if len(names) > _RIVALS else ""
    return f"; not distinguishable from {', '.join(names[:_RIVALS])}{more}" if names else ""


def _reference_facts(row: Row) -> str:
    p50 = row.latency_s(0.5)
    size = f", {megabytes(row.file.size_bytes)} MB" if row.file else ""
    return size + (f", p50 {number(p50, 1e3)} ms" if p50 else "")
