"""Rows -> what MLPerf's LoadGen and single-threaded workers say, with our own numbers beside it.

Pure functions over ``bench.rows``; ``bench.report_family`` puts the text below a family's table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tabulate import tabulate

from bench import stats, validity
from bench.case import SAMPLES_PER_QUERY
from bench.load_test import enough_queries
from bench.record import LoadTest, Measurement, Probe, Workers
from bench.rows import Row, Table
from bench.stats import Estimate
from bench.text import NOTHING, code, megabytes, number, plain, rounded, speedup_text

LEAST_OVERLAP = 0.8
"""With less of the time spent at work together, workers have not been measured at once."""
_NAMES = {
    "single": "SingleStream",
    "multi": "MultiStream",
    "offline": "Offline",
    "server": "Server",
}
_BY_PERCENTILE = ("single", "multi")
"""Scenarios whose number is a percentile."""


@dataclass(frozen=True)
class _Metric:
    """How LoadGen's number is shown: ``unit`` around it, its ``scale``, and ours beside it."""

    unit: str
    scale: float
    ours: Callable[[Row], str]


def text(table: Table) -> str:
    """Both small tables with what they mean; empty where no scenario was asked for."""
    parts = (_by_loadgen(table), _by_workers(table))
    return "\n\n".join(part for part in parts if part)


def summary(row: Row) -> str:
    """The number of a scenario's row, for a line of progress."""
    if row.case.scenario == "workers":
        found = row.over_blocks(lambda block: _workers(block).images_per_s)
        return NOTHING if found is None else f"{number(found)} images/s"
    return f"{_value(row)}  {_verdict(row)}"


def reason(row: Row) -> str:
    """What speaks against a row or its test, as Markdown; empty: nothing."""
    return _doubt(row) if row.case.scenario == "workers" else _reason(row)


def scenario_rows(table: Table) -> tuple[Row, ...]:
    """The rows of other scenarios, and of our own loop those that LoadGen tested as well."""
    return (*(row for row in table.rows if _tests(row)), *table.scenarios)


# --- by LoadGen


def _by_loadgen(table: Table) -> str:
    rows = [row for row in scenario_rows(table) if row.case.scenario in _NAMES]
    if not rows:
        return ""
    notes = _numbered(_reason(row) for row in rows)
    lines = [
        (
            code(str(row.case)),
            _NAMES[row.case.scenario],
            _value(row),
            _estimate(row),
            _verdict(row) + (f" (note {notes[_reason(row)]})" if _reason(row) else ""),
            _METRICS[row.case.scenario].ours(row) if row.timed else NOTHING,
            our_verdict(row),
        )
        for row in rows
    ]
    head = (
        "row",
        "scenario",
        "LoadGen",
        "early stopping",
        "its verdict",
        "our loop",
        "our verdict",
    )
    return "\n\n".join(
        part
        for part in (
            f"**Scenarios, by MLPerf LoadGen**\n\n{_meaning(rows)}",
            _grid(head, lines, names=2),
            "\n".join(f"{place}. {reason}" for reason, place in notes.items()),
            "\n".join(f"- {line}" for row in rows for line in _tried(row)),
        )
        if part
    )


def _meaning(rows: Iterable[Row]) -> str:
    """What the columns are, with the settings of the tests."""
    tests = [test for row in rows for test in _tests(row)]
    facts = [test.facts for test in tests if "loadgen" in test.facts]
    how = ""
    if facts:
        version = ", ".join(sorted({plain(fact["loadgen"]) for fact in facts}))
        least, most = (
            _range({fact[name] for fact in facts if name in fact})
            for name in ("min_duration_s", "max_duration_s")
        )
        how = (
            f"LoadGen {version} drove the adapter after our own loop, a test for each child, at "
            f"least {least} s and about {most} s at most (a submission to MLPerf takes 600 s). "
        )
    return (
        f"{how}A percentile of fewer queries than LoadGen's early stopping takes "
        f"({_least_queries()}) is not shown. "
        "The early-stopping estimate, which holds with 99 % confidence, is LoadGen's, too; "
        "our verdict is on what the machine did during our own loop and during LoadGen's test, the "
        "worse of the two (Server: the loop in its first child, and the test that its number is "
        "from; each rate that is tried has a child of its own). "
        f"MultiStream asks for {SAMPLES_PER_QUERY} images at once, Offline for all; "
        "Server's single images arrive by a Poisson process, and its number is the highest rate "
        "that was VALID."
    )


def _range(numbers: Iterable[str]) -> str:
    """The least and the most of numbers that are texts; one where they are the same."""
    ordered = sorted(numbers, key=float)
    return " to ".join(dict.fromkeys((ordered[0], ordered[-1]))) if ordered else "?"


def _least_queries() -> str:
    return ", ".join(f"{_NAMES[name]} {enough_queries(name)}" for name in _BY_PERCENTILE)


def _tests(row: Row) -> list[LoadTest]:
    """What LoadGen tested; a search that found no rate worth a try has started none."""
    return [test for test in _searches(row) if _was_tried(test)]


def _searches(row: Row) -> list[LoadTest]:
    return [block.load_test for block in row.timed if block.load_test]


def _was_tried(test: LoadTest) -> bool:
    return test.metric != "queries_per_s" or bool(test.probes)


def _number_of(test: LoadTest, scenario: str) -> float | None:
    """Its number; ``None`` for a percentile of too few queries."""
    few = scenario in _BY_PERCENTILE and test.queries < enough_queries(scenario)
    return None if few else test.value


def _over_tests(row: Row, measure: Callable[[LoadTest], float | None]) -> Estimate | None:
    """The median over the blocks with their interval; ``None`` where one of them has none."""
    values = [measure(test) for test in _tests(row)]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    value = stats.percentile(known, 0.5)
    if min(known) <= 0:
        return Estimate(value)
    return replace(stats.geometric_estimate(known), value=value)


def _value(row: Row) -> str:
    found = _over_tests(row, lambda test: _number_of(test, row.case.scenario))
    if found is None:
        return row.blocks[-1].status if not row.timed else NOTHING
    wrong = " WRONG" if row.parity and not row.parity.passed and not row.is_null else ""
    if row.case.scenario == "server":
        return f"{_rate(row, found)}, p99 < {_bound(row)}{wrong}"
    metric = _METRICS[row.case.scenario]
    return f"{metric.unit.format(number(found, metric.scale))}{wrong}"


def _rate(row: Row, found: Estimate) -> str:
    """The highest rate that was valid."""
    if not found.value:
        return "no rate"
    return _METRICS["server"].unit.format(number(found))


def _bound(row: Row) -> str:
    bounds = {test.facts.get("latency_bound_s", "") for test in _tests(row)} - {""}
    return ", ".join(f"{1e3 * float(bound):g} ms" for bound in sorted(bounds, key=float))


def _estimate(row: Row) -> str:
    found = _over_tests(row, lambda test: test.early_stopping)
    if found is None:
        return NOTHING
    metric = _METRICS[row.case.scenario]
    return metric.unit.format(number(found, metric.scale))


def _verdict(row: Row) -> str:
    tests = _tests(row)
    valid = sum(test.valid for test in tests)
    if not tests:
        return "not tried" if _searches(row) else NOTHING
    if 0 < valid < len(tests):
        return f"VALID in {valid} of {len(tests)}"
    return "VALID" if valid else "INVALID"


def _reason(row: Row) -> str:
    """Why a row is not VALID throughout: what LoadGen says of the last test that was not."""
    if not row.timed or not _searches(row):
        return plain(row.blocks[-1].reason)
    invalid = [test for test in _searches(row) if not test.valid]
    return plain(" ".join(invalid[-1].reasons)) if invalid else ""


def _numbered(reasons: Iterable[str]) -> Mapping[str, int]:
    return {text: place for place, text in enumerate(dict.fromkeys(filter(None, reasons)), 1)}


def _tried(row: Row) -> list[str]:
    """The rates that a server's search tried, one line a search."""
    found = []
    for test in _tests(row):
        if test.probes:
            tried = "; ".join(_probe(probe) for probe in sorted(test.probes, key=lambda p: p.rate))
            found.append(f"Tried for {code(str(row.case))}, queries a second: {tried}.")
    return found


def _probe(probe: Probe) -> str:
    verdict = "VALID" if probe.valid else "INVALID"
    doubts = f", but disturbed: {', '.join(probe.doubts)}" if probe.doubts else ""
    return f"{rounded(probe.rate)} (p99 {rounded(1e3 * probe.p99_s)} ms) {verdict}{doubts}"


# --- our own numbers


def _our_single(row: Row) -> str:
    p90, p50 = row.latency_s(0.9), row.latency_s(0.5)
    return f"p90 {_milliseconds(p90)}, p50 {_milliseconds(p50)}"


def _our_multi(row: Row) -> str:
    p50 = row.latency_s(0.5)
    calls = SAMPLES_PER_QUERY // row.case.batch_size
    return f"{calls} times p50: {_milliseconds(p50, calls)}"


def _our_offline(row: Row) -> str:
    found = row.over_blocks(_images_per_s)
    return NOTHING if found is None else f"{number(found)} images/s"


def _our_server(row: Row) -> str:
    p50 = row.latency_s(0.5)
    return NOTHING if p50 is None else f"1/p50: {rounded(1 / p50.value)} images/s"


def our_verdict(row: Row) -> str:
    """On our own loop and, where it was behind that in the same child, on LoadGen's test."""
    if not row.timed:
        return NOTHING
    return _text(validity.of_row(row.timed, row.usual_canary_s, validity.judge_with_test))


def _verdict_on(row: Row, single: Row | None) -> str:
    """On the workers and on the one worker beside them: their ratio is of both."""
    return _text(validity.overall(one.verdict for one in (row, single) if one is not None))


def _text(found: validity.Verdict) -> str:
    return " ".join((found.level, ", ".join(found.codes))).strip()


def _milliseconds(found: Estimate | None, times: int = 1) -> str:
    return NOTHING if found is None else f"{number(found, 1e3 * times)} ms"


def _images_per_s(block: Measurement) -> float:
    """Of one worker: images over the time of the timed loop's inferences."""
    return block.case.batch_size * len(block.latencies_ns) / sum(block.latencies_ns) * 1e9


_METRICS: Mapping[str, _Metric] = {
    "single": _Metric("p90 {} ms", 1e3, _our_single),
    "multi": _Metric("p99 {} ms a query", 1e3, _our_multi),
    "offline": _Metric("{} images/s", 1, _our_offline),
    "server": _Metric("{} queries/s", 1, _our_server),
}


# --- workers


def _by_workers(table: Table) -> str:
    rows = [row for row in table.scenarios if row.case.scenario == "workers"]
    if not rows:
        return ""
    singles = {row.case: row for row in table.rows}
    notes = _numbered(_doubt(row) for row in rows)
    lines = [
        _workers_line(
            row, singles.get(replace(row.case, scenario="single")), notes, table.told_apart
        )
        for row in rows
    ]
    head = (
        "row",
        "workers of 1 thread",
        "images/s",
        "one worker's",
        "ratio (95 %)",
        "MB of all (PSS)",
        "one worker's MB",
        "verdict on both",
        "notes",
    )
    parts = (
        "**Throughput: single-threaded workers at once against one worker of all threads**",
        _grid(head, lines, names=1),
        "\n".join(f"{place}. {reason}" for reason, place in notes.items()),
    )
    return "\n\n".join(part for part in parts if part)


def _workers_line(
    row: Row, single: Row | None, notes: Mapping[str, int], told_apart: float
) -> tuple[str, ...]:
    """Of one row, and of the same with one worker; what was not measured shows nothing."""
    note = str(notes.get(_doubt(row), ""))
    own = row.over_blocks(lambda block: _workers(block).images_per_s)
    if own is None:
        status = row.blocks[-1].status
        return (code(str(row.case)), str(row.case.threads), status, *[NOTHING] * 5, note)
    alone = single.over_blocks(_images_per_s) if single else None
    memory = single.memory_bytes(lambda memory: memory.steady_bytes) if single else None
    return (
        code(str(row.case)),
        str(row.case.threads),
        number(own),
        number(alone) if alone else NOTHING,
        speedup_text(_ratio(row, single), told_apart) if single else NOTHING,
        _pss(row),
        number(memory, 1e-6) if memory else NOTHING,
        _verdict_on(row, single),
        note,
    )


def _ratio(row: Row, single: Row) -> Estimate | None:
    """How many times the throughput of one worker, paired by round."""
    together = {block.pairing: _workers(block).images_per_s for block in row.timed}
    return stats.ratio_interval(
        together, {block.pairing: _images_per_s(block) for block in single.timed}
    )


def _pss(row: Row) -> str:
    sizes = [_workers(block).pss_bytes for block in row.timed]
    known = [size for size in sizes if size is not None]
    return megabytes(stats.percentile(known, 0.5)) if known else NOTHING


def _doubt(row: Row) -> str:
    if not row.timed:
        return plain(row.blocks[-1].reason)
    least = min(_workers(block).overlap for block in row.timed)
    if least >= LEAST_OVERLAP:
        return ""
    return f"`overlap`: all workers were at work for only {least:.0%} of the longest one's time"


def _workers(block: Measurement) -> Workers:
    if block.workers is None:
        raise ValueError(f"{block.case} round {block.round} has no workers")
    return block.workers


def _grid(head: Sequence[str], lines: Sequence[Sequence[str]], names: int) -> str:
    """Names on the left, the rest on the right."""
    align = ["left"] * names + ["right"] * (len(head) - names)
    return tabulate(lines, head, tablefmt="github", disable_numparse=True, colalign=align)
