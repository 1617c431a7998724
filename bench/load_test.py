"""MLPerf's scenarios from the parent's side: which test each case gets, and the search for a rate.

LoadGen itself runs in the child (``bench.scenarios``), after our own loop; every
test, and so every rate that the search tries, is a child of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from bench import launch, stats, validity, workers
from bench.block import Effort, image_s, run_block
from bench.case import SAMPLES_PER_QUERY, Case, missing_loadgen
from bench.options import Options
from bench.record import LoadTest, Measurement, Probe
from export.artifact import Artifact

PERCENTILES: Mapping[str, float] = MappingProxyType({"single": 0.9, "multi": 0.99, "server": 0.99})
"""What MLPerf judges a scenario by; Offline has no latency of its own."""
RESOLUTION = 1.1
"""The search ends when the lowest rate that failed is this close to the highest that passed."""
MOST_PROBES = 8
_SPARE = 1.1
"""Poisson arrivals may be so much slower than their rate and still come in time."""
_BOUNDS = 10
"""A server's test lasts so many times its bound: a queue needs time to grow past it."""
_LOAD_TEST = TypeAdapter(LoadTest)


@dataclass(frozen=True)
class Limits:
    """How long one test of LoadGen takes: ``least_s`` where that gives queries enough for its
    early stopping, more where it takes more, never much over ``most_s``.

    ``bound_s`` is what a server's p99 must stay under.
    """

    least_s: float
    most_s: float
    bound_s: float = 0.0


def limits(options: Options) -> Limits:
    """What the user said."""
    return Limits(options.seconds, options.scenario_seconds, options.latency_bound)


def wanted(case: Case, options: Options) -> bool:
    """Whether a block of ``case`` is more than our own loop."""
    if case.scenario != "single":
        return True
    return "single" in options.scenarios and not case.copy and not missing_loadgen()


def run(
    case: Case, number: int, artifact: Artifact, effort: Effort, test_limits: Limits
) -> Measurement:
    """One block of any scenario. Whatever happens to a child becomes part of the result."""
    if case.scenario == "workers":
        return workers.run(case, number, artifact, effort)
    if case.scenario == "server":
        return _search(case, number, artifact, effort, test_limits)
    test = _after_our_loop(lambda expected_s: message(case, expected_s, test_limits))
    return run_block(case, number, artifact, effort, test)


# --- one test


def message(
    case: Case, expected_s: float, test_limits: Limits, rate: float = 0.0
) -> dict[str, Any]:
    """What a child is asked; ``expected_s`` is our own median for one image.

    Where early stopping needs more queries than fit into the time, LoadGen will
    call the test INVALID whatever is done: it is as short as it may be then.
    """
    samples = SAMPLES_PER_QUERY if case.scenario == "multi" else 1
    needed = enough_queries(case.scenario)
    query_s = 1 / rate if rate else expected_s * samples
    fits = needed * query_s <= test_limits.most_s
    least_s = test_limits.least_s
    if case.scenario == "server":
        least_s = min(test_limits.most_s, max(least_s, _BOUNDS * test_limits.bound_s))
    return {
        "do": "scenario",
        "scenario": case.scenario,
        "batch_size": case.batch_size,
        "expected_s": expected_s,
        "least_s": least_s,
        "most_s": test_limits.most_s,
        "queries": needed if fits else 1,
        "samples_per_query": samples,
        "rate": rate,
        "bound_s": test_limits.bound_s,
    }


def enough_queries(scenario: str) -> int:
    """What LoadGen's early stopping needs at least, with one query over the bound."""
    return stats.least_queries(PERCENTILES[scenario]) if scenario in PERCENTILES else 1


def _after_our_loop(
    ask: Callable[[float], Mapping[str, Any]],
) -> Callable[[launch.Child, Measurement], Measurement]:
    """What a block's child does when our own loop has told how long an image takes."""

    def test(child: launch.Child, block: Measurement) -> Measurement:
        asked = ask(image_s(block))
        try:
            answer = child.ask(asked, launch.LOAD_LIMIT_S + 3 * asked["most_s"])
        except launch.ChildDied as exc:
            # What our loop timed is kept; the row is told all the same.
            return replace(block, status="failed", reason=f"LoadGen: {exc}")
        if answer.pop("status") != "ok":
            return replace(block, status="failed", reason=f"LoadGen: {answer['reason']}")
        return replace(block, load_test=_LOAD_TEST.validate_python(answer))

    return test


# --- a server's highest rate


def next_rate(capacity: float, least: float, tried: Sequence[Probe]) -> float | None:
    """The rate to try next (queries a second); ``None``: the search is over.

    Halves from half of ``capacity``, the single stream's rate, until one passes; then the
    middle between the highest that passed and the lowest that failed. What is
    above the capacity can't be sustained and is not tried, nor what is below
    ``least``.
    """
    low, high = bracket(capacity, tried)
    if len(tried) >= MOST_PROBES or (low and high <= RESOLUTION * low):
        return None
    rate = max(least, (low + high) / 2)
    return rate if rate < high else None


def bracket(capacity: float, tried: Sequence[Probe]) -> tuple[float, float]:
    """The highest rate that passed (0: none) below the lowest that did not."""
    high = min((probe.rate for probe in tried if not probe.valid), default=capacity)
    low = max((probe.rate for probe in tried if probe.valid and probe.rate < high), default=0.0)
    return low, high


def least_rate(test_limits: Limits) -> float:
    """Slower arrivals bring too few queries for a p99 within the time of a test."""
    return _SPARE * enough_queries("server") / test_limits.most_s


def search(capacity: float, least: float, probe: Callable[[float], Probe]) -> tuple[Probe, ...]:
    """Every rate that was tried, in that order; ``probe`` tries one."""
    tried: tuple[Probe, ...] = ()
    while (rate := next_rate(capacity, least, tried)) is not None:
        tried += (probe(rate),)
    return tried


class _Broken(Exception):
    """A probe's child failed; the text says how."""


def _search(
    case: Case, number: int, artifact: Artifact, effort: Effort, test_limits: Limits
) -> Measurement:
    """Our own loop, then a child for every rate."""
    begun = time.perf_counter()
    block = run_block(case, number, artifact, effort)
    if block.status != "ok":
        return block
    tests: dict[float, LoadTest] = {}
    # Parity, the cold start and the idle child are the first block's.
    brief = replace(effort, idle_s=0.0, cold=False, explain=False)

    def probe(rate: float) -> Probe:
        test = _after_our_loop(lambda expected_s: message(case, expected_s, test_limits, rate))
        done = run_block(case, number + 1, artifact, brief, test)
        if done.load_test is None:
            raise _Broken(f"at {rate:.3g} queries a second: {done.reason}")
        tests[rate] = done.load_test
        p99_s = done.load_test.percentiles_s["p99"]
        doubts = validity.judge(done, None).codes
        return Probe(rate, p99_s, done.load_test.valid, done.load_test.reasons, doubts)

    try:
        tried = search(1 / image_s(block), least_rate(test_limits), probe)
    except _Broken as exc:
        return replace(block, status="failed", reason=str(exc))
    test = found(1 / image_s(block), test_limits, tried, tests)
    return replace(block, load_test=test, block_s=time.perf_counter() - begun)


def found(
    capacity: float, test_limits: Limits, tried: Sequence[Probe], tests: Mapping[float, LoadTest]
) -> LoadTest:
    """What a search says: the test at the highest rate that passed, with all that were tried."""
    low, high = bracket(capacity, tried)
    needed = enough_queries("server")
    facts = {"latency_bound_s": f"{test_limits.bound_s:g}", "most_rate": f"{capacity:.4g}"}
    if low:
        best = tests[low]
        return replace(best, value=low, probes=tuple(tried), facts={**best.facts, **facts})
    if tried:
        last = tests[high]
        test = replace(last, value=0.0, probes=tuple(tried), facts={**last.facts, **facts})
        return replace(test, reasons=(f"At {high:.3g} queries a second: {last.reasons[0]}",))
    enough_s = math.ceil(2 * _SPARE * needed / capacity)
    reason = (
        f"A p99 needs {needed} queries, which at {capacity:.3g} a second, the most that a single "
        f"stream answers, take longer than --scenario-seconds {test_limits.most_s:g}: "
        f"give {enough_s} or more"
    )
    return LoadTest("queries_per_s", 0.0, valid=False, reasons=(reason,), facts=facts)
