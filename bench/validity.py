"""Can this number be believed: a verdict with reason codes, from what was recorded raw.

Pure functions over a block. Every threshold stands in ``LIMITS``; what quiet and
disturbed blocks read stands in ``results/method`` (the experiment ``thresholds``).
Suspect is what quiet blocks hardly ever reach. Invalid is, for foreign CPU use,
half of what one busy neighbour takes; for the others, which that neighbour does
not move so far, several times the suspect limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from bench import stats
from bench.record import Measurement

Level = Literal["VALID", "SUSPECT", "INVALID"]
LEVELS: tuple[Level, ...] = ("VALID", "SUSPECT", "INVALID")


@dataclass(frozen=True)
class Verdict:
    """How far a number can be believed, and the codes of what speaks against it."""

    level: Level = "VALID"
    codes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limit:
    """From ``suspect`` on a block is doubtful, from ``invalid`` on it proves nothing.

    ``meaning`` says what the figure is.
    """

    suspect: float
    invalid: float
    meaning: str


NEVER = float("inf")
LIMITS: Mapping[str, Limit] = MappingProxyType(
    {
        "foreign-cpu": Limit(0.2, 0.5, "cores that other processes kept busy"),
        "steal": Limit(0.05, 0.25, "cores that the hypervisor kept from this machine"),
        "switches": Limit(150, 600, "times a second that it was pushed off its core"),
        "canary": Limit(
            0.10, 0.30, "share by which a fixed piece of work before or after it was off"
        ),
        "clock": Limit(0.02, 0.2, "seconds by which the system's clocks disagree"),
        "warm-up": Limit(1, NEVER, "the latency had not settled when the warm-up ended"),
    }
)
FEW_SAMPLES = "samples"
"""The code of a row that is too short, whatever its blocks are like."""
LEAST_SAMPLES = stats.least_samples(0.5)
"""So many take a 95 % interval of a median."""
_SLEW = 5e-4
"""By so much a clock that is being corrected may run faster or slower (adjtimex(2): 500 ppm)."""


def judge(block: Measurement, usual_canary_s: float | None) -> Verdict:
    """The verdict on the number that a block's row states; ``usual_canary_s``: ``None`` if unknown.

    That is our own loop's, or LoadGen's, which was taken behind it in the same child: then
    the worse of both. What the host could not tell speaks neither for nor against a block.
    A block without latencies (unsupported, failed) has no number that one could doubt.
    """
    if block.case.scenario != "single":
        return judge_with_test(block, usual_canary_s)
    return _judge_loop(block, usual_canary_s)


def judge_with_test(block: Measurement, usual_canary_s: float | None) -> Verdict:
    """The worse of the verdicts on our own loop and on LoadGen's test, where there was one."""
    loop, tested = _judge_loop(block, usual_canary_s), _tested(block)
    return loop if tested is None else overall((loop, _judge_loop(tested, None)))


def _tested(block: Measurement) -> Measurement | None:
    """LoadGen's test as if it had been a timed loop, to be held against the same limits.

    It has no canary of its own. ``None``: there was none, or nobody watched it.
    """
    test = block.load_test
    if test is None or test.surroundings is None:
        return None
    return replace(
        block,
        surroundings=test.surroundings,
        canary=None,
        warmup_settled=True,
        warmup_foreign_cpu_s=None,
        warmup_steal_s=None,
        warmup_switches=None,
    )


def _judge_loop(block: Measurement, usual_canary_s: float | None) -> Verdict:
    if block.status != "ok" or not block.latencies_ns:
        return Verdict()
    level, codes = 0, []
    for code, value in figures(block, usual_canary_s).items():
        limit = LIMITS[code]
        found = 2 if value >= limit.invalid else int(value >= limit.suspect)
        level = max(level, found)
        codes += [code] if found else []
    return Verdict(LEVELS[level], tuple(codes))


def of_row(
    blocks: Sequence[Measurement],
    usual_canary_s: float | None,
    judged: Callable[[Measurement, float | None], Verdict] = judge,
) -> Verdict:
    """The verdict on a row: that of its worst block, and whether all have samples enough."""
    found = [judged(block, usual_canary_s) for block in blocks]
    samples = sum(len(block.latencies_ns) for block in blocks)
    if blocks and samples < LEAST_SAMPLES:
        found.append(Verdict("SUSPECT", (FEW_SAMPLES,)))
    return overall(found)


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several, with all their codes."""
    found = tuple(verdicts)
    level = max((LEVELS.index(verdict.level) for verdict in found), default=0)
    codes = {code for verdict in found for code in verdict.codes}
    return Verdict(LEVELS[level], tuple(code for code in (*LIMITS, FEW_SAMPLES) if code in codes))


def usual_canary_s(measurements: Iterable[Measurement]) -> float | None:
    """The median of a run's canaries, before the blocks and after; ``None`` without any."""
    found = [
        seconds
        for block in measurements
        if block.canary is not None
        for seconds in (block.canary.before_s, block.canary.after_s)
    ]
    return stats.percentile(found, 0.5) if found else None


def figures(block: Measurement, usual_canary_s: float | None = None) -> Mapping[str, float]:
    """Code -> the figure that is held against its limits; only of what the host could tell.

    ``foreign-cpu`` and ``steal`` in cores, ``switches`` a second, ``canary`` as a share
    of the usual one, ``clock`` in seconds beyond what a correction may do.
    """
    found = {name: figure(block) for name, figure in _FIGURES.items()}
    found["canary"] = _canary(block, usual_canary_s)
    return {name: found[name] for name in LIMITS if found[name] is not None}  # type: ignore[misc]


def figures_judged(block: Measurement, usual_canary_s: float | None) -> Mapping[str, float]:
    """The figures on which ``judge`` rests."""
    single = block.case.scenario == "single"
    return (figures if single else figures_with_test)(block, usual_canary_s)


def figures_with_test(block: Measurement, usual_canary_s: float | None) -> Mapping[str, float]:
    """Those on which ``judge_with_test`` rests: of our own loop and LoadGen's test, the worse."""
    found, tested = dict(figures(block, usual_canary_s)), _tested(block)
    for code, value in figures(tested).items() if tested else ():
        found[code] = max(value, found.get(code, value))
    return found


def _foreign_cpu(block: Measurement) -> float | None:
    loop_s = None if block.surroundings is None else block.surroundings.foreign_cpu_s
    return _a_second(block, loop_s, block.warmup_foreign_cpu_s)


def _steal(block: Measurement) -> float | None:
    loop_s = None if block.surroundings is None else block.surroundings.steal_s
    return _a_second(block, loop_s, block.warmup_steal_s)


def _a_second(block: Measurement, loop: float | None, warmup: float | None) -> float | None:
    """A count of the timed loop by its seconds; of a very short one, with the warm-up's."""
    if block.surroundings is None or loop is None:
        return None
    if block.surroundings.wall_s >= _LEAST_WALL_S:
        return loop / block.surroundings.wall_s
    if warmup is None:
        return None
    return (loop + warmup) / (block.surroundings.wall_s + block.warmup_s)


_LEAST_WALL_S = 0.2
"""The kernel counts CPU time in ticks of 10 ms: over less time a tick looks like a neighbour."""


def _switches(block: Measurement) -> float | None:
    loop = None if block.surroundings is None else block.surroundings.involuntary_switches
    return _a_second(block, loop, block.warmup_switches)


def _clock(block: Measurement) -> float | None:
    around = block.surroundings
    others = [] if around is None else [around.realtime_s, around.boottime_s]
    gaps = [abs(other - around.wall_s) for other in others if around and other is not None]
    if not gaps or around is None:
        return None
    return max(0.0, max(gaps) - _SLEW * around.wall_s)


def _warm_up(block: Measurement) -> float:
    return float(not block.warmup_settled)


def _canary(block: Measurement, usual_s: float | None) -> float | None:
    """How far the worse of the two is from the usual one: slower or faster."""
    if block.canary is None or not usual_s:
        return None
    both = (block.canary.before_s, block.canary.after_s)
    return max(abs(seconds / usual_s - 1) for seconds in both)


_FIGURES: Mapping[str, Callable[[Measurement], float | None]] = MappingProxyType(
    {
        "foreign-cpu": _foreign_cpu,
        "steal": _steal,
        "switches": _switches,
        "clock": _clock,
        "warm-up": _warm_up,
    }
)
