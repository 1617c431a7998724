"""The harness's own cost: which seconds count as measuring, and what is allowed."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from bench.case import NULL, Case
from bench.method import overhead
from bench.method.experiment import ExperimentError, Lab, Size
from bench.method.overhead import PerInference, WholeRun
from bench.record import ColdStart
from export.checkpoints import SEEDED
from tests.bench.method.conftest import block
from tests.conftest import Built

SIZE = Size(pairs=2, variants=("revisited-base",), recipe="fp32", runtime=NULL, threads=1)
CASE = SIZE.cases[0]


def test_measuring_is_what_the_method_names() -> None:
    """Imports, loads, first inference, warm-up, timed loop, all turns of canaries, a cold start."""
    one = replace(block(CASE), import_s=1.0, read_s=2.0, load_s=4.0, first_s=8.0, warmup_s=16.0)
    assert overhead.measuring_s([one]) == pytest.approx(31 + 0.5 + 9 * 0.02)
    cold = replace(one, cold=ColdStart(0, 0, 0, 0, 32.0))
    assert overhead.measuring_s([one, cold]) == pytest.approx(2 * 31.68 + 32)
    bare = replace(one, surroundings=None, canary=None, read_s=None)
    assert overhead.measuring_s([bare]) == pytest.approx(29)


@pytest.mark.parametrize(
    ("cost_s", "measuring_s", "passed"),
    [(1e-6, 85.0, True), (3e-6, 85.0, False), (1e-6, 75.0, False)],
)
def test_two_microseconds_and_a_fifth_are_allowed(
    cost_s: float, measuring_s: float, passed: bool
) -> None:
    """Either of them fails it."""
    loops = [PerInference(1e-7, 1e-7 + cost_s, 2e-7)] * 3
    outcome = overhead.judge(
        SIZE, [*loops, WholeRun("python -m bench.run", 9, 100, measuring_s, 3)]
    )
    assert outcome.passed is passed
    if passed:
        assert outcome.answer == (
            "The loop around an inference costs 1.00 µs (median of 3 blocks; at most 2 are "
            "allowed). `python -m bench.run` took 100 s for 9 blocks, 15.0% of it outside of "
            "timed loops, warm-ups, imports, loads and canaries (at most 20% is allowed); 3.0% "
            "watched idle children."
        )
        assert outcome.table.splitlines()[2] == "| bare call | 0.100 | 0.100 | 0.100 |"


def test_the_last_unit_is_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: Built
) -> None:
    """The others are blocks of the null runtime; here in real children, on a real file."""
    monkeypatch.setattr(overhead, "whole_run", lambda store: WholeRun(str(store), 1, 1.0, 1.0))
    artifact = built("revisited-base", "fp32", "onnx")
    lab = Lab(replace(SIZE, seconds=0.01), {("revisited-base", "fp32", "onnx"): artifact}, tmp_path)
    line = overhead.measure(0, lab)
    assert isinstance(line, PerInference)
    assert min(line.bare_s, line.looped_s, line.recorded_s) > 0
    assert overhead.measure(2, lab) == WholeRun(str(tmp_path), 1, 1.0, 1.0)
    assert overhead.EXPERIMENT.units(SIZE) == 3


def test_files_of_the_whole_run_are_built_before_it_is_timed() -> None:
    """Among the cases are those that its command plans, with the weights that a lab builds."""
    cases = overhead.cases(SIZE)
    assert cases[0] == CASE
    assert Case("xception", "int8-static", "ort", cases[-1].threads) in cases
    assert {case.weights for case in cases} == {SEEDED}


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="builds with torch")
def test_a_whole_run_is_timed_from_outside(
    monkeypatch: pytest.MonkeyPatch, store_folder: Path, built: Built
) -> None:
    """A real one, of two rows: it measures for less time than it takes."""
    built("revisited-base", "fp32", "onnx")
    words = "--quick --variants revisited-base --recipes fp32 --runtimes null --seconds 0.01"
    monkeypatch.setattr(overhead, "RUN", tuple(words.split()))
    found = overhead.whole_run(store_folder)
    assert found.blocks > 0
    assert 0 < found.measuring_s < found.wall_s
    assert found.command == f"python -m bench.run {words}"


def test_a_run_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With its exit code and the last thing that it said."""
    monkeypatch.setattr(overhead, "RUN", ("--blocks", "0"))
    with pytest.raises(ExperimentError, match="exit code 2: error: --blocks 0 is not above 0"):
        overhead.whole_run(tmp_path)
