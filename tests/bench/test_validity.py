"""Verdicts: every code can be raised, each by its own figure and at its own limit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.case import Case
from bench.record import Canary, LoadTest, Measurement, Surroundings, read_run
from bench.validity import (
    LIMITS,
    NEVER,
    Verdict,
    figures,
    figures_judged,
    judge,
    judge_with_test,
    of_row,
    overall,
    usual_canary_s,
)

QUIET = Measurement(
    Case("vgg19", "fp32", "ort", 2),
    0,
    "ok",
    latencies_ns=(5,) * 6,
    warmup_settled=True,
    surroundings=Surroundings(1.0, 0.0, 0.0, 0, 9, 1.0, 1.0),
    canary=Canary(0.004, 0.004),
)


def around(**changes: float | None) -> Measurement:
    """A quiet block but for these surroundings."""
    assert QUIET.surroundings is not None
    return replace(QUIET, surroundings=replace(QUIET.surroundings, **changes))  # type: ignore[arg-type]


DISTURBED = {
    "foreign-cpu": around(foreign_cpu_s=LIMITS["foreign-cpu"].suspect),
    "steal": around(steal_s=LIMITS["steal"].suspect),
    "switches": around(involuntary_switches=int(LIMITS["switches"].suspect)),
    "canary": replace(QUIET, canary=Canary(0.004, 0.004 * (1 + LIMITS["canary"].suspect) + 1e-9)),
    "clock": around(realtime_s=1.0 + LIMITS["clock"].suspect + 5.1e-4),
    "warm-up": replace(QUIET, warmup_settled=False),
}


def test_a_quiet_block_is_valid() -> None:
    """Nothing speaks against it, and every figure was told."""
    assert judge(QUIET, 0.004) == Verdict("VALID", ())
    assert set(figures(QUIET, 0.004)) == set(LIMITS)


@pytest.mark.parametrize("code", LIMITS)
def test_each_code_is_raised_by_its_own_figure(code: str) -> None:
    """At the limit the block is suspect, with that code and no other."""
    assert judge(DISTURBED[code], 0.004) == Verdict("SUSPECT", (code,))


@pytest.mark.parametrize("code", ["foreign-cpu", "steal", "switches", "clock"])
def test_far_beyond_the_limit_a_block_is_invalid(code: str) -> None:
    """What only a disturbed machine reaches proves nothing."""
    worst = LIMITS[code].invalid + 5e-4
    fields: dict[str, dict[str, float | None]] = {
        "foreign-cpu": {"foreign_cpu_s": worst},
        "steal": {"steal_s": worst},
        "switches": {"involuntary_switches": int(worst) + 1},
        "clock": {"boottime_s": 1.0 - worst - 1e-6},
    }
    assert judge(around(**fields[code]), 0.004) == Verdict("INVALID", (code,))


def test_a_canary_far_off_makes_a_block_invalid_either_way() -> None:
    """A machine that was suddenly faster was not the same either."""
    far = 1 + LIMITS["canary"].invalid + 1e-6
    assert judge(replace(QUIET, canary=Canary(0.004, 0.004 * far)), 0.004).level == "INVALID"
    assert judge(replace(QUIET, canary=Canary(0.004, 0.004 / far)), 0.004).level == "SUSPECT"


def test_what_the_host_cannot_tell_speaks_neither_way() -> None:
    """No /proc/stat, no canary, no other clock: fewer figures, no doubt."""
    silent = replace(
        around(foreign_cpu_s=None, steal_s=None, realtime_s=None, boottime_s=None), canary=None
    )
    assert set(figures(silent)) == {"switches", "warm-up"}
    assert judge(silent, None) == Verdict()
    assert judge(replace(silent, surroundings=None), None) == Verdict()


def test_a_tick_in_a_very_short_loop_is_no_neighbour() -> None:
    """The kernel counts in ticks of 10 ms: under 0.2 s they are not read."""
    assert (
        judge(around(wall_s=0.01, realtime_s=0.01, boottime_s=0.01, foreign_cpu_s=0.01), None)
        == Verdict()
    )


def test_a_very_short_loop_is_judged_with_its_warm_up() -> None:
    """A thousand inferences of a tiny network end in 0.1 s; the half second before tells more."""
    short = around(wall_s=0.1, realtime_s=0.1, boottime_s=0.1, foreign_cpu_s=0.1, steal_s=0.0)
    busy = replace(short, warmup_s=0.5, warmup_foreign_cpu_s=0.5, warmup_steal_s=0.3)
    pushed = replace(short, warmup_s=0.5, warmup_switches=600)
    assert figures(pushed)["switches"] == pytest.approx(1000)
    assert figures(busy)["foreign-cpu"] == pytest.approx(1.0)
    assert figures(busy)["steal"] == pytest.approx(0.5)
    assert judge(busy, None) == Verdict("INVALID", ("foreign-cpu", "steal"))
    assert judge(replace(busy, warmup_foreign_cpu_s=0.0, warmup_steal_s=0.0), None) == Verdict()


def with_test(scenario: str, **changes: float | None) -> Measurement:
    """A quiet block with a test of LoadGen, and around that test this machine."""
    around_it = around(**changes).surroundings
    test = LoadTest("images_per_s", 9.0, valid=True, surroundings=around_it)
    return replace(QUIET, case=replace(QUIET.case, scenario=scenario), load_test=test)


@pytest.mark.parametrize(
    ("code", "field"),
    [
        ("foreign-cpu", "foreign_cpu_s"),
        ("steal", "steal_s"),
        ("switches", "involuntary_switches"),
        ("clock", "boottime_s"),
    ],
)
def test_a_scenarios_row_is_judged_by_its_test_too(code: str, field: str) -> None:
    """The number is LoadGen's: what disturbed its test counts, though our own loop was quiet."""
    far = LIMITS[code].invalid + (1 if code == "switches" else 2)
    assert judge(with_test("offline", **{field: far}), 0.004) == Verdict("INVALID", (code,))
    assert judge(with_test("offline"), 0.004) == Verdict()


def test_a_scenarios_figures_are_those_it_is_judged_by() -> None:
    """Of our own loop and of LoadGen's test the worse one; our own loop's alone for its own row."""
    quiet = figures(with_test("offline"), 0.004)
    disturbed = figures_judged(with_test("offline", steal_s=0.9), 0.004)
    assert disturbed["steal"] > LIMITS["steal"].invalid > quiet["steal"]
    assert disturbed["canary"] == quiet["canary"]
    assert figures_judged(with_test("single", steal_s=0.9), 0.004) == quiet


def test_a_single_streams_row_is_judged_by_our_own_loop() -> None:
    """Its number is ours; only where LoadGen's stands beside it, the test is judged as well."""
    disturbed = with_test("single", steal_s=0.9)
    assert judge(disturbed, 0.004) == Verdict()
    assert judge_with_test(disturbed, 0.004) == Verdict("INVALID", ("steal",))
    assert of_row([disturbed], 0.004, judge_with_test) == Verdict("INVALID", ("steal",))


def test_a_test_and_a_loop_are_as_good_as_the_worse() -> None:
    """With the codes of both; a test that nobody watched says nothing."""
    both = replace(with_test("multi", steal_s=0.9), warmup_settled=False)
    assert judge(both, 0.004) == Verdict("INVALID", ("steal", "warm-up"))
    unseen = LoadTest("images_per_s", 9.0, valid=True)
    assert judge(replace(both, load_test=unseen), 0.004) == Verdict("SUSPECT", ("warm-up",))


def test_clocks_may_differ_by_what_a_correction_does() -> None:
    """A clock that is being slewed runs 500 ppm off: over 100 s that is 50 ms and no jump."""
    assert judge(around(wall_s=100.0, realtime_s=100.05, boottime_s=100.0), None) == Verdict()


def test_a_row_is_as_good_as_its_worst_block() -> None:
    """With the codes of all of them, in the order of the limits."""
    blocks = [Verdict(), Verdict("INVALID", ("canary",)), Verdict("SUSPECT", ("steal", "warm-up"))]
    assert overall(blocks) == Verdict("INVALID", ("steal", "canary", "warm-up"))
    assert overall([]) == Verdict()


def test_a_row_needs_samples_for_its_median() -> None:
    """Six over all blocks: a 95 % interval of a median takes as many."""
    short = replace(QUIET, latencies_ns=(5,) * 2)
    assert of_row([short, short], 0.004) == Verdict("SUSPECT", ("samples",))
    assert of_row([short] * 3, 0.004) == Verdict()
    assert of_row([], 0.004) == Verdict()


def test_the_usual_canary_is_the_middle_one_of_the_run() -> None:
    """Before and after count alike; a run without any has none."""
    blocks = [replace(QUIET, canary=Canary(a, b)) for a, b in ((1.0, 2.0), (3.0, 9.0), (4.0, 5.0))]
    assert usual_canary_s(blocks) == 3.0
    assert usual_canary_s([replace(QUIET, canary=None)]) is None


def test_a_block_without_a_number_is_not_judged() -> None:
    """There is nothing that one could doubt."""
    assert judge(Measurement(QUIET.case, 0, "failed", "killed"), 0.004) == Verdict()


# --- what no neighbour moves far enough for an experiment, on a block that was really measured


@pytest.fixture(scope="module")
def recorded() -> tuple[Measurement, float]:
    """A committed block that is VALID, whose host could tell everything, and its run's canary."""
    folder = Path(__file__).parents[2] / "results" / "records"
    path, *_ = sorted(folder.glob("default-*.jsonl.gz"))
    measurements = read_run(path).measurements
    usual_s = usual_canary_s(measurements)
    assert usual_s is not None
    block = next(
        block
        for block in measurements
        if judge(block, usual_s) == Verdict() and set(figures(block, usual_s)) == set(LIMITS)
    )
    return block, usual_s


def moved(block: Measurement, usual_s: float, code: str, figure: float) -> Measurement:
    """``block`` with one field changed so that the figure of ``code`` is this."""
    surroundings, canary = block.surroundings, block.canary
    assert surroundings is not None and canary is not None
    wall_s = surroundings.wall_s
    if code == "canary":
        return replace(block, canary=replace(canary, after_s=usual_s * (1 + figure)))
    if code == "warm-up":
        return replace(block, warmup_settled=figure < 1)
    if code == "steal":
        changed = replace(surroundings, steal_s=figure * wall_s)
    else:
        changed = replace(surroundings, realtime_s=wall_s * (1 + 5e-4) + figure)
    return replace(block, surroundings=changed)


@pytest.mark.parametrize("code", ["steal", "canary", "clock", "warm-up"])
def test_one_field_flips_a_recorded_block(code: str, recorded: tuple[Measurement, float]) -> None:
    """VALID just below the limit, SUSPECT and INVALID just above theirs, with that code alone."""
    block, usual_s = recorded
    limit = LIMITS[code]

    def verdict(figure: float) -> Verdict:
        return judge(moved(block, usual_s, code, figure), usual_s)

    assert verdict(0.999 * limit.suspect) == Verdict()
    assert verdict(1.001 * limit.suspect) == Verdict("SUSPECT", (code,))
    if limit.invalid < NEVER:
        assert verdict(0.999 * limit.invalid) == Verdict("SUSPECT", (code,))
        assert verdict(1.001 * limit.invalid) == Verdict("INVALID", (code,))
