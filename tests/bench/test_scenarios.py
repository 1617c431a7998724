"""MLPerf LoadGen over an adapter's callable, each test in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import stats

pytest.importorskip("mlperf_loadgen", reason="needs LoadGen: pip install 'deploybench[loadgen]'")
MESSAGE = {
    "scenario": "single",
    "batch_size": 1,
    "expected_s": 1e-6,
    "least_s": 0.01,
    "most_s": 20.0,
    "queries": 64,
    "samples_per_query": 8,
    "rate": 2000.0,
    "bound_s": 10.0,
}
CHILD = """
import json, sys
import numpy as np
from bench import scenarios
seen = []
def run(batch):
    seen.append(batch[:, 0, 0, 0].tolist())
    {body}
images = [np.full((1, 3, 2, 2), i, np.float32) for i in range(16)]
answer = scenarios.run_test(run, images, json.loads(sys.argv[1]))
print(json.dumps([answer, seen]))
"""


def child(tmp_path: Path, body: str = "pass", **changes: Any) -> subprocess.CompletedProcess[str]:
    """One test of LoadGen in a process whose folder and temporary folder are ``tmp_path``."""
    message = json.dumps({**MESSAGE, **changes})
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
    return subprocess.run(
        [sys.executable, "-c", code + CHILD.format(body=body), message],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"TMPDIR": str(tmp_path), "PATH": ""},
        check=False,
    )


def outcome(tmp_path: Path, **changes: Any) -> tuple[dict[str, Any], list[list[float]]]:
    """What LoadGen says, and the batches that it had answered."""
    done = child(tmp_path, **changes)
    assert done.returncode == 0, done.stderr
    answer, seen = json.loads(done.stdout)  # and nothing else on standard output
    return answer, seen


def test_a_single_stream_has_its_p90_and_an_estimate(tmp_path: Path) -> None:
    """Enough queries: VALID, with no reasons; each query is one image."""
    answer, seen = outcome(tmp_path)
    assert (answer["metric"], answer["valid"], answer["reasons"]) == ("latency_p90_s", True, [])
    assert answer["value"] == answer["percentiles_s"]["p90"]
    assert answer["early_stopping"] >= answer["value"] > 0
    assert answer["queries"] == len(seen) >= 64
    assert all(len(batch) == 1 for batch in seen)
    assert (answer["facts"]["min_duration_s"], answer["facts"]["max_duration_s"]) == ("0.01", "20")
    assert answer["facts"]["min_query_count"] == "64"


def test_it_leaves_no_file_behind(tmp_path: Path) -> None:
    """Its logs are in a temporary folder, which is gone; nothing stands where it was started."""
    outcome(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_too_few_queries_are_invalid_with_its_reason(tmp_path: Path) -> None:
    """Our rule for the least number of queries is the one that LoadGen names."""
    answer, _ = outcome(tmp_path, scenario="multi", queries=10)
    assert (answer["metric"], answer["valid"]) == ("query_latency_p99_s", False)
    assert answer["early_stopping"] is None
    (reason,) = answer["reasons"]
    found = re.fullmatch(
        r"Early stopping: Only processed \d+ queries. "
        r"Need to process at least (\d+) queries for early stopping.",
        reason,
    )
    assert found is not None, reason
    assert int(found[1]) == stats.least_queries(0.99)


def test_a_query_of_several_images_is_answered_in_batches(tmp_path: Path) -> None:
    """Eight images make two batches of four, or eight of one."""
    _, seen = outcome(tmp_path, scenario="multi", queries=10, batch_size=4)
    assert {len(batch) for batch in seen} == {4}
    assert len(seen) % 2 == 0


def test_a_last_batch_is_filled_up(tmp_path: Path) -> None:
    """A file may fix its batch: eight images in threes are three full batches."""
    _, seen = outcome(tmp_path, scenario="multi", queries=10, batch_size=3)
    assert {len(batch) for batch in seen} == {3}
    assert all(batch == [batch[0], batch[1], batch[0]] for batch in seen[2::3])


def test_offline_is_one_query(tmp_path: Path) -> None:
    """All images at once; the answer is images a second."""
    answer, seen = outcome(tmp_path, scenario="offline", queries=1)
    assert (answer["metric"], answer["queries"]) == ("images_per_s", 1)
    assert answer["value"] > 0
    assert str(len(seen)) == answer["facts"]["samples_per_query"]


def test_a_server_is_valid_under_a_bound_that_it_keeps(tmp_path: Path) -> None:
    """Poisson arrivals at the rate asked for; p99 under ten seconds is kept by anybody."""
    answer, seen = outcome(tmp_path, scenario="server", queries=662)
    assert (answer["metric"], answer["value"]) == ("queries_per_s", 2000.0)
    assert (answer["valid"], answer["reasons"]) == (True, [])
    assert answer["percentiles_s"]["p99"] < 10
    assert len(seen) == answer["queries"] >= 662


def test_a_server_is_invalid_over_its_bound(tmp_path: Path) -> None:
    """A bound of a nanosecond is kept by nobody, and LoadGen says so."""
    answer, _ = outcome(tmp_path, scenario="server", queries=662, bound_s=1e-9)
    assert not answer["valid"]
    assert answer["reasons"][0] == "Reduce target QPS to improve latency."


def test_what_the_adapter_raises_is_raised_after_the_test(tmp_path: Path) -> None:
    """LoadGen would abort the process; the worker gets the adapter's own exception instead."""
    done = child(tmp_path, "raise ValueError('no such input')")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: no such input"


@pytest.mark.parametrize("queries", [64, 200, 300, 1500])
def test_early_stopping_discards_as_many_as_our_rule_allows(tmp_path: Path, queries: int) -> None:
    """With one more query over the bound than LoadGen allows, these would be too few."""
    answer, _ = outcome(tmp_path, queries=queries, least_s=0.0)
    found = re.search(r"Would discard (\d+) highest", answer["facts"]["early_stopping"])
    assert found is not None
    allowed = int(found[1]) + 1
    assert answer["queries"] == queries
    assert stats.least_queries(0.9, allowed) <= queries < stats.least_queries(0.9, allowed + 1)


def test_a_log_is_read_by_its_keys() -> None:
    """Lines that are not LoadGen's are passed over; the last of a key counts."""
    from bench import scenarios

    log = ':::MLLOG {"key": "a", "value": 1}\nnoise\n:::MLLOG {"key": "a", "value": 2}'
    assert scenarios.entries(log) == {"a": 2}
