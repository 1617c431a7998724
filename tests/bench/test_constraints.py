"""Limits: how they are written, and when they are met, missed, undecided or unknown."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import constraints
from bench import field as fields
from bench.case import Case
from bench.constraints import Judgement, outcome
from bench.contenders import Contender
from bench.options import UsageError
from bench.stats import Estimate
from tests.bench.made_up import answering, measured, thousand_images

CASE = Case("vgg19", "fp32", "ort", 2)
INT8 = Case("vgg19", "int8-static", "ort", 2)
Made = Callable[..., Contender]


@pytest.fixture
def one(run_of) -> Made:
    """``one(*ms, **figures)``: the contender of those blocks."""

    def make(*ms: float, **figures: object) -> Contender:
        made = measured(CASE, *ms, **figures)  # type: ignore[arg-type]
        return fields.field([run_of(*made, labelled=thousand_images())]).contenders[0]

    return make


def judged(row: Contender, flag: str, text: str) -> Judgement:
    """How a row does."""
    return constraints.judge(row, constraints.parse(flag, text))


@pytest.mark.parametrize(
    ("flag", "text", "limit"),
    [
        ("--max-p95", "60ms", 0.06),
        ("--max-load", "1s", 1.0),
        ("--max-size", "100MB", 1e8),
        ("--max-memory", "64 MiB", 64 * 2**20),
        ("--max-accuracy-drop", "1", 0.01),
        ("--min-accuracy", "75%", 0.75),
        ("--min-accuracy", "75", 0.75),
    ],
)
def test_limits_have_units(flag: str, text: str, limit: float) -> None:
    """Seconds, bytes and shares inside; MB is 10^6, MiB 2^20."""
    assert constraints.parse(flag, text).limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--max-p95", "60"),
        ("--max-size", "100"),
        ("--max-size", "5ib"),
        ("--max-memory", "-1MB"),
        ("--max-accuracy-drop", "1%"),
        ("--max-accuracy-drop", "101"),
        ("--min-accuracy", "0.75"),
        ("--min-accuracy", "101"),
    ],
)
def test_a_limit_that_could_mean_two_things_is_refused(flag: str, text: str) -> None:
    """Without a unit, or a share where percent is meant; the sentence names flag and remedy."""
    with pytest.raises(UsageError, match=rf"^{flag} .*such as"):
        constraints.parse(flag, text)


@pytest.mark.parametrize(
    ("flag", "text"),
    [("--max-p95", "0ms"), ("--max-load", "0s"), ("--max-size", "0MB"), ("--max-memory", "0.0 B")],
)
def test_a_limit_of_nothing_is_refused(flag: str, text: str) -> None:
    """Nothing keeps it, and nothing is a number of times as much."""
    with pytest.raises(UsageError, match=rf"^{flag} {text} is a limit that nothing keeps"):
        constraints.parse(flag, text)
    assert constraints.parse("--max-accuracy-drop", "0").limit == 0


@given(st.floats(0.1, 10), st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 10))
def test_an_interval_lies_on_one_side_or_it_is_undecided(
    value: float, below: float, above: float, limit: float
) -> None:
    """Met: all of it keeps the limit; missed: none of it does. And a minimum is the mirror."""
    low, high = value * (1 - below), value * (1 + above)
    found = outcome(Estimate(value, low, high), limit)
    slack = 1 + 1e-6
    assert found == "met" if high <= limit else found != "met" or high <= slack * limit
    assert found == "missed" if low > slack * limit else found != "missed" or low > limit
    mirrored = outcome(Estimate(-value, -high, -low), -limit, least=True)
    assert mirrored == found


def test_an_estimate_outside_its_interval_counts_too() -> None:
    """A pooled percentile may lie beyond what the blocks' own ones span."""
    assert outcome(Estimate(11, 8, 9), 10) == "undecided"


def test_without_an_interval_nothing_is_met(one: Made) -> None:
    """Two blocks far below the limit could have been luck; a third is asked for."""
    found = judged(one(10, 10), "--max-p50", "60ms")
    assert found.outcome == "undecided"
    assert found.reason == "fewer than 3 blocks give no interval"
    assert found.remedy and "3 blocks instead of 2" in found.remedy.text
    assert judged(one(10, 10, 10), "--max-p50", "60ms").outcome == "met"


def test_a_percentile_needs_the_samples_that_support_it(one: Made) -> None:
    """60 of 72: it says how many more, and in how many blocks."""
    found = judged(one(10, 10, 10, inferences=20), "--max-p95", "60ms")
    assert (found.outcome, found.figure) == ("undecided", None)
    assert found.reason == "not enough samples: 12 more (p95 takes 72)"
    assert found.remedy and "4 blocks instead of 3" in found.remedy.text
    assert judged(one(10, 10, 10, inferences=24), "--max-p95", "60ms").outcome == "met"


def test_a_median_beyond_the_limit_decides_every_percentile(one: Made) -> None:
    """p95 is no less than p50: no further samples are needed to know it."""
    found = judged(one(70, 71, 72, inferences=20), "--max-p95", "60ms")
    assert (found.outcome, found.reason) == ("missed", "so much is its p50 already")


def test_an_undecided_row_says_how_many_blocks_would_decide(one: Made) -> None:
    """By the spread of its blocks; on the limit itself nothing would."""
    near = judged(one(9.8, 10, 10.4), "--max-p50", "10.2ms")
    assert near.outcome == "undecided"
    assert near.remedy and near.remedy.command.endswith(
        "--blocks 21"
    )  # (2.8 * 0.030 / 0.0198)², and a little
    on_it = judged(one(9.8, 10, 10.4), "--max-p50", "10ms")
    assert on_it.remedy and not on_it.remedy.command


@pytest.mark.parametrize(
    ("flag", "text", "expected"),
    [
        ("--max-size", "1MB", "met"),
        ("--max-size", "999999B", "missed"),
        ("--max-memory", "300MB", "met"),
        ("--max-memory", "299MB", "missed"),
        ("--max-load", "100ms", "met"),
        ("--max-load", "99ms", "missed"),
    ],
)
def test_size_memory_and_load(flag: str, text: str, expected: str, one: Made) -> None:
    """On the limit is within it; a file's size is exact, one block of it is enough."""
    assert judged(one(1, 1, 1), flag, text).outcome == expected


def test_accuracy_is_held_by_its_interval(one: Made) -> None:
    """900 of 1000 right: 88.0 to 91.8 % by Clopper and Pearson."""
    row = one(1, 1, 1, answers=answering(thousand_images(), 100))
    texts = {"87.9": "met", "88.1": "undecided", "90": "undecided", "91.9": "missed"}
    found = {text: judged(row, "--min-accuracy", text) for text in texts}
    assert {text: judgement.outcome for text, judgement in found.items()} == texts
    assert found["88.1"].remedy and found["88.1"].remedy.text.startswith("about 1957 labelled")


def test_a_row_without_accuracy_keeps_no_accuracy(one: Made) -> None:
    """It is said so: that is neither a miss nor open to further blocks."""
    for flag in ("--min-accuracy", "--max-accuracy-drop"):
        found = judged(one(1, 1, 1), flag, "50")
        assert (found.outcome, found.remedy) == ("unknown", None)
        assert found.reason == "no accuracy: it was not asked about labelled images"


@pytest.mark.parametrize(("lost", "expected"), [(0, "met"), (10, "undecided"), (60, "missed")])
def test_a_drop_is_against_the_network_in_fp32(lost: int, expected: str, run_of) -> None:
    """By Tango's interval of the paired difference; the fp32 row itself loses nothing."""
    labelled = thousand_images()
    blocks = [
        *measured(CASE, 10, 10, 10, answers=answering(labelled, 50)),
        *measured(INT8, 5, 5, 5, answers=answering(labelled, 50 + lost)),
    ]
    parent, row = fields.field([run_of(*blocks, labelled=labelled)]).contenders
    assert judged(parent, "--max-accuracy-drop", "1").outcome == "met"
    assert judged(row, "--max-accuracy-drop", "1").outcome == expected


def test_a_drop_from_nothing_is_unknown(run_of) -> None:
    """An INT8 row without its network in fp32 beside it can't be said to have lost little."""
    labelled = thousand_images()
    made = measured(INT8, 5, 5, 5, answers=answering(labelled, 0))
    row = fields.field([run_of(*made, labelled=labelled)]).contenders[0]
    found = judged(row, "--max-accuracy-drop", "1")
    assert (found.outcome, "in fp32" in found.reason) == ("unknown", True)
