"""Quiet and stressed blocks: their order, their figures, and the judgement on the verdicts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.case import Case
from bench.method import stressor, thresholds
from bench.method.experiment import Lab, Size
from bench.method.thresholds import QUIET, STRESSED
from bench.record import Measurement
from bench.validity import LIMITS
from tests.bench.method.conftest import block

SIZE = Size(pairs=1, blocks=3, variants=("revisited-base", "revisited-v6"), threads=1)
CASE = SIZE.cases[0]


def blocks(quiet_cores: float, stressed_cores: float) -> list[Measurement]:
    """Three blocks in each state."""
    cores = {QUIET: quiet_cores, STRESSED: stressed_cores}
    return [
        block(replace(CASE, copy=state), number, foreign_cores=cores[state])
        for number in range(3)
        for state in thresholds.STATES
    ]


def test_every_round_holds_each_case_once_in_each_state() -> None:
    """What drifts hits quiet and stressed blocks alike."""
    order = thresholds.order(SIZE)
    assert len(order) == 3 * 2 * 2
    for number in range(3):
        cases = [case for at, case in order if at == number]
        assert len(set(cases)) == len(cases) == 4


def test_only_stressed_blocks_have_a_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    """The busy loop is there for the whole of a stressed block, and gone before the next."""
    log: list[str] = []

    class Neighbour:
        def __init__(self, core: int) -> None:
            pass

        def __enter__(self) -> None:
            log.append("busy")

        def __exit__(self, *exc: object) -> None:
            log.append("gone")

    def make(case: Case, number: int, *rest: object) -> Measurement:
        log.append(case.copy or "quiet")
        return block(case, number)

    monkeypatch.setattr(thresholds, "busy_core", Neighbour)
    monkeypatch.setattr(Lab, "artifact", lambda self, case: None)
    for index in range(12):
        thresholds.watch(index, Lab(SIZE, make_block=make))
    assert log.count("quiet") == log.count("stressed") == 6
    text = " ".join(log)
    assert text.count("busy stressed gone") == 6
    assert "busy quiet" not in text


def test_a_busy_core_is_one_process_that_ends() -> None:
    """The busy loop runs inside the context only."""
    with thresholds.busy_core(0):
        pass  # it has answered, or this would still wait


def test_table_shows_what_the_blocks_read_beside_the_limits() -> None:
    """Nearest-rank quantiles of each indicator, quiet above stressed."""
    outcome = thresholds.judge(SIZE, blocks(0.01, 0.9))
    lines = outcome.table.splitlines()
    limit = LIMITS["foreign-cpu"]
    ends = f"{limit.suspect:g} | {limit.invalid:g} |"
    assert lines[2] == f"| `foreign-cpu` | quiet | 3 {'| 0.0100 ' * 5}| {ends}"
    assert lines[3].startswith("| `foreign-cpu` | stressed | 3 | 0.900 |")
    assert outcome.answer == (
        "The limits as they stand doubt 0 of 3 quiet blocks and 3 of 3 stressed blocks."
    )


def test_canaries_are_held_against_the_quiet_ones() -> None:
    """A stressed half of the blocks does not make its own canary the usual one."""
    slow = [
        block(replace(CASE, copy=state), canary_s=0.01 if state == QUIET else 0.02)
        for state in (QUIET, STRESSED, STRESSED)
    ]
    assert thresholds.figures(slow, STRESSED)["canary"] == pytest.approx([1.0, 1.0])
    assert thresholds.figures(slow, QUIET)["canary"] == [0.0]


@pytest.mark.parametrize(
    ("quiet_cores", "stressed_cores", "passed"),
    [(0.0, 0.9, True), (0.0, 0.0, False), (0.9, 0.9, False)],
)
def test_stressor_passes_only_if_verdicts_tell_the_states_apart(
    quiet_cores: float, stressed_cores: float, passed: bool
) -> None:
    """Unnoticed neighbours fail it, and so do quiet rows that are doubted."""
    assert stressor.judge(SIZE, blocks(quiet_cores, stressed_cores)).passed is passed


def test_stressor_demands_the_right_code() -> None:
    """Doubt for another reason (here a canary) is no proof that the neighbour was seen."""
    off = [replace(row, copy=state) for row in (CASE,) for state in thresholds.STATES]
    found = [block(case, canary_s=0.02 if case.copy else 0.01) for case in off for _ in range(3)]
    outcome = stressor.judge(SIZE, found)
    assert outcome.passed is False
    assert "0 of 1 rows beside the busy loop" in outcome.answer
    assert "INVALID `canary`" in outcome.table
