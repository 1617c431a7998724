"""What opens for one row: its blocks one by one, as text, tables and what is drawn.

Everything is text by now, made by the functions that make the Markdown tables; the page's
script only puts it into place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench import resources, row_text, stats, validity
from bench.doubt_text import told
from bench.record import ColdStart, Measurement
from bench.report_page.parts import Lines, Part
from bench.report_page.prose import words
from bench.report_page.provenance import answers, operators, provenance
from bench.report_page.samples import distribution, milliseconds, thinned
from bench.rows import Row, Table, doubts
from bench.text import NOTHING, interval_text, megabytes, rounded


def details(row: Row, table: Table, points: int) -> dict[str, Any]:
    """Everything about one row; ``points`` are drawn of each of its blocks at most."""
    parts = {name: make(row, table, points) for name, make in _MADE.items()}
    return {
        "name": row_text.label(row, table.varying),
        "key": str(row.case),
        "parts": {name: part.json for name, part in parts.items() if part.json},
    }


def _doubts(row: Row, table: Table, points: int) -> Part:
    del points
    verdict = (row_text.verdict_text(row.verdict), *told(row)) if row.timed else ()
    said = (*verdict, *map(words, doubts(row, table)))
    return Part(said, {"figures": tuple(_figures(block, row) for block in row.timed)})


def _figures(block: Measurement, row: Row) -> tuple[str, ...]:
    found = validity.figures_judged(block, row.usual_canary_s)
    verdict = row_text.verdict_text(validity.judge(block, row.usual_canary_s))
    figures = (
        rounded(found[code], digits=2) if code in found else NOTHING for code in resources.UNITS
    )
    return (_number(block), block.started or NOTHING, verdict, *figures)


def _number(block: Measurement) -> str:
    return str(block.round + 1)


def _times(row: Row, table: Table, points: int) -> Part:
    del table
    if not row.timed:
        return Part()
    count = sum(len(block.latencies_ns) for block in row.timed)
    whole = all(len(block.latencies_ns) <= points for block in row.timed)
    drawn = (
        "All of them are drawn."
        if whole
        else f"Drawn are {points} of each block at most: the fastest and the slowest of each of "
        f"{points // 2} stretches of it. The figures are of all inferences."
    )
    least = rounded(min(min(block.latencies_ns) for block in row.timed) / 1e6)
    most = rounded(max(max(block.latencies_ns) for block in row.timed) / 1e6)
    blocks = f"{len(row.timed)} block{'' if len(row.timed) == 1 else 's'}"
    return Part(
        (f"{count} inferences in {blocks}, between {least} and {most} ms. {drawn}",),
        {"blocks": tuple(map(_block, row.timed))},
        chart=[
            {
                "block": block.round + 1,
                "count": len(block.latencies_ns),
                "ms": thinned(block.latencies_ns, points),
            }
            for block in row.timed
        ],
    )


def _block(block: Measurement) -> tuple[str, ...]:
    ends = (min(block.latencies_ns), stats.percentile(block.latencies_ns, 0.5))
    ms = (rounded(value / 1e6) for value in (*ends, max(block.latencies_ns)))
    settled = "" if block.warmup_settled else ", not settled"
    return (
        _number(block),
        str(len(block.latencies_ns)),
        *ms,
        rounded(1e3 * block.cpu_s / len(block.latencies_ns)),
        f"{block.warmup_s:.1f} ({block.warmup_inferences} inferences{settled})",
    )


def _spread(row: Row, table: Table, points: int) -> Part:
    del table, points
    if not row.timed:
        return Part()
    medians = [rounded(stats.percentile(one.latencies_ns, 0.5) / 1e6) for one in row.timed]
    return Part(
        (
            f"Share of the inferences that took at most so long. Medians of the blocks, ms: "
            f"{', '.join(medians)}.",
        ),
        {"percentiles": tuple(_percentile(row, p) for p in resources.PERCENTILES)},
        chart=[
            {"block": block.round + 1, "ms": distribution(block.latencies_ns)}
            for block in row.timed
        ],
    )


def _percentile(row: Row, p: float) -> tuple[str, ...]:
    blocks = interval_text(row.latency_s(p), 1e3)
    return (f"p{100 * p:g}", resources.by_order(row, p), blocks)


def _start(row: Row, table: Table, points: int) -> Part:
    del points
    known = [block for block in row.timed if block.cold_start_s is not None]
    if not known:
        return Part()
    pays = resources.pays_after(row, table)
    said = "" if pays == NOTHING else f"Pays after, against the reference: {pays}."
    return Part(
        (said,) if said else (),
        {"leaves": (*(_leaves(block) for block in known), *_from_disk(known))},
        chart=[
            {"block": block.round + 1, "ms": [milliseconds(1e9 * part) for part in _parts_s(block)]}
            for block in known
        ],
    )


def _parts_s(block: Measurement) -> tuple[float, ...]:
    return (block.import_s, block.read_s or 0.0, block.load_s, block.first_s)


def _leaves(block: Measurement) -> tuple[str, ...]:
    whole = block.cold_start_s or 0.0
    return (_number(block), *(rounded(1e3 * one) for one in (*_parts_s(block), whole)))


def _cold_parts_s(cold: ColdStart) -> tuple[float, ...]:
    return (cold.import_s, cold.read_s, cold.load_s, cold.first_s, cold.total_s)


def _from_disk(blocks: Sequence[Measurement]) -> Lines:
    """One child each, with the file out of memory, as far as that was seen."""
    return tuple(
        (f"{_number(block)}, from disk", *(rounded(1e3 * one) for one in _cold_parts_s(cold)))
        for block in blocks
        if (cold := block.cold) is not None
        and cold.resident_share is not None
        and cold.resident_share <= resources.MOST_RESIDENT
    )


def _memory(row: Row, table: Table, points: int) -> Part:
    del table, points
    lines = tuple(line for block in row.timed if (line := _held(block)))
    return Part(tables={"held": lines}) if lines else Part()


def _held(block: Measurement) -> tuple[str, ...]:
    held = block.memory
    if held is None:
        return ()
    second = None if held.shareable_bytes is None else held.steady_bytes - held.shareable_bytes
    sizes = (held.imported_bytes, held.peak_bytes, held.steady_bytes)
    others = (held.anonymous_bytes, held.file_bytes, second)
    shown = (NOTHING if size is None else megabytes(size) for size in (*sizes, *others))
    return (_number(block), *shown)


_MADE: Mapping[str, Callable[[Row, Table, int], Part]] = {
    "doubts": _doubts,
    "times": _times,
    "spread": _spread,
    "start": _start,
    "memory": _memory,
    "operators": lambda row, table, points: operators(row, table),
    "answers": lambda row, table, points: answers(row, table),
    "provenance": lambda row, table, points: provenance(row),
}
"""The parts by their names in ``bench.report_page.parts.PARTS``."""
