"""Drift: a machine that becomes slower while it measures, in our order and in another one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from bench import stats
from bench.case import crossover
from bench.method.aa import MISSES, Comparison, compare, pair
from bench.method.experiment import BLOCK_S, Experiment, Lab, Outcome, Size
from bench.method.slowed import Slowdown
from bench.stats import Estimate
from bench.text import number

PER_S = 0.02
"""By so much more everything is slower with each second: a fifth over a short comparison."""


@dataclass(frozen=True)
class Repetition:
    """One file against itself, twice: its blocks in crossover order, and one side first."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    crossover: Comparison
    sequential: Comparison


def measure(index: int, lab: Lab) -> Repetition:
    """Both orders, each from the drift's beginning on; which comes first changes."""
    size = lab.size
    sides = pair(size)
    orders = {
        "crossover": list(crossover(sides, size.blocks, size.seed + index)),
        "sequential": [(number, case) for case in sides for number in range(size.blocks)],
    }
    found = {}
    for name in sorted(orders, reverse=bool(index % 2)):
        slowdown = Slowdown(per_s=PER_S, since_s=time.monotonic())
        found[name] = compare(lab, orders[name], slowdown.worker)
    return Repetition(**found)


def judge(size: Size, repetitions: Sequence[Repetition]) -> Outcome:
    """Ours holds the truth (1) as often as it must; the sequential estimate is off."""
    ours = [repetition.crossover.ratio for repetition in repetitions]
    theirs = [repetition.sequential.ratio for repetition in repetitions]
    missed, most = sum(ratio.excludes(1) for ratio in ours), stats.most_by_chance(len(ours), MISSES)
    middle, off = (
        stats.geometric_estimate([ratio.value for ratio in found]) for found in (ours, theirs)
    )
    answer = (
        f"Everything becomes slower by {PER_S:.0%} a second. {len(ours)} comparisons of "
        f"{size.blocks} blocks a side of one file with itself: measured one side after the other, "
        f"the second seems to take {number(off)} times as long{_interval(off)}; in crossover "
        f"order {number(middle)} times{_interval(middle)}, and {missed} of {len(ours)} intervals "
        f"miss the true 1 (at most {most} may)."
    )
    return Outcome(answer, missed <= most and off.excludes(1))


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f" ({estimate.low:.3f} to {estimate.high:.3f})"


def draw(figure: Any, size: Size, repetitions: Sequence[Repetition]) -> None:
    """The intervals of both orders side by side."""
    del size
    axes = figure.subplots()
    for shift, name in ((-0.15, "sequential"), (0.15, "crossover")):
        found = [getattr(repetition, name).ratio for repetition in repetitions]
        middles = [ratio.value for ratio in found]
        ends = [[r.value - (r.low or r.value), (r.high or r.value) - r.value] for r in found]
        places = [place + shift for place in range(len(found))]
        axes.errorbar(places, middles, [*zip(*ends, strict=True)], fmt="o", label=name)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xlabel("comparison")
    axes.set_ylabel("ratio of one file to itself, 95 %")
    axes.legend()


EXPERIMENT = Experiment(
    question="The machine slows down while one file is compared with itself: what do our order "
    "of blocks and a sequential one make of it?",
    line=TypeAdapter(Repetition),
    defaults=Size(pairs=20, blocks=3, seconds=0.15),
    units=lambda size: size.pairs,
    expected_s=lambda size: size.pairs * 4 * size.blocks * (BLOCK_S + size.seconds),
    measure=measure,
    judge=judge,
    draw=draw,
)
