"""What stands behind a cell of a family's table: the sentence that it tells when it is asked.

``bench.report_columns.COLUMNS`` say what a cell shows; here each has its interval or its reasons,
and the number by which it is sorted where its text doesn't begin with that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bench import resources, scores, stats, validity
from bench.accuracy import LIMITS, parity_limit
from bench.doubt_text import told
from bench.record import Measurement
from bench.report_page.prose import words
from bench.rows import Row, Table, doubts, parity_with, speedup
from bench.stats import Estimate
from bench.text import ALONE, AS_AN_AA_PAIR, interval_text, percent_interval, top1


@dataclass(frozen=True)
class Behind:
    """A sentence for who points at a cell, focuses or taps it; and what it is sorted by.

    ``order``: ``None`` where the cell's own text says it.
    """

    tip: str = ""
    order: float | None = None


def behind(title: str, row: Row, table: Table) -> Behind:
    """What stands behind the cell of that column; nothing where its text says all."""
    known = _KNOWN.get(title)
    if known is None or (row.is_null and title in _OF_A_MODEL):
        return Behind()
    return known(row, table)


def over_blocks(estimate: Estimate | None, scale: float, unit: str, row: Row) -> str:
    """A number with its interval over the blocks, or why there is none."""
    if estimate is None:
        return ""
    text = f"{interval_text(estimate, scale)} {unit}"
    count = len(row.timed)
    if estimate.half_width is None:
        few = f"{count} block{'' if count == 1 else 's'}, an interval takes {stats.LEAST_BLOCKS}"
        return f"{text}, without an interval: {few}"
    return f"{text}: 95 % interval over {count} blocks"


def _time(measure: Callable[[Measurement], float]) -> Callable[[Row, Table], Behind]:
    def found(row: Row, table: Table) -> Behind:
        del table
        return Behind(over_blocks(row.over_blocks(measure), 1e3, "ms", row))

    return found


def _latency(p: float) -> Callable[[Row, Table], Behind]:
    def found(row: Row, table: Table) -> Behind:
        del table
        count = sum(len(block.latencies_ns) for block in row.timed)
        if not row.timed:
            return Behind(words(row.blocks[-1].reason) if p == 0.5 else "")
        if not stats.supported(p, count):
            return Behind(f"{count} inferences; a 95 % interval takes {stats.least_samples(p)}")
        blocks = over_blocks(row.latency_s(p), 1e3, "ms", row)
        return Behind(f"{blocks}; over {count} inferences, as if independent, {_order(row, p)}")

    return found


def _order(row: Row, p: float) -> str:
    return f"{resources.by_order(row, p)} ms"


def _size(row: Row, table: Table) -> Behind:
    del table
    return Behind() if row.file is None else Behind(f"{row.file.size_bytes} bytes")


def _memory(row: Row, table: Table) -> Behind:
    del table
    peak = row.memory_bytes(lambda memory: memory.peak_bytes)
    imported = row.memory_bytes(lambda memory: memory.imported_bytes)
    if peak is None or imported is None:
        return Behind()
    text = over_blocks(imported, 1e-6, "MB", row)
    return Behind(f"peak {over_blocks(peak, 1e-6, 'MB', row)}; the import alone {text}")


def _speedup(row: Row, table: Table) -> Behind:
    reference = table.reference
    if reference is None:
        return Behind()
    if row is reference:
        return Behind("the row that all others of the table are held against", 1.0)
    ratio = speedup(reference, row)
    if ratio is None:
        return Behind("no round in which both were measured")
    rounds = len(reference.image_medians_s.keys() & row.image_medians_s.keys())
    shared = f"{rounds} round{'' if rounds == 1 else 's'}"
    text = (
        f"{interval_text(ratio)} times as fast, paired over {shared}: {_claim(ratio, row, table)}"
    )
    return Behind(text, ratio.value)


def _claim(ratio: Estimate, row: Row, table: Table) -> str:
    """What may be said of a speed-up, as the marks beside it have it."""
    if ratio.half_width is None:
        return "too few for an interval, so that it may be chance"
    if not ratio.excludes(1):
        return "the 95 % interval contains 1"
    if not table.proven(ratio):
        return f"no larger than the A/A pair leaves open ({AS_AN_AA_PAIR})"
    if row.case not in table.held_together:
        return f"told from 1 by itself, not beside the other claims of the table ({ALONE})"
    return "told from 1, with all claims of the table held to 5 % together"


def _parity(row: Row, table: Table) -> Behind:
    del table
    parity = row.parity
    if parity is None:
        return Behind()
    return Behind(
        f"against the {parity_with(row.case)}: largest error {parity.max_error:.2g} of the largest "
        f"output, centred cosine {parity.cosine:.4f}, {top1(parity)}{_bound(row)}",
        float(parity.passed),
    )


def _bound(row: Row) -> str:
    limit = LIMITS.get(parity_limit(row.case))
    if limit is None:
        return ""
    if limit.min_cosine > -1:
        return f" (it fails below a cosine of {limit.min_cosine:g})"
    return f" (it fails beyond an error of {limit.max_error:g})"


def _verdict(row: Row, table: Table) -> Behind:
    del table
    if not row.timed:
        return Behind()
    text = "; ".join(told(row)) or "every figure that the host could tell stayed below its limit"
    return Behind(text, float(validity.LEVELS.index(row.verdict.level)))


def _notes(row: Row, table: Table) -> Behind:
    return Behind(" – ".join(map(words, doubts(row, table))))


def _top1(row: Row, table: Table) -> Behind:
    found = table.scored.get(row.case)
    if found is None:
        return Behind()
    share = scores.top(found, 1)
    text = f"{percent_interval(share)} % of {len(found)} images: 95 % interval"
    return Behind(text, share.value)


def _against_parent(row: Row, table: Table) -> Behind:
    compared = table.compared.get(row.case)
    if compared is None:
        return Behind()
    pair = compared.paired
    told_apart = "told from none" if compared.told else "not told from none"
    return Behind(
        f"of {pair.images} images {pair.lost} turned wrong and {pair.won} right: {told_apart} by "
        "McNemar's test",
        (pair.won - pair.lost) / pair.images,
    )


_OF_A_MODEL = frozenset({"file MB", "speed-up (95 %)", "top-1 %", "vs fp32 parent"})
"""Columns that the harness's own row leaves empty."""
_KNOWN: Mapping[str, Callable[[Row, Table], Behind]] = MappingProxyType(
    {
        "file MB": _size,
        "load ms": _time(lambda block: block.load_s),
        "first ms": _time(lambda block: block.first_s),
        **{f"p{100 * p:g} ms": _latency(p) for p in resources.PERCENTILES},
        "CPU ms": _time(lambda block: block.cpu_s / len(block.latencies_ns)),
        "peak MB (import)": _memory,
        "speed-up (95 %)": _speedup,
        "parity": _parity,
        "top-1 %": _top1,
        "vs fp32 parent": _against_parent,
        "verdict": _verdict,
        "notes": _notes,
    }
)
