"""Both loops on one file: ours and MLPerf LoadGen's SingleStream, each in a child of its own.

LoadGen's number contains what it costs to be called from C++ and to tell it that an
answer is there; ours contains a call. LoadGen takes sample ``floor(n p) + 1`` of n
for a percentile, we ``ceil(n p)``: with many samples that is no difference.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from bench import load_test, stats
from bench.block import Effort
from bench.case import AGAIN, Case
from bench.load_test import Limits
from bench.method.experiment import BLOCK_S, Experiment, ExperimentError, Lab, Outcome, Size
from bench.method.thresholds import markdown
from bench.stats import Estimate
from bench.text import number, rounded

OURS, LOADGEN = "our loop", "LoadGen"
LOOPS = (OURS, AGAIN, LOADGEN)
SHARES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9}
Round = Mapping[str, Mapping[str, float]]
"""Who measured -> percentile -> seconds; our loop twice, the second time as ``AGAIN``."""
_MOST_S = 60.0


def measure(index: int, lab: Lab) -> Round:
    """A round: each loop once, in a random order of its own."""
    (case,) = lab.size.cases
    order = random.Random(lab.size.seed + index).sample(LOOPS, len(LOOPS))
    return {who: _percentiles_s(who, case, index, lab) for who in order}


def _percentiles_s(who: str, case: Case, index: int, lab: Lab) -> Mapping[str, float]:
    if who == LOADGEN:
        return _by_loadgen(case, index, lab)
    block = lab.block(case, index)
    return {
        name: stats.percentile(block.latencies_ns, share) / 1e9 for name, share in SHARES.items()
    }


def _by_loadgen(case: Case, index: int, lab: Lab) -> Mapping[str, float]:
    """Raises :class:`ExperimentError` where LoadGen could not measure."""
    # Our own loop only tells LoadGen how many queries to make; it is as short as that takes.
    effort = Effort(lab.size.seconds / 10, 6, logs=lab.store.absolute() / "logs")
    limits = Limits(lab.size.seconds, _MOST_S)
    block = load_test.run(case, index + 1, lab.artifact(case), effort, limits)
    if block.load_test is None:
        raise ExperimentError(f"{case}: {block.status}: {block.reason}")
    return {name: block.load_test.percentiles_s[name] for name in SHARES}


def ratio(rounds: Sequence[Round], who: str, name: str) -> Estimate:
    """One percentile of ``who`` over that of our loop, paired by round."""
    theirs = {place: row[who][name] for place, row in enumerate(rounds)}
    found = stats.ratio_interval(theirs, {i: row[OURS][name] for i, row in enumerate(rounds)})
    if found is None:
        raise ExperimentError("no round was measured")
    return found


def more_s(rounds: Sequence[Round], name: str) -> float:
    """By how much LoadGen's percentile is above ours: the median over the rounds."""
    return stats.percentile([row[LOADGEN][name] - row[OURS][name] for row in rounds], 0.5)


def judge(size: Size, rounds: Sequence[Round]) -> Outcome:
    """LoadGen over ours; nothing is demanded, because what it adds is part of its number."""
    del size
    lines = [["loop", *(f"{name} ms | over ours (95 %)" for name in SHARES)]]
    for who in LOOPS:
        name = f"{OURS}, {who}" if who == AGAIN else who
        lines.append([name, *(_cells(rounds, who, share) for share in SHARES)])
    parts = [
        f"{share} is {_interval(ratio(rounds, LOADGEN, share))} times ours "
        f"({rounded(1e6 * more_s(rounds, share))} µs more)"
        for share in SHARES
    ]
    answer = f"Over {len(rounds)} rounds LoadGen's {' and its '.join(parts)}."
    return Outcome(answer, table=markdown([" | ".join(line).split(" | ") for line in lines]))


def _cells(rounds: Sequence[Round], who: str, name: str) -> str:
    """A percentile in milliseconds, and its ratio to our loop's."""
    mean = stats.geometric_estimate([row[who][name] for row in rounds])
    over = "" if who == OURS else _interval(ratio(rounds, who, name))
    return f"{number(mean, 1e3)} | {over}"


def _interval(found: Estimate) -> str:
    ends = "" if found.low is None else f" ({found.low:.4f}–{found.high:.4f})"
    return f"{found.value:.4f}{ends}"


def draw(figure: Any, size: Size, rounds: Sequence[Round]) -> None:
    """Both percentiles of each loop by round."""
    del size
    for axes, name in zip(figure.subplots(1, len(SHARES)), SHARES, strict=True):
        for who in LOOPS:
            axes.plot([1e3 * row[who][name] for row in rounds], marker="o", label=who)
        axes.set_title(f"{name}, ms")
        axes.set_xlabel("round")
    figure.axes[0].legend()


EXPERIMENT = Experiment(
    question="Does MLPerf LoadGen's SingleStream find the same latency as our own loop, for the "
    "same file in the same runtime?",
    line=TypeAdapter(Round),
    defaults=Size(pairs=20, blocks=1, seconds=1.0),
    units=lambda size: size.pairs,
    expected_s=lambda size: size.pairs * len(LOOPS) * (BLOCK_S + size.seconds),
    measure=measure,
    judge=judge,
    draw=draw,
)

if __name__ == "__main__":
    from bench.method.__main__ import main

    sys.exit(main(["loops", *sys.argv[1:]]))
