"""The small tables of scenarios: what LoadGen says, ours beside it, and workers against one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench import report_family, report_glance, row_text, rows, scenario_tables
from bench.case import Case
from bench.record import (
    LoadTest,
    Measurement,
    Memory,
    Parity,
    Probe,
    Run,
    Surroundings,
    Workers,
)
from tests.bench.made_up import header

SINGLE = Case("revisited-v6", "fp32", "ort", 2)
MULTI, OFFLINE, SERVER, WORKERS = (
    replace(SINGLE, scenario=name) for name in ("multi", "offline", "server", "workers")
)
RIGHT = Parity(0.0, 1.0, 1.0, 16, passed=True)
FACTS = {"loadgen": "6.0.17", "min_duration_s": "0.6", "max_duration_s": "30"}
PLAIN = LoadTest(
    "latency_p90_s", 0.0042, valid=True, early_stopping=0.0044, queries=662, facts=FACTS
)
SHORT = "Early stopping: Only processed 70 queries. Need to process at least 662 queries."
PROBES = (
    Probe(125.0, 0.061, valid=False, reasons=("Reduce target QPS to improve latency.",)),
    Probe(62.5, 0.0123, valid=True),
    Probe(93.75, 0.031, valid=True, doubts=("steal",)),
)
FOUND = LoadTest(
    "queries_per_s",
    93.75,
    valid=True,
    facts={**FACTS, "latency_bound_s": "0.05"},
    probes=PROBES,
)


def block(case: Case, number: int = 0, ms: float = 4.0, **more) -> Measurement:
    """A block of 40 equal inferences."""
    plain = Measurement(
        case,
        number,
        "ok",
        warmup_settled=True,
        latencies_ns=(int(ms * 1e6),) * 40,
        cpu_s=40 * ms / 1e3 * case.threads,
        memory=Memory(1_000_000, 20_000_000, 20_000_000),
        precision="fp32",
        parity=RIGHT,
    )
    return replace(plain, **more)


def table(*blocks: Measurement) -> rows.Table:
    """The only table of these blocks."""
    (only,) = rows.tables_of(Run(header(), blocks)).values()
    return only


def everything() -> list[Measurement]:
    """A row under every scenario."""
    found = [block(SERVER, load_test=FOUND)]
    for i in range(3):
        multi = replace(PLAIN, metric="query_latency_p99_s", value=0.033 + 0.001 * i)
        if i == 2:
            multi = replace(multi, valid=False, reasons=(SHORT,), early_stopping=None)
        offline = LoadTest("images_per_s", 240.0 + i, valid=True, facts=FACTS)
        together = Workers(2, 500.0 + 2 * i, 0.99, 30_000_000)
        found += [
            block(SINGLE, i, load_test=replace(PLAIN, value=0.0042 + 0.00001 * i)),
            block(MULTI, i, load_test=multi),
            block(OFFLINE, i, load_test=offline),
            block(WORKERS, i, workers=together),
        ]
    return found


GOLDEN = """\
**Scenarios, by MLPerf LoadGen**

LoadGen 6.0.17 drove the adapter after our own loop, a test for each child, at least 0.6 s and about 30 s at most (a submission to MLPerf takes 600 s). A percentile of fewer queries than LoadGen's early stopping takes (SingleStream 64, MultiStream 662) is not shown. The early-stopping estimate, which holds with 99 % confidence, is LoadGen's, too; our verdict is on what the machine did during our own loop and during LoadGen's test, the worse of the two (Server: the loop in its first child, and the test that its number is from; each rate that is tried has a child of its own). MultiStream asks for 8 images at once, Offline for all; Server's single images arrive by a Poisson process, and its number is the highest rate that was VALID.

| row                                   | scenario     |                     LoadGen |   early stopping |              its verdict |                   our loop |   our verdict |
|---------------------------------------|--------------|-----------------------------|------------------|--------------------------|----------------------------|---------------|
| `revisited-v6/fp32/ort/t2/b1`         | SingleStream |                p90 4.210 ms |     p90 4.400 ms |                    VALID | p90 4.000 ms, p50 4.000 ms |         VALID |
| `revisited-v6/fp32/ort/t2/b1/multi`   | MultiStream  |         p99 34.0 ms a query |                – | VALID in 2 of 3 (note 1) |      8 times p50: 32.00 ms |         VALID |
| `revisited-v6/fp32/ort/t2/b1/offline` | Offline      |              241.0 images/s |                – |                    VALID |             250.0 images/s |         VALID |
| `revisited-v6/fp32/ort/t2/b1/server`  | Server       | 93.8 queries/s, p99 < 50 ms |                – |                    VALID |        1/p50: 250 images/s |         VALID |

1. Early stopping: Only processed 70 queries. Need to process at least 662 queries.

- Tried for `revisited-v6/fp32/ort/t2/b1/server`, queries a second: 62.5 (p99 12.3 ms) VALID; 93.8 (p99 31.0 ms) VALID, but disturbed: steal; 125 (p99 61.0 ms) INVALID.

**Throughput: single-threaded workers at once against one worker of all threads**

| row                                   |   workers of 1 thread |   images/s |   one worker's |         ratio (95 %) |   MB of all (PSS) |   one worker's MB |   verdict on both |   notes |
|---------------------------------------|-----------------------|------------|----------------|----------------------|-------------------|-------------------|-------------------|---------|
| `revisited-v6/fp32/ort/t2/b1/workers` |                     2 |        502 |          250.0 | 2.008x (1.988–2.028) |             30.00 |             20.00 |             VALID |         |
"""  # noqa: E501


def test_every_scenario_has_its_row() -> None:
    """LoadGen's number, its estimate and verdict, ours beside it, and what the search tried."""
    assert scenario_tables.text(table(*everything())) == GOLDEN.rstrip("\n")


def test_what_was_not_asked_for_is_not_shown() -> None:
    """A run of our own loop alone has no such table."""
    assert scenario_tables.text(table(block(SINGLE))) == ""


def test_the_other_tables_are_the_same_with_scenarios_as_without() -> None:
    """Rows of other scenarios are no candidates, no reference and no setting."""
    alone = [replace(one, load_test=None) for one in everything() if one.case == SINGLE]
    with_scenarios, without = table(*everything()), table(*alone)
    assert [row.case for row in with_scenarios.rows] == [SINGLE]
    assert with_scenarios.reference is not None and with_scenarios.fastest is not None
    assert report_family.table_text(with_scenarios) == report_family.table_text(without)
    assert report_glance.at_a_glance(with_scenarios) == report_glance.at_a_glance(without)
    assert with_scenarios.varying == without.varying


def test_a_missing_extra_is_a_row_with_its_reason() -> None:
    """As for a runtime: unsupported, with how to get it."""
    reason = "MLPerf LoadGen is not installed: pip install 'deploybench[loadgen]'"
    missing = Measurement(OFFLINE, 0, "unsupported", reason)
    shown = scenario_tables.text(table(block(SINGLE), missing))
    (line,) = [line for line in shown.splitlines() if "/offline" in line]
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "`revisited-v6/fp32/ort/t2/b1/offline`",
        "Offline",
        "unsupported",
        "–",
        "– (note 1)",
        "–",
        "–",
    ]
    assert "1. MLPerf LoadGen is not installed: pip install 'deploybench\\[loadgen]'" in shown


def test_a_server_that_keeps_no_rate_says_why() -> None:
    """No rate passed: no number, and LoadGen's reason."""
    refused = replace(FOUND, value=0.0, valid=False, reasons=("At 15 a second: too slow.",))
    shown = scenario_tables.text(table(block(SINGLE), block(SERVER, load_test=refused)))
    assert "| no rate, p99 < 50 ms |" in shown
    assert "INVALID (note 1)" in shown
    assert "1. At 15 a second: too slow." in shown


def cells(shown: str, row: str) -> list[str]:
    """What stands in the line of a row."""
    (line,) = [line for line in shown.splitlines() if line.startswith(f"| `{row}`")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_server_that_no_rate_was_tried_for_has_no_verdict_of_loadgen() -> None:
    """It never ran: why not stands below, and nothing is called INVALID."""
    reason = "A p99 needs 662 queries, which take longer than --scenario-seconds 4: give 173"
    untried = LoadTest("queries_per_s", 0.0, False, (reason,), facts={"latency_bound_s": "0.1"})
    shown = scenario_tables.text(table(block(SINGLE), block(SERVER, load_test=untried)))
    found = cells(shown, str(SERVER))
    assert found[1:5] == ["Server", "–", "–", "not tried (note 1)"]
    assert f"1. {reason}" in shown
    assert "INVALID" not in shown
    line = row_text.row_line(SERVER, [block(SERVER, load_test=untried)])
    assert line.endswith("–  not tried")


@pytest.mark.parametrize(
    ("case", "queries", "text"),
    [
        (SINGLE, 63, "–"),
        (SINGLE, 64, "p90 4.20 ms"),
        (MULTI, 661, "–"),
        (MULTI, 662, "p99 4.20 ms a query"),
        (OFFLINE, 1, "0.00420 images/s"),
    ],
)
def test_a_percentile_of_too_few_queries_is_not_shown(case: Case, queries: int, text: str) -> None:
    """As many as early stopping takes, of every test; a throughput is no percentile."""
    few = replace(PLAIN, queries=queries)
    shown = scenario_tables.text(table(block(SINGLE), block(case, load_test=few)))
    assert cells(shown, str(case))[2] == text


def test_tests_of_different_lengths_are_told_as_a_range() -> None:
    """A server's lasts longer than the others."""
    tests = [
        replace(PLAIN, facts={**FACTS, "min_duration_s": seconds}) for seconds in ("10", "0.6", "2")
    ]
    shown = scenario_tables.text(
        table(*(block(OFFLINE, i, load_test=test) for i, test in enumerate(tests)))
    )
    assert "at least 0.6 to 10 s and about 30 s at most" in shown


def test_wrong_answers_are_marked() -> None:
    """A rate of wrong answers is not worth much."""
    wrong = replace(RIGHT, passed=False)
    shown = scenario_tables.text(table(block(OFFLINE, load_test=PLAIN, parity=wrong)))
    assert "WRONG" in shown


def test_what_disturbed_a_test_is_in_our_verdict_beside_it() -> None:
    """Of a single stream only there: its row in the family's table has our own loop's number."""
    busy = replace(PLAIN, surroundings=Surroundings(1.0, 0.9, 0.0, 0, 0))
    found = table(block(SINGLE, load_test=busy), block(OFFLINE, load_test=busy))
    lines = [line for line in scenario_tables.text(found).splitlines() if line.startswith("| `")]
    assert [line.split("|")[-2].strip() for line in lines] == ["INVALID foreign-cpu"] * 2
    assert found.rows[0].verdict.level == "VALID"
    assert found.scenarios[0].verdict.level == "INVALID"


def test_workers_that_were_not_at_work_together_are_doubted() -> None:
    """Their rate would be that of workers that had the machine to themselves."""
    lonely = Workers(2, 500.0, 0.4, None)
    shown = scenario_tables.text(table(block(SINGLE), block(WORKERS, workers=lonely)))
    assert "1. `overlap`: all workers were at work for only 40% of the longest one's time" in shown


def test_a_ratio_of_two_rows_has_the_verdict_of_both() -> None:
    """A disturbed loop of one worker makes it as doubtful as disturbed workers do."""
    busy: dict[str, Any] = {"surroundings": Surroundings(1.0, 0.3, 0.0, 0, 0)}
    together: dict[str, Any] = {"workers": Workers(2, 500.0, 0.99)}
    for own, single in (({}, busy), (busy, {}), (busy, busy)):
        found = table(block(SINGLE, **single), block(WORKERS, **together, **own))
        assert cells(scenario_tables.text(found), str(WORKERS))[-2] == "SUSPECT foreign-cpu"


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (block(SERVER, load_test=FOUND), "93.8 queries/s, p99 < 50 ms  VALID"),
        (block(WORKERS, workers=Workers(2, 500.0, 1.0)), "500 images/s"),
        (Measurement(MULTI, 0, "failed", "LoadGen: no\nanswer"), "failed: LoadGen: no answer"),
    ],
)
def test_a_line_of_progress(found: Measurement, line: str) -> None:
    """A scenario's row in a line, as soon as it is there."""
    assert row_text.row_line(found.case, [found]).endswith(line)
