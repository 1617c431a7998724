"""What quiet and disturbed blocks look like: where the limits of ``bench.validity`` come from.

Each block is measured twice a round, in crossover order: once with the machine left alone,
once beside a busy loop that is pinned to one core.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from bench import stats, validity
from bench.case import Case, crossover
from bench.method.experiment import BLOCK_S, Experiment, Lab, Outcome, Size
from bench.record import Measurement
from bench.text import NOTHING, rounded
from bench.validity import LIMITS

QUIET, STRESSED = "", "stressed"
STATES = (QUIET, STRESSED)
_SHARES = (0.5, 0.9, 0.95, 0.99)
_HEAD = ("indicator", "state", "blocks", "median", "90 %", "95 %", "99 %", "most")
_LOOP = "import os\nos.sched_setaffinity(0, {%d})\nprint(flush=True)\nwhile True: pass"


@contextlib.contextmanager
def busy_core(core: int) -> Iterator[None]:
    """A process that keeps one core busy, from its first turn on until the context ends."""
    process = subprocess.Popen([sys.executable, "-c", _LOOP % core], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


@functools.lru_cache
def order(size: Size) -> tuple[tuple[int, Case], ...]:
    """Every block in measuring order: each case once a round in each state."""
    cases = [replace(case, copy=state) for case in size.cases for state in STATES]
    return tuple(crossover(cases, size.blocks, size.seed))


def watch(index: int, lab: Lab) -> Measurement:
    """One block, beside a busy loop if it is a stressed one."""
    number, case = order(lab.size)[index]
    if case.copy == QUIET:
        return slim(lab.block(case, number))
    with busy_core(max(os.sched_getaffinity(0))):
        return slim(lab.block(case, number))


def slim(block: Measurement) -> Measurement:
    """Without what the file consists of, which no experiment on the method asks for."""
    return replace(block, file=None, execution=None)


def expected_s(size: Size) -> float:
    """Under stress a child takes half as long again to start."""
    return len(order(size)) * (1.25 * BLOCK_S + size.seconds)


def in_state(blocks: Sequence[Measurement], state: str) -> tuple[Measurement, ...]:
    """The blocks that were measured in one state."""
    return tuple(block for block in blocks if block.case.copy == state)


def figures(blocks: Sequence[Measurement], state: str) -> Mapping[str, list[float]]:
    """Code -> its figure in every block of a state, as ``bench.validity`` takes it."""
    usual = validity.usual_canary_s(in_state(blocks, QUIET))
    found: dict[str, list[float]] = {}
    for block in in_state(blocks, state):
        for code, value in validity.figures(block, usual).items():
            found.setdefault(code, []).append(value)
    return found


def quantiles(values: Sequence[float]) -> list[str]:
    """Median, 90, 95, 99 % and the most, as a table shows them."""
    found = [stats.percentile(values, share) for share in _SHARES]
    return [rounded(value) for value in (*found, max(values))]


def table(blocks: Sequence[Measurement]) -> str:
    """Every indicator in both states, beside the limits that stand in ``bench.validity``."""
    lines = [[*_HEAD, "suspect from", "invalid from"]]
    by_state = {state: figures(blocks, state) for state in STATES}
    for code, limit in LIMITS.items():
        limits = [
            NOTHING if at == validity.NEVER else f"{at:g}" for at in (limit.suspect, limit.invalid)
        ]
        for state, found in by_state.items():
            if code in found:
                count = str(len(found[code]))
                lines.append(
                    [f"`{code}`", state or "quiet", count, *quantiles(found[code]), *limits]
                )
    return markdown(lines)


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table; the first line is its head."""
    ruler = ["---"] * len(lines[0])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (lines[0], ruler, *lines[1:]))


def doubted(blocks: Sequence[Measurement], state: str) -> list[Measurement]:
    """The blocks of a state that ``bench.validity`` doubts."""
    usual = validity.usual_canary_s(in_state(blocks, QUIET))
    found = in_state(blocks, state)
    return [block for block in found if validity.judge(block, usual).level != "VALID"]


def judge(size: Size, blocks: Sequence[Measurement]) -> Outcome:
    """The table; nothing is demanded of it, the experiment ``stressor`` tests the limits."""
    del size
    parts = [
        f"{len(doubted(blocks, state))} of {len(in_state(blocks, state))} {state or 'quiet'} blocks"
        for state in STATES
    ]
    return Outcome(f"The limits as they stand doubt {' and '.join(parts)}.", table=table(blocks))


def draw(figure: Any, size: Size, blocks: Sequence[Measurement]) -> None:
    """Each indicator's distribution function in both states, with the limits."""
    del size
    by_state = {state: figures(blocks, state) for state in STATES}
    codes = [code for code in LIMITS if any(code in found for found in by_state.values())]
    for axes, code in zip(figure.subplots(1, len(codes), squeeze=False)[0], codes, strict=True):
        for state, found in by_state.items():
            axes.ecdf(found.get(code, [0.0]), label=state or "quiet")
        for at in (LIMITS[code].suspect, LIMITS[code].invalid):
            if at < validity.NEVER:
                axes.axvline(at, color="grey", linestyle=":")
        axes.set_title(code)
    figure.axes[0].set_ylabel("share of blocks")
    figure.axes[0].legend()


EXPERIMENT = Experiment(
    question="What do the indicators of disturbance read in quiet blocks, and what in blocks "
    "beside a busy loop on one core? The limits of `bench/validity.py` are chosen from this.",
    line=TypeAdapter(Measurement),
    defaults=Size(
        pairs=1,
        blocks=36,
        variants=("revisited-v6", "xception-gap"),
        seconds=0.6,
    ),
    units=lambda size: len(order(size)),
    expected_s=expected_s,
    measure=watch,
    judge=judge,
    draw=draw,
)
