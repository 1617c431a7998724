"""A/A: how often two names of one and the same file are called different."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from bench import stats
from bench.case import AGAIN, Case, crossover
from bench.launch import WORKER
from bench.method.experiment import BLOCK_S, Experiment, Lab, Outcome, Size
from bench.options import UsageError
from bench.record import Measurement
from bench.stats import CONFIDENCE, Estimate

MISSES = 1 - CONFIDENCE
"""The share of true intervals that miss."""


@dataclass(frozen=True)
class Comparison:
    """The p50 of both sides in seconds, by round."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    first_s: tuple[float, ...]
    second_s: tuple[float, ...]

    @property
    def ratio(self) -> Estimate:
        """Second over first, paired by round."""
        estimate = stats.ratio_interval(
            dict(enumerate(self.second_s)), dict(enumerate(self.first_s))
        )
        assert estimate is not None
        return estimate


def p50_s(block: Measurement) -> float:
    """The median latency of a block in seconds."""
    return stats.percentile(block.latencies_ns, 0.5) / 1e9


def compare(
    lab: Lab, order: Iterable[tuple[int, Case]], worker: tuple[str, ...] = WORKER
) -> Comparison:
    """Measure the blocks in ``order``: those of a case, and those of its copy ``AGAIN``."""
    sides: dict[str, dict[int, float]] = {}
    for number, case in order:
        sides.setdefault(case.copy, {})[number] = p50_s(lab.block(case, number, worker))
    first, second = (tuple(p50 for _, p50 in sorted(sides[name].items())) for name in ("", AGAIN))
    return Comparison(first, second)


def pair(size: Size) -> tuple[Case, Case]:
    """The case, and the same again under a second name."""
    (case, *others) = size.cases
    if others:
        raise UsageError(f"--variants {','.join(size.variants)}: one is compared with itself")
    return case, replace(case, copy=AGAIN)


def measure(index: int, lab: Lab) -> Comparison:
    """One comparison, in a crossover order of its own."""
    size = lab.size
    return compare(lab, crossover(pair(size), size.blocks, size.seed + index))


def judge(size: Size, comparisons: Sequence[Comparison]) -> Outcome:
    """Not more are called different than a true 5 % exceeds once in forty times."""
    ratios = [comparison.ratio for comparison in comparisons]
    called = sum(ratio.excludes(1) for ratio in ratios)
    most = stats.most_by_chance(len(ratios), MISSES)
    widths = [ratio.half_width / ratio.value for ratio in ratios if ratio.half_width is not None]
    answer = (
        f"{called} of {len(ratios)} comparisons of {size.blocks} blocks a side are called "
        f"different; a true 5 % exceeds {most} once in forty times. Half of the intervals are "
        f"narrower than ±{median(widths):.1%}."
    )
    return Outcome(answer, called <= most)


def draw(figure: Any, size: Size, comparisons: Sequence[Comparison]) -> None:
    """All intervals, by their middle; those that miss 1 in red."""
    del size
    axes = figure.subplots()
    ratios = sorted((comparison.ratio for comparison in comparisons), key=lambda r: r.value)
    colours = ["tab:red" if ratio.excludes(1) else "tab:blue" for ratio in ratios]
    ends = [(ratio.low or ratio.value, ratio.high or ratio.value) for ratio in ratios]
    axes.vlines(range(len(ratios)), *zip(*ends, strict=True), colors=colours)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xlabel("comparison")
    axes.set_ylabel("ratio of one file to itself, 95 %")


EXPERIMENT = Experiment(
    question="One file is measured under two names: in how many comparisons does the two-sided "
    "95 % interval of the ratio exclude 1?",
    line=TypeAdapter(Comparison),
    defaults=Size(pairs=200, blocks=3, seconds=0.15),
    units=lambda size: size.pairs,
    expected_s=lambda size: size.pairs * size.blocks * 2 * (BLOCK_S + size.seconds),
    measure=measure,
    judge=judge,
    draw=draw,
)
