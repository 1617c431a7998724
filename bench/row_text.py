"""What is said of one row: its name, its speed-up and its verdict, and all that in a line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from bench import scenario_tables, validity
from bench.case import Case
from bench.record import Measurement
from bench.rows import (
    Row,
    Table,
    family_of,
    reference_case,
    runtime_name,
    speedup,
    whereabouts,
)
from bench.stats import Estimate
from bench.text import ALONE, NOTHING, number, speedup_text
from export.printable import one_line


def row_name(row: Row, table: Table) -> str:
    """A row in a sentence."""
    return f"`{label(row, table.varying)}`"


def label(row: Row, varying: Collection[str]) -> str:
    """How a sentence names a row; ``varying`` are the fields of its case that tell rows apart."""
    names = [
        "" if row.is_null else f"{row.case.shown_variant} {row.case.recipe}",
        runtime_name(row.case),
    ]
    names += [f"t{row.case.threads}"] if "threads" in varying else []
    names += [f"b{row.case.batch_size}"] if "batch_size" in varying else []
    return " ".join(name for name in names if name)


def marked(ratio: Estimate | None, table: Table, *, holds: bool) -> str:
    """A speed-up, with the mark of one that is proven by itself and not beside the others."""
    text = speedup_text(ratio, table.told_apart)
    alone = ratio is not None and table.proven(ratio) and not holds
    return f"{text} {ALONE}" if alone else text


def verdict_text(verdict: validity.Verdict) -> str:
    """The level, and what spoke against it."""
    return " ".join((verdict.level, ", ".join(verdict.codes))).strip()


def row_line(case: Case, measurements: Iterable[Measurement], planned: Sequence[Case] = ()) -> str:
    """One row in a line: name, p50, and its speed-up as far as it is known by now.

    ``measurements`` are all of the run so far; ``case`` must be among them. As long as
    the reference of the ``planned`` cases is not, there is no speed-up: against another
    row it would be another number.
    """
    measurements = tuple(measurements)
    table, row = whereabouts(case, measurements)
    name = f"{label(row, table.varying):<42}"
    if not row.timed:
        last = row.blocks[-1]
        return f"{name} {last.status}: {one_line(last.reason)}"
    if case.scenario != "single":
        return f"{name} {scenario_tables.summary(row)}"
    p50 = row.latency_s(0.5)
    line = f"{name} p50 {NOTHING if p50 is None else number(p50, 1e3):>7} ms{_right(row)}"
    if table.reference is None or row is table.reference or row.is_null:
        return line
    known = (*planned, *(block.case for block in measurements)) if planned else ()
    if known and table.reference.case != reference_case(_relatives(case, known)):
        return line
    ratio = speedup(table.reference, row)
    if ratio is not None:
        line = f"{line}  {number(ratio)}x"
    return line if row.verdict.level == "VALID" else f"{line}  {verdict_text(row.verdict)}"


def _right(row: Row) -> str:
    """For how many labelled images a row's first answer is right, as far as it was asked."""
    answers = row.answers or row.sampled
    if answers is None:
        return ""
    share = answers.ranks.count(0) / len(answers.ranks)
    few = f" of {len(answers.ranks)}" if answers.indices else ""
    return f"  top-1 {share:.1%}{few}".replace("%", " %")


def _relatives(case: Case, cases: Iterable[Case]) -> list[Case]:
    """Those that stand in one table with ``case``."""
    ours = (family_of(case), case.weights)
    return [one for one in cases if (family_of(one), one.weights) == ours]
