"""Both loops on one file: their order, and the ratio with its interval."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import load_test
from bench.block import Effort
from bench.case import AGAIN, Case
from bench.load_test import Limits
from bench.method import loops
from bench.method.experiment import ExperimentError, Lab, Size
from bench.record import LoadTest, Measurement
from tests.bench.method.conftest import block

SIZE = Size(pairs=3, threads=1)


def lab(monkeypatch: pytest.MonkeyPatch, said: list[str], test: LoadTest | None) -> Lab:
    """A lab whose children are made up; what was measured is in ``said``."""

    def ours(case: Case, number: int, *rest: object) -> Measurement:
        said.append("ours")
        return block(case, number, p50_ns=1_000_000)

    def theirs(case: Case, number: int, file: object, effort: Effort, limits: Limits) -> object:
        said.append("LoadGen")
        assert limits.least_s == SIZE.seconds
        return Measurement(case, number, "failed", reason="LoadGen: gone", load_test=test)

    monkeypatch.setattr(load_test, "run", theirs)
    monkeypatch.setattr(Lab, "artifact", lambda self, case: None)
    return Lab(SIZE, store=Path("store"), make_block=ours)


def test_a_round_has_each_loop_once_in_an_order_of_its_own(monkeypatch) -> None:
    """Ours twice, LoadGen once, each in a child; what drifts hits all alike."""
    said: list[str] = []
    test = LoadTest("latency_p90_s", 0.0012, True, percentiles_s={"p50": 0.0011, "p90": 0.0012})
    rounds = [loops.measure(index, lab(monkeypatch, said, test)) for index in range(8)]
    assert rounds[0] == {
        loops.OURS: {"p50": 0.001, "p90": 0.001},
        AGAIN: {"p50": 0.001, "p90": 0.001},
        loops.LOADGEN: {"p50": 0.0011, "p90": 0.0012},
    }
    assert {tuple(sorted(said[i : i + 3])) for i in range(0, 24, 3)} == {
        ("LoadGen", "ours", "ours")
    }
    assert len({tuple(said[i : i + 3]) for i in range(0, 24, 3)}) > 1


def test_a_loop_that_can_not_measure_ends_the_experiment(monkeypatch) -> None:
    """With the reason, not with half a round."""
    with pytest.raises(ExperimentError, match="failed: LoadGen: gone"):
        loops.measure(0, lab(monkeypatch, [], None))


def test_the_answer_is_the_ratio_paired_by_round() -> None:
    """A drift that hits both loops is taken out; LoadGen is 10 % and 100 µs above us."""
    rounds = [
        {
            loops.OURS: {"p50": 0.001 * drift, "p90": 0.002 * drift},
            AGAIN: {"p50": 0.001 * drift, "p90": 0.002 * drift},
            loops.LOADGEN: {"p50": 0.0011 * drift, "p90": 0.002 * drift},
        }
        for drift in (1.0, 1.3, 0.9)
    ]
    outcome = loops.judge(SIZE, rounds)
    assert outcome.passed is None
    assert outcome.answer == (
        "Over 3 rounds LoadGen's p50 is 1.1000 (1.1000–1.1000) times ours (100 µs more) "
        "and its p90 is 1.0000 (1.0000–1.0000) times ours (0 µs more)."
    )
    assert outcome.table.splitlines() == [
        "| loop | p50 ms | over ours (95 %) | p90 ms | over ours (95 %) |",
        "| --- | --- | --- | --- | --- |",
        "| our loop | 1.1 |  | 2.1 |  |",
        "| our loop, again | 1.1 | 1.0000 (1.0000–1.0000) | 2.1 | 1.0000 (1.0000–1.0000) |",
        "| LoadGen | 1.2 | 1.1000 (1.1000–1.1000) | 2.1 | 1.0000 (1.0000–1.0000) |",
    ]
