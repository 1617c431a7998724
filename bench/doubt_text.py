"""What speaks against a row's numbers, in words, each with the figure behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench import validity
from bench.rows import Row
from bench.text import rounded


def told(row: Row) -> tuple[str, ...]:
    """What speaks against a row: a sentence for each code, with the worst block's figure."""
    found = [validity.figures_judged(block, row.usual_canary_s) for block in row.timed]
    return tuple(_told(code, row, found) for code in row.verdict.codes)


def told_with_test(row: Row) -> tuple[str, ...]:
    """The same of our own loop and of LoadGen's test behind it."""
    judged, usual_s = validity.judge_with_test, row.usual_canary_s
    verdict = validity.of_row(row.timed, usual_s, judged)
    found = [validity.figures_with_test(block, usual_s) for block in row.timed]
    return tuple(_told(code, row, found) for code in verdict.codes)


def _told(code: str, row: Row, known: Sequence[Mapping[str, float]]) -> str:
    """``known`` are the figures of each block."""
    if code == validity.FEW_SAMPLES:
        count = sum(len(block.latencies_ns) for block in row.timed)
        return f"{code}: {count} inferences in all blocks, fewer than {validity.LEAST_SAMPLES}"
    limit = validity.LIMITS[code]
    found = [figures.get(code, 0.0) for figures in known]
    if limit.invalid == validity.NEVER:
        counted = sum(value >= limit.suspect for value in found)
        return f"{code}: {limit.meaning}, in {counted} of {len(found)} blocks"
    worst = rounded(max(found), digits=2)
    bounds = f"SUSPECT from {limit.suspect:g}, INVALID from {limit.invalid:g}"
    return f"{code}: {limit.meaning}: {worst} in the worst block ({bounds})"
