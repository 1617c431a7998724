"""Rows -> further tables: intervals, what a row costs besides time, what speaks against it.

Pure functions over ``bench.rows``; ``bench.report_family`` prints what they return.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from bench import stats, validity
from bench.matrix import Grid, one_each
from bench.record import Measurement, Memory
from bench.rows import Row, Table, pool, runtime_name, speedup
from bench.stats import Estimate
from bench.text import NOTHING, interval_text, number, rounded

PERCENTILES = (0.5, 0.9, 0.95, 0.99)
MOST_RESIDENT = 0.05
"""Of a file that counts as cold, at most this share may be in memory still."""


def tables(table: Table) -> tuple[Grid, ...]:
    """Cold start, memory and doubts of the rows that were measured; none that would be empty."""
    grids = (percentiles(table), cold_starts(table), memory(table), doubtful(table))
    return tuple(grid for grid in grids if grid.lines)


def percentiles(table: Table) -> Grid:
    """Every percentile that the samples support, with its 95 % interval."""
    rows = [row for row in _shown(table, copies=True) if row.latency_s(0.5)]
    return Grid(
        "Percentiles, ms, with 95 % intervals: over blocks, and over inferences as if independent",
        (*NAMES, "inferences", "p50 over blocks", *(f"p{100 * p:g}" for p in PERCENTILES)),
        tuple(
            (
                *names(row),
                str(sum(len(block.latencies_ns) for block in row.timed)),
                interval_text(row.latency_s(0.5), 1e3),
                *(by_order(row, p) for p in PERCENTILES),
            )
            for row in rows
        ),
        names=len(NAMES),
    )


def by_order(row: Row, p: float) -> str:
    """A percentile over all inferences, between two of them."""
    pooled = [latency for block in row.timed for latency in block.latencies_ns]
    ends = stats.order_statistic_interval(pooled, p)
    if ends is None:
        return NOTHING
    return interval_text(Estimate(stats.percentile(pooled, p), *ends), 1e-6)


def cold_starts(table: Table) -> Grid:
    """From import to the first answer as leaves that sum to the whole, and when it pays."""
    rows = [row for row in _shown(table) if whole_s(row) is not None]
    return Grid(
        "Cold start, ms: the leaves, the whole, and beside read the file once read from disk",
        (
            *NAMES,
            "import",
            "read",
            "(from disk, once)",
            "parse, optimise, pre-pack",
            "first inference",
            "whole",
            "warm-up s (inferences)",
            "pays after",
        ),
        tuple(
            (
                *names(row),
                *(_ms(row, leaf) for leaf in _TO_READ),
                _read_from_disk(row),
                *(_ms(row, leaf) for leaf in _BEHIND),
                _ms(row, lambda block: block.cold_start_s),
                _warm_up(row),
                pays_after(row, table),
            )
            for row in rows
        ),
        names=len(NAMES),
        cases=one_each(rows),
    )


NAMES = ("variant", "recipe", "runtime", "t", "b")
_TO_READ: tuple[Callable[[Measurement], float | None], ...] = (
    lambda block: block.import_s,
    lambda block: block.read_s,
)
_BEHIND: tuple[Callable[[Measurement], float | None], ...] = (
    lambda block: block.load_s,
    lambda block: block.first_s,
)
_ONCE_DIGITS = 2
"""Of what was measured in one child only."""


def memory(table: Table) -> Grid:
    """What is resident and why, what one more worker would cost, and what idling costs."""
    rows = [row for row in _shown(table) if _bytes(row, lambda held: held.anonymous_bytes)]
    return Grid(
        "Memory, MB, and CPU time in the second after the last inference, ms",
        (
            *NAMES,
            "runtime imported",
            "peak",
            "steady",
            "of it anonymous",
            "of it files",
            "a second worker",
            "idle CPU",
        ),
        tuple((*names(row), *_memory_cells(row, table)) for row in rows),
        names=len(NAMES),
        cases=one_each(rows),
    )


def doubtful(table: Table) -> Grid:
    """The rows that are not VALID: every figure that is held against a limit, the worst block's."""
    rows = [row for row in _shown(table, copies=True) if row.verdict.level != "VALID"]
    return Grid(
        "Not VALID: what spoke against the worst block",
        (*NAMES, "verdict", *(f"{code} ({unit})" for code, unit in UNITS.items())),
        tuple(
            (*names(row), row.verdict.level, *(_worst(row, code) for code in UNITS)) for row in rows
        ),
        names=len(NAMES),
    )


UNITS = {
    "foreign-cpu": "cores",
    "steal": "cores",
    "switches": "1/s",
    "canary": "off by",
    "clock": "s",
    "warm-up": "unsettled",
}
"""Code -> the unit of its figure, in the order of the columns."""


def pays_after(row: Row, table: Table) -> str:
    """After how many images a row has made up for a slower start than the reference's.

    "at once" where it starts faster and is not proven to be slower for an image; "never"
    where it is proven to be. Nothing is said of a slower start whose gain is not proven.
    """
    reference = table.reference
    if reference is None or row is reference:
        return NOTHING
    mine, theirs = whole_s(row), whole_s(reference)
    own, other = row.latency_s(0.5), reference.latency_s(0.5)
    if mine is None or theirs is None or own is None or other is None:
        return NOTHING
    later_s = mine - theirs
    saved_s = other.value / reference.case.batch_size - own.value / row.case.batch_size
    ratio = speedup(reference, row)
    proven = ratio is not None and table.proven(ratio)
    if later_s <= 0:
        slower = proven and saved_s < 0
        return f"until {_images(later_s / saved_s)}" if slower else "at once"
    if not proven:
        return NOTHING
    return _images(later_s / saved_s) if saved_s > 0 else "never"


def _images(count: float) -> str:
    return f"{math.ceil(count)} image{'' if math.ceil(count) == 1 else 's'}"


def _shown(table: Table, copies: bool = False) -> Iterable[Row]:
    """The rows with numbers of a model."""
    return (
        row for row in table.rows if row.timed and not row.is_null and (copies or not row.case.copy)
    )


def names(row: Row) -> tuple[str, ...]:
    """What stands in the columns ``NAMES``: which row a line is about, and whether to doubt it."""
    variant, recipe, runtime, *setting = unmarked_names(row)
    return (variant, recipe, runtime + mark(row), *setting)


def unmarked_names(row: Row) -> tuple[str, ...]:
    """The same for a table without times: what disturbs these changes no answer."""
    case = row.case
    return (
        case.shown_variant,
        case.recipe,
        runtime_name(case),
        str(case.threads),
        str(case.batch_size),
    )


def mark(*rows: Row) -> str:
    """What a reader must know before believing a number of this row, or of these together."""
    level = validity.overall(row.verdict for row in rows).level
    return "" if level == "VALID" else f" {level}"


def usual_block(row: Row) -> Measurement:
    """The block whose whole cold start is the middle one: its leaves sum to its whole."""
    ordered = sorted(row.timed, key=lambda block: block.cold_start_s or 0.0)
    return ordered[(len(ordered) - 1) // 2]


def whole_s(row: Row) -> float | None:
    """The whole cold start, the middle of the blocks'."""
    if any(block.cold_start_s is None for block in row.timed):
        return None
    return usual_block(row).cold_start_s


def _ms(row: Row, leaf: Callable[[Measurement], float | None]) -> str:
    """Of the usual block, with the digits that all blocks support."""
    estimate = row.over_blocks(lambda block: leaf(block) or 0.0)
    if estimate is None:
        return NOTHING
    return number(replace(estimate, value=leaf(usual_block(row)) or 0.0), 1e3)


def _read_from_disk(row: Row) -> str:
    """By the one child whose file was dropped from memory before, if it was seen to be gone."""
    colds = [block.cold for block in row.timed if block.cold is not None]
    gone = [c for c in colds if c.resident_share is not None and c.resident_share <= MOST_RESIDENT]
    return rounded(1e3 * gone[-1].read_s, digits=_ONCE_DIGITS) if gone else NOTHING


def _warm_up(row: Row) -> str:
    """The longest of the blocks'."""
    longest = max(row.timed, key=lambda block: block.warmup_s)
    return f"{longest.warmup_s:.1f} ({longest.warmup_inferences})"


def _memory_cells(row: Row, table: Table) -> tuple[str, ...]:
    parts: tuple[Callable[[Memory], int | None], ...] = (
        lambda held: held.imported_bytes,
        lambda held: held.peak_bytes,
        lambda held: held.steady_bytes,
        lambda held: held.anonymous_bytes,
        lambda held: held.file_bytes,
        lambda held: (
            None if held.shareable_bytes is None else held.steady_bytes - held.shareable_bytes
        ),
    )
    idle_s = table.idle_cpu_s.get(pool(row.case))
    return (
        *(_bytes(row, part) or NOTHING for part in parts),
        NOTHING if idle_s is None else rounded(1e3 * idle_s),
    )


def _bytes(row: Row, part: Callable[[Memory], int | None]) -> str:
    """MB; nothing where a block can't tell."""
    values = [None if block.memory is None else part(block.memory) for block in row.timed]
    if any(value is None for value in values):
        return ""
    estimate = row.memory_bytes(lambda held: part(held) or 0)
    return "" if estimate is None else number(estimate, 1e-6)


def _worst(row: Row, code: str) -> str:
    """The largest figure of the blocks; marked where it is beyond its limit."""
    found = [
        figures[code]
        for block in row.timed
        if code in (figures := validity.figures(block, row.usual_canary_s))
    ]
    if not found:
        return NOTHING
    text = rounded(max(found), digits=2)
    return f"**{text}**" if max(found) >= validity.LIMITS[code].suspect else text
