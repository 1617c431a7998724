"""A/A, power and drift: what is measured in which order, and what is made of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from bench import stats
from bench.block import Effort
from bench.case import AGAIN, Case
from bench.files import file_key
from bench.method import aa, drift, power
from bench.method.aa import Comparison
from bench.method.drift import Repetition
from bench.method.experiment import Lab, Size
from bench.method.power import SHARES, Round
from bench.method.slowed import Slowdown
from bench.options import UsageError
from bench.record import Measurement
from export.artifact import Artifact
from tests.bench.made_up import fake_artifact
from tests.bench.method.conftest import block

SIZE = Size(pairs=4, blocks=3, threads=1)
CASE = SIZE.cases[0]


@dataclass
class Machine:
    """Blocks whose p50 a function of the slow-down decides; which ran is in ``log``."""

    p50_ms: Callable[[Slowdown, int], float]
    log: list[tuple[str, int, Slowdown]] = field(default_factory=list)

    def lab(self, tmp_path, size: Size = SIZE) -> Lab:
        return Lab(size, {file_key(CASE): fake_artifact(tmp_path)}, tmp_path, self.block)

    def block(self, case: Case, number: int, artifact: Artifact, effort: Effort) -> Measurement:
        """A block that takes no time."""
        slowdown = Slowdown(*map(float, effort.worker[1:4]))
        self.log.append((case.copy, number, slowdown))
        return block(case, number, p50_ns=round(1e6 * self.p50_ms(slowdown, len(self.log))))


def comparison(ratio: float, noise: float = 0.001) -> Comparison:
    """Three rounds; the second side takes ``ratio`` times as long, give or take ``noise``."""
    signs = (1 - noise, 1.0, 1 + noise)
    return Comparison((1.0, 1.0, 1.0), tuple(ratio * sign for sign in signs))


def test_200_true_intervals_may_miss_16_times() -> None:
    """What a true 5 % exceeds once in forty times; the number that the issue names."""
    assert stats.most_by_chance(200, 0.05) == 16
    assert stats.most_by_chance(1, 0.05) == 1
    assert stats.most_by_chance(1, 0.01) == 0


def test_an_aa_comparison_measures_both_names_in_every_round(tmp_path) -> None:
    """Crossover order, in plain children; each comparison has an order of its own."""
    machine = Machine(lambda slowdown, turn: turn)
    found = [aa.measure(index, machine.lab(tmp_path)) for index in range(8)]
    assert len(machine.log) == 8 * 6
    for start in range(0, 48, 6):
        turns = machine.log[start : start + 6]
        assert sorted(turns, key=lambda turn: turn[:2]) == [
            (name, number, Slowdown()) for name in ("", AGAIN) for number in (1, 2, 3)
        ]
        assert [turn[1] for turn in turns] == [1, 1, 2, 2, 3, 3]
    firsts = {tuple(turn[0] for turn in machine.log[i : i + 6]) for i in range(0, 48, 6)}
    assert len(firsts) > 1
    assert found[0].ratio.value == pytest.approx(
        math.prod(b / a for a, b in zip(found[0].first_s, found[0].second_s, strict=True))
        ** (1 / 3)
    )


def test_aa_compares_one_variant_with_itself() -> None:
    """Two variants are refused with the flag's name."""
    with pytest.raises(UsageError, match="--variants xception,vgg19: one is compared with itself"):
        aa.pair(Size(pairs=1, variants=("xception", "vgg19")))


@pytest.mark.parametrize(("called", "passed"), [(16, True), (17, False)])
def test_aa_allows_what_chance_allows(called: int, passed: bool) -> None:
    """16 of 200 are as it must be, 17 are not."""
    lines = [comparison(1.1)] * called + [comparison(1.0)] * (200 - called)
    outcome = aa.judge(SIZE, lines)
    assert outcome.passed is passed
    assert outcome.answer == (
        f"{called} of 200 comparisons of 3 blocks a side are called different; a true 5 % "
        "exceeds 16 once in forty times. Half of the intervals are narrower than ±0.2%."
    )


def test_a_power_round_measures_every_slow_down_once(tmp_path) -> None:
    """The base and five shares, all in the same kind of child, in an order of its own."""
    machine = Machine(lambda slowdown, turn: 1 + slowdown.share)
    found = [power.measure(index, machine.lab(tmp_path)) for index in range(2)]
    for row in found:
        assert row.base_s == 1e-3
        assert row.slower_s == pytest.approx({share: 1e-3 * (1 + share) for share in SHARES})
    assert sorted(s.share for _, _, s in machine.log) == sorted((0.0, *SHARES) * 2)
    assert [number for _, number, _ in machine.log] == [1] * 6 + [2] * 6
    first, second = ([(s.share) for _, _, s in machine.log[i : i + 6]] for i in (0, 6))
    assert second == first[::-1]


def rounds(count: int, off: float = 0.0) -> list[Round]:
    """Rounds with a noise of 1 %; every slow-down is by ``off`` more than it says."""
    rng = np.random.default_rng(5)
    draw = lambda: math.exp(rng.normal(0, 0.01))  # noqa: E731
    return [Round(draw(), {s: (1 + s) * (1 + off) * draw() for s in SHARES}) for _ in range(count)]


def test_power_rises_with_the_slow_down_and_the_blocks() -> None:
    """A right injection passes; 10 % is always noticed, 0 % hardly ever."""
    outcome = power.judge(SIZE, rounds(150))
    assert outcome.passed is True
    head, _, *lines = outcome.table.splitlines()
    assert head.startswith(
        "| slow-down | called, 3 blocks | called, 5 blocks | called, 10 blocks |"
    )
    assert [line.split(" | ")[0] for line in lines] == ["| 0%", "| 1%", "| 2%", "| 5%", "| 10%"]
    assert lines[-1].startswith("| 10% | 50 of 50 | 30 of 30 | 15 of 15 |")
    called = [int(line.split(" | ")[2].split()[0]) for line in lines]
    assert called == sorted(called)


def test_power_says_no_more_than_its_table() -> None:
    """Limits, all misses and false alarms are counted; columns are not called independent."""
    assert power.judge(SIZE, rounds(150)).answer == (
        "No column misses the true ratio more often than chance allows intervals that are right in "
        "95 % (at most 8 of 50, 6 of 30, 4 of 15; together 24 of 475, 5.1 %). Without a slow-down "
        "3 of 95 are called different; if they were independent, a true 5 % would exceed 9 once in "
        "forty times. They are not quite: the columns are cut from the same blocks. Regressed is "
        "what `python -m bench.compare` would call one row that was measured in turns: the "
        "interval lies wholly above a margin of 2 %."
    )


def test_power_counts_what_a_gate_would_call() -> None:
    """Above the margin of 2 % with the whole interval: less often than different from 1."""
    head, _, *lines = power.judge(SIZE, rounds(150)).table.splitlines()
    place = head.split(" | ").index("regressed, 3 blocks")
    gated = [int(line.split(" | ")[place].split()[0]) for line in lines]
    called = [int(line.split(" | ")[1].split()[0]) for line in lines]
    assert (gated[:2], gated[-1]) == ([0, 1], 49)
    assert all(few <= many for few, many in zip(gated, called, strict=True))


def test_power_fails_if_the_truth_is_missed() -> None:
    """An injection that is off by 5 % is told, with the count."""
    outcome = power.judge(SIZE, rounds(150, off=0.05))
    assert outcome.passed is False
    assert "15 of 15 intervals of 10 blocks miss 0%" in outcome.answer


def test_power_shares_no_block_between_comparisons() -> None:
    """Ten rounds are three comparisons of three blocks, two of five, one of ten."""
    found = rounds(10)
    assert [len(power.ratios(found, 0.05, blocks)) for blocks in (3, 5, 10)] == [3, 2, 1]
    assert power.ratios(found[:2], 0.05, 3) == []
    assert "| – |" in power.judge(SIZE, rounds(4)).table


def test_drift_measures_both_orders_from_its_beginning_on(tmp_path) -> None:
    """Sequential: one name and then the other; each order has a drift of its own."""
    machine = Machine(lambda slowdown, turn: turn)
    found = [drift.measure(index, machine.lab(tmp_path)) for index in range(2)]
    names = [name for name, _, _ in machine.log]
    assert names[6:12] == names[12:18] == [""] * 3 + [AGAIN] * 3
    slowdowns = [slowdown for _, _, slowdown in machine.log]
    assert {slowdown.per_s for slowdown in slowdowns} == {drift.PER_S}
    assert len({slowdown.since_s for slowdown in slowdowns}) == 4
    assert found[0].sequential == Comparison((7e-3, 8e-3, 9e-3), (10e-3, 11e-3, 12e-3))


@pytest.mark.parametrize(
    ("ours", "theirs", "passed"), [(1.0, 1.1, True), (1.1, 1.1, False), (1.0, 1.0, False)]
)
def test_drift_passes_if_ours_holds_the_truth_and_the_other_does_not(
    ours: float, theirs: float, passed: bool
) -> None:
    """A biased crossover fails it, and so does a drift that biases nothing."""
    noise = (0.998, 0.999, 1.0, 1.001, 1.002)
    lines = [Repetition(comparison(ours), comparison(theirs * factor)) for factor in noise]
    outcome = drift.judge(SIZE, lines)
    assert outcome.passed is passed
    if passed:
        assert outcome.answer == (
            "Everything becomes slower by 2% a second. 5 comparisons of 3 blocks a side of one "
            "file with itself: measured one side after the other, the second seems to take 1.100 "
            "times as long (1.098 to 1.102); in crossover order 1.000 times (1.000 to 1.000), and "
            "0 of 5 intervals miss the true 1 (at most 1 may)."
        )
