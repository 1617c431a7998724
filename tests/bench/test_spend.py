"""A budget: who gets more blocks, in which order, for how long, and that a second start agrees."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bench import spend
from bench.case import AGAIN, Case
from bench.command_line import parse
from bench.field import competing
from bench.options import UsageError
from bench.record import Budget, Measurement, Run, Surroundings, find_runs, read_run
from bench.rows import doubts, tables_of
from bench.stats import geometric_estimate
from tests.bench.made_up import header, measured

RESULTS = Path(__file__).parents[2] / "results"
REFERENCE = Case("revisited-base", "fp32", "torch-eager", 2)
TWIN = replace(REFERENCE, copy=AGAIN)
FAST = Case("revisited-base", "fp32", "ort", 2)
NEAR = Case("revisited-base", "fp32", "openvino", 2)
SLOW = Case("revisited-v6", "fp32", "ort", 2)
MS = {REFERENCE: 9.0, TWIN: 9.0, FAST: 2.0, NEAR: 2.05, SLOW: 20.0}


class Spending:
    """Rows of made-up times: what a run measures after its first round is in ``rounds``."""

    def __init__(self, ms: Mapping[Case, float] = MS, noise: float = 0.03, seed: int = 1) -> None:
        self.ms, self.noise, self.seed = ms, noise, seed
        self.header = header(cases=tuple(ms), blocks=1, budget=Budget(600.0))
        self.measurements = [self.block(0, case) for case in ms]
        self.rounds: list[spend.Batch] = []
        self.stopped = ""

    def block(self, number: int, case: Case) -> Measurement:
        """Ten seconds of a block; what it reads depends on nothing but case and round."""
        chance = random.Random(f"{case} {number} {self.seed}")
        ms = self.ms[case] * math.exp(chance.gauss(0, self.noise))
        return replace(measured(case, ms)[0], round=number)

    def go_on(self, budget_s: float, most: int | None = None) -> Spending:
        """Measure what is missing; ``most``: interrupted after so many blocks."""
        further = spend.further_rounds(self.header, self.measurements, budget_s, seed=3)
        self.rounds, done = [], 0
        while True:
            try:
                batch = next(further)
            except StopIteration as stop:
                self.stopped = stop.value
                return self
            self.rounds.append(batch)
            known = {(block.round, block.case) for block in self.measurements}
            for number, case in batch:
                if (number, case) not in known:
                    if done == most:
                        return self
                    self.measurements.append(self.block(number, case))
                    done += 1


def test_contenders_get_more_and_beaten_rows_do_not() -> None:
    """Twice as slow and in nothing better: one block. The reference comes along with its twin."""
    run = Spending().go_on(600)
    for batch in run.rounds:
        assert {case for _, case in batch} == {REFERENCE, TWIN, FAST, NEAR}


def test_rounds_come_in_pairs_forth_and_back() -> None:
    """A steady drift cancels over each of them, and every round is of one number."""
    run = Spending().go_on(600)
    assert len(run.rounds) % 2 == 0
    for forth, back in zip(run.rounds[::2], run.rounds[1::2], strict=True):
        assert [case for _, case in forth] == [case for _, case in reversed(back)]
    numbers = [{number for number, _ in batch} for batch in run.rounds]
    assert numbers == [{number} for number in range(1, len(numbers) + 1)]


def test_it_ends_when_everything_is_told_apart() -> None:
    """Half as long again, with little noise: three rounds, and it says that it is decided."""
    run = Spending(MS | {NEAR: 3.0}, noise=0.01).go_on(1e6)
    assert (len(run.rounds), run.stopped.partition(":")[0]) == (2, "decided")


def test_a_single_contender_needs_no_more() -> None:
    """If one row beats all others far beyond the noise in one round, that is all."""
    run = Spending({REFERENCE: 9.0, TWIN: 9.0, FAST: 2.0, SLOW: 20.0}).go_on(1e6)
    assert (run.rounds, run.stopped.partition(":")[0]) == ([], "decided")


def test_disturbed_rows_are_told_when_it_ends() -> None:
    """Of an INVALID block nothing follows: not that its row is beaten."""
    run = Spending()
    busy = Surroundings(1.0, 2.0, 0.0, 0, 0)
    run.measurements = [replace(block, surroundings=busy) for block in run.measurements]
    run.go_on(1e6)
    assert run.rounds == []
    assert run.stopped == (
        "nothing to decide: no row is measured, right and believable; 5 INVALID, which the same "
        "command measures again"
    )


def test_a_hopeless_tie_is_given_up() -> None:
    """Equal rows with noise: where more blocks than may be had would be needed, none are."""
    run = Spending(MS | {NEAR: 2.0}, noise=0.02, seed=5).go_on(1e9)
    assert len(run.rounds) < spend.MOST_ROUNDS
    assert run.stopped == (
        "given up: 2 rows not told apart, which would likely take more than 127 blocks"
    )


def test_a_difference_within_that_of_the_aa_pair_is_given_up() -> None:
    """A twentieth tells nothing where the same file is a tenth from itself, however many blocks."""
    run = Spending(MS | {TWIN: 9.9, NEAR: 2.1}, noise=0.002).go_on(1e9)
    assert (len(run.rounds), run.stopped.partition(",")[0]) == (
        2,
        "given up: 2 rows not told apart",
    )


def test_an_aa_pair_that_more_blocks_bring_together_is_no_reason_to_give_up() -> None:
    """What few blocks leave open of it is more than the rows differ by, and shrinks."""
    run = Spending(MS | {NEAR: 2.06}, noise=0.02).go_on(1e9)
    (early,) = tables_of(
        Run(run.header, tuple(block for block in run.measurements if block.round < 3))
    ).values()
    assert early.told_apart > 2.06 / 2.0
    assert len(run.rounds) > 2


def test_rows_that_the_budget_dropped_are_not_called_beaten() -> None:
    """Told apart are the two that fit; the third has one block, and nothing is known of it."""
    late = Case("revisited-v1", "fp32", "ort", 2)
    run = Spending(MS | {NEAR: 3.0, late: 3.1}, noise=0.01).go_on(60 + 80 + 5)
    assert {case for batch in run.rounds for _, case in batch} == {REFERENCE, TWIN, FAST, NEAR}
    assert run.stopped == (
        "given up: 2 rows not told apart, 2 of which got too few blocks: the budget dropped them, "
        "or a rival"
    )


@pytest.mark.parametrize(("budget_s", "rounds"), [(50, 0), (129, 0), (130, 2), (209, 2), (210, 4)])
def test_a_pair_of_rounds_begins_only_if_it_will_end_in_time(budget_s: float, rounds: int) -> None:
    """The first round took 50 s, each pair of four rows takes 80."""
    run = Spending().go_on(budget_s)
    assert len(run.rounds) == rounds
    assert run.stopped.startswith("budget: ")
    assert sum(block.block_s or 0.0 for block in run.measurements) <= max(budget_s, 50)


def test_where_not_all_fit_the_fastest_do() -> None:
    """Six contenders of other sizes, and a budget for the first ones: no round is wasted.

    Those that did not fit are no less open than the others.
    """
    extra = {Case(f"revisited-v{i}", "fp32", "ort", 2): 2.0 + i / 10 for i in range(1, 5)}
    run = Spending(MS | extra, seed=0).go_on(90 + 2 * 50)
    shipped = {case for batch in run.rounds for _, case in batch} - {REFERENCE, TWIN}
    assert shipped == {FAST, NEAR, Case("revisited-v1", "fp32", "ort", 2)}
    assert run.stopped.endswith("open: 6 rows")


@pytest.mark.parametrize("most", [1, 3, 4, 7, 9])
def test_a_second_start_goes_on_and_decides_alike(most: int) -> None:
    """Interrupted anywhere, the same blocks are measured in the end."""
    whole = Spending().go_on(300)
    again = Spending().go_on(300, most)
    assert len(again.measurements) == len(MS) + most
    again.go_on(300)
    assert again.rounds == whole.rounds
    assert again.measurements == whole.measurements
    assert again.stopped == whole.stopped
    before = len(again.measurements)
    assert len(again.go_on(300).measurements) == before


def test_rows_with_fewer_blocks_say_so() -> None:
    """On the page, and that they have no interval; the reference says nothing."""
    run = Spending().go_on(300)
    (table,) = tables_of(Run(run.header, tuple(run.measurements))).values()
    notes = {
        row.case: [text for text in doubts(row, table) if "`blocks`" in text] for row in table.rows
    }
    most = len(run.rounds) + 1
    assert notes[SLOW] == [
        f"`blocks`: 1 block, and no interval, where others have up to {most}: the budget decided "
        "more there"
    ]
    assert not notes[REFERENCE] and not notes[FAST]


def test_wrong_and_failed_rows_get_no_more_blocks() -> None:
    """However fast: nobody would ship them."""
    run = Spending()
    wrong = replace(NEAR, runtime="mnn")
    run.measurements.append(measured(wrong, 0.5, passed=False)[0])
    run.measurements.append(Measurement(replace(NEAR, runtime="ncnn"), 0, "failed", "crashed"))
    run.go_on(300)
    assert {case.runtime for batch in run.rounds for _, case in batch} == {
        *("torch-eager", "ort", "openvino")
    }


def test_one_round_seldom_says_twice_as_fast_of_what_is_not() -> None:
    """Over the committed runs, less than one in a thousand such ratios turns in all rounds."""
    claims = turned = 0
    for path in find_runs(RESULTS):
        run = read_run(path)
        for table in tables_of(run).values():
            rows = [row for row in competing(table, run.header) if len(row.row.timed) >= 3]
            medians = [list(one.by_round("latency").values()) for one in rows]
            for one, other in itertools.permutations(medians, 2):
                overall = geometric_estimate(one).value / geometric_estimate(other).value
                far = sum(a >= spend.SURE * b for a, b in zip(one, other, strict=False))
                claims += far
                turned += far if overall <= 1 else 0
    assert claims > 10_000
    assert turned < claims / 1000


def test_a_budget_takes_the_place_of_blocks() -> None:
    """One block to begin with; both, a scenario or no time at all are refused in a sentence."""
    assert (parse(["--budget", "10m"]).budget, parse(["--budget", "10m"]).blocks) == (600, 1)
    assert (parse([]).budget, parse([]).blocks) == (0, 3)
    assert parse(["--against", "x"]).budget == 600
    for words, part in {
        ("--blocks", "3"): "--blocks and --budget both",
        ("--scenarios", "offline"): "--budget is spent on our own loop alone",
        ("--budget", "0"): "--budget 0 leaves no time",
    }.items():
        with pytest.raises(UsageError, match=part):
            parse(["--budget", "10m", *words])
