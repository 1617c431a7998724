"""The columns of a family's table: each is listed here and nowhere else.

Pure functions over ``bench.rows``; ``bench.report_family`` prints what they return.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench import resources, score_cells, score_tables
from bench.accuracy import LIMITS, parity_limit
from bench.record import Measurement
from bench.roofline import share_of_attainable
from bench.row_text import marked, verdict_text
from bench.rows import Row, Table, doubts, runtime_name, speedup
from bench.text import NOTHING, megabytes, millions, number, top1

_COUNTED = ("onnx", "pt2")
"""Formats whose files are opened and counted."""


@dataclass(frozen=True)
class Column:
    """A title, what stands in a row, and whether a table needs the column at all."""

    title: str
    cell: Callable[[Row, Table], str]
    needed: Callable[[Table], bool] = lambda table: True
    align: str = "right"


def _size(row: Row, table: Table) -> str:
    if row.file is None or row.is_null:
        return NOTHING
    text = megabytes(row.file.size_bytes)
    return f"**{text}**" if _is_smallest(row, table) else text


def _is_smallest(row: Row, table: Table) -> bool:
    """Whether a row could be shipped, keeps its accuracy, and no such row has a smaller file."""
    least = table.best_small
    if least is None or least.file is None or row.file is None:
        return False
    best = row.candidate and row in table.accurate
    return best and row.file.size_bytes == least.file.size_bytes


def _parameters(row: Row, table: Table) -> str:
    del table
    if row.file is None or row.is_null:
        return NOTHING
    return f"{millions(row.file.parameters)} ({millions(row.file.nonzero_parameters)})"


def _rounded_to_zero(row: Row, table: Table) -> str:
    del table
    if row.file is None or row.is_null or row.file.format not in _COUNTED:
        return NOTHING
    return millions(row.file.rounded_to_zero)


def _any_rounded(table: Table) -> bool:
    return any(row.file and row.file.rounded_to_zero for row in table.rows if not row.is_null)


def _time(measure: Callable[[Measurement], float]) -> Callable[[Row, Table], str]:
    """A column of milliseconds from one figure a block, in seconds."""

    def cell(row: Row, table: Table) -> str:
        del table
        estimate = row.over_blocks(measure)
        return NOTHING if estimate is None else number(estimate, 1e3)

    return cell


def _latency(p: float) -> Callable[[Row, Table], str]:
    """A column of milliseconds for one percentile."""

    def cell(row: Row, table: Table) -> str:
        if not row.timed:
            return row.blocks[-1].status if p == 0.5 else NOTHING
        estimate = row.latency_s(p)
        if estimate is None:
            return NOTHING
        text = number(estimate, 1e3)
        return f"**{text}**" if p == 0.5 and row is table.best_fast else text

    return cell


def _memory(row: Row, table: Table) -> str:
    del table
    peak = row.memory_bytes(lambda memory: memory.peak_bytes)
    imported = row.memory_bytes(lambda memory: memory.imported_bytes)
    if peak is None or imported is None:
        return NOTHING
    return f"{number(peak, 1e-6)} ({number(imported, 1e-6)})"


def _speedup(row: Row, table: Table) -> str:
    if row is table.reference:
        return "reference"
    if row.is_null or table.reference is None:
        return NOTHING
    ratio = speedup(table.reference, row)
    return marked(ratio, table, holds=row.case in table.held_together)


def _verdict(row: Row, table: Table) -> str:
    del table
    return verdict_text(row.verdict) if row.timed else NOTHING


def _parity(row: Row, table: Table) -> str:
    del table
    parity = row.parity
    if parity is None:
        return NOTHING
    if row.is_null:
        return "ok?" if parity.passed else "FAIL, as it must"
    limit = LIMITS.get(parity_limit(row.case))
    by_cosine = limit is not None and limit.min_cosine > -1
    short = f"cos {parity.cosine:.4f}" if by_cosine else f"err {parity.max_error:.1e}"
    agree = "" if parity.top1_agreement == 1 else f", {top1(parity)}"
    return f"{'ok' if parity.passed else 'FAIL'}, {short}{agree}"


def _attainable(row: Row, table: Table) -> str:
    share = share_of_attainable(row, table)
    return NOTHING if share is None else number(share, 100)


def _note_numbers(row: Row, table: Table) -> str:
    return ", ".join(str(table.notes[text]) for text in doubts(row, table))


def _named(text: Callable[[Row], str]) -> Callable[[Row, Table], str]:
    """A column that the harness's own row leaves empty: it measures no file."""
    return lambda row, table: NOTHING if row.is_null else text(row)


COLUMNS = (
    Column("variant", _named(lambda row: row.case.shown_variant), align="left"),
    Column("recipe", _named(lambda row: row.case.recipe), align="left"),
    Column("runtime", lambda row, table: runtime_name(row.case), align="left"),
    Column(
        "threads",
        lambda row, table: str(row.case.threads),
        lambda table: "threads" in table.varying,
    ),
    Column(
        "batch",
        lambda row, table: str(row.case.batch_size),
        lambda table: "batch_size" in table.varying,
    ),
    Column("file MB", _size),
    Column("parameters M (non-zero)", _parameters),
    Column("rounded to 0, M", _rounded_to_zero, _any_rounded),
    Column("load ms", _time(lambda block: block.load_s)),
    Column("first ms", _time(lambda block: block.first_s)),
    *(Column(f"p{100 * p:g} ms", _latency(p)) for p in resources.PERCENTILES),
    Column("CPU ms", _time(lambda block: block.cpu_s / len(block.latencies_ns))),
    Column("% of attainable", _attainable, lambda table: bool(table.peaks)),
    Column("peak MB (import)", _memory),
    Column("speed-up (95 %)", _speedup),
    Column("parity", _parity, align="left"),
    Column("top-1 %", score_cells.top1, score_tables.any_answers),
    Column("vs fp32 parent", score_cells.against_parent, score_tables.any_compared),
    Column("verdict", _verdict, align="left"),
    Column("notes", _note_numbers, lambda table: bool(table.notes), align="left"),
)


COMPACT = frozenset(column.title for column in COLUMNS) - {
    "parameters M (non-zero)",
    "rounded to 0, M",
    "first ms",
    "p90 ms",
    "p99 ms",
    "CPU ms",
    "% of attainable",
    "peak MB (import)",
}
"""The columns that a terminal has room for."""
