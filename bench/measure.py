"""The only loop that reads a clock; the clock is an argument."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Input = TypeVar("Input")
Clock = Callable[[], int]
"""Nanoseconds on a monotonic scale."""

MOST_INFERENCES = 1000
"""A timed loop ends here even if time is left."""

WARMUP_LEAST_NS = 500_000_000
WARMUP_MOST_NS = 6_000_000_000
WINDOW_LEAST_NS = 150_000_000
WINDOW_LEAST_INFERENCES = 3
SETTLED_WITHIN = 0.05


@dataclass(frozen=True)
class WarmUp:
    """What happened before the timed loop; none of it enters a percentile."""

    total_ns: int
    inferences: int
    settled: bool


def warm_up(
    call: Callable[[Input], object],
    inputs: Sequence[Input],
    clock: Clock,
    least_ns: int = WARMUP_LEAST_NS,
    most_ns: int = WARMUP_MOST_NS,
) -> WarmUp:
    """Call until the latency has settled, at least ``least_ns``, at most ``most_ns``.

    The rule: inferences are taken in windows of at least 3 inferences and
    150 ms; the latency has settled when the medians of two windows in a row
    differ by at most 5 %. The first inference of all, where lazy compilers pay,
    belongs to the cold start and must have been made before.
    """
    turn = itertools.cycle(inputs)
    begun = clock()
    count, before, settled = 0, None, False
    while True:
        window = _window(call, turn, clock)
        count += len(window)
        median = sorted(window)[len(window) // 2]
        settled = before is not None and abs(median - before) <= SETTLED_WITHIN * before
        before = median
        spent = clock() - begun
        if (settled and spent >= least_ns) or spent >= most_ns:
            return WarmUp(spent, count, settled)


def _window(
    call: Callable[[Input], object], turn: itertools.cycle[Input], clock: Clock
) -> list[int]:
    """Latencies (ns) of one window of the warm-up."""
    window: list[int] = []
    begun = clock()
    while len(window) < WINDOW_LEAST_INFERENCES or clock() - begun < WINDOW_LEAST_NS:
        start = clock()
        call(next(turn))
        window.append(clock() - start)
    return window


def timed_loop(
    call: Callable[[Input], object],
    inputs: Sequence[Input],
    clock: Clock,
    seconds: float,
    least: int = 1,
    most: int = MOST_INFERENCES,
) -> tuple[int, ...]:
    """Latencies in nanoseconds, one for each inference.

    Ends after ``seconds`` (but not before ``least`` inferences) or after
    ``most`` inferences, whichever is first. ``inputs`` are taken in turn.
    """
    turn = itertools.cycle(inputs)
    latencies: list[int] = []
    end = clock() + int(seconds * 1e9)
    while len(latencies) < most:
        batch = next(turn)
        start = clock()
        call(batch)
        stop = clock()
        latencies.append(stop - start)
        if stop >= end and len(latencies) >= least:
            break
    return tuple(latencies)
