"""Power: how often a slow-down of known size is noticed, by the number of blocks.

A round measures the case as it is and with every slow-down, in crossover order; rounds
in a row then make comparisons of 3, 5 or 10 blocks a side that share no block.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from bench import stats
from bench.case import crossover
from bench.method.aa import MISSES, p50_s, pair
from bench.method.experiment import BLOCK_S, Experiment, Lab, Outcome, Size
from bench.method.slowed import Slowdown
from bench.method.thresholds import markdown
from bench.options import DEFAULT_MARGIN
from bench.stats import Estimate
from bench.text import NOTHING

SHARES = (0.0, 0.01, 0.02, 0.05, 0.10)
BLOCKS = (3, 5, 10)
BASE = "base"


@dataclass(frozen=True)
class Round:
    """The p50 in seconds of the case as it is, and by the share of its slow-down."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    base_s: float
    slower_s: Mapping[float, float]


@functools.lru_cache
def order(size: Size) -> tuple[tuple[int, str], ...]:
    """Round and side of every block: ``base``, or a share as text."""
    sides = [BASE, *map(str, SHARES)]
    case = pair(size)[0]
    named = {replace(case, copy=side): side for side in sides}
    return tuple((number, named[row]) for number, row in crossover([*named], size.pairs, size.seed))


def measure(index: int, lab: Lab) -> Round:
    """One round. The base runs in the same kind of child, slowed by nothing."""
    case = pair(lab.size)[0]
    found = {}
    for side in (side for number, side in order(lab.size) if number == index):
        share = 0.0 if side == BASE else float(side)
        found[side] = p50_s(lab.block(case, index, Slowdown(share).worker))
    return Round(found[BASE], {share: found[str(share)] for share in SHARES})


def ratios(rounds: Sequence[Round], share: float, blocks: int) -> list[Estimate]:
    """Slower over base, of each comparison that ``blocks`` rounds in a row make."""
    starts = range(0, len(rounds) - blocks + 1, blocks)
    groups = [rounds[start : start + blocks] for start in starts]
    found = (
        stats.ratio_interval(
            {place: row.slower_s[share] for place, row in enumerate(group)},
            {place: row.base_s for place, row in enumerate(group)},
        )
        for group in groups
    )
    return [ratio for ratio in found if ratio is not None]


def judge(size: Size, rounds: Sequence[Round]) -> Outcome:
    """No more false alarms, and no more intervals that miss the truth, than chance allows."""
    del size
    kinds = ("called", "regressed", "truth missed")
    lines = [["slow-down", *(f"{kind}, {blocks} blocks" for kind in kinds for blocks in BLOCKS)]]
    all_missed: list[list[bool]] = []
    wrong = []
    for share in SHARES:
        found = [ratios(rounds, share, blocks) for blocks in BLOCKS]
        called = [[ratio.excludes(1) for ratio in row] for row in found]
        gated = [[stats.position(one, DEFAULT_MARGIN) == "above" for one in row] for row in found]
        missed = [[ratio.excludes(1 + share) for ratio in row] for row in found]
        lines.append([f"{share:.0%}", *map(_of, [*called, *gated, *missed])])
        all_missed += missed
        wrong += [
            f"{sum(row)} of {len(row)} intervals of {blocks} blocks miss {share:.0%}"
            for row, blocks in zip(missed, BLOCKS, strict=True)
            if row and sum(row) > _most(len(row))
        ]
    parts = ("; ".join(wrong) or _as_chance_has_it(all_missed), _alarms(all_missed), _REGRESSED)
    return Outcome(" ".join(f"{part}." for part in parts), not wrong, markdown(lines))


def _most(count: int) -> int:
    """How many of a column's intervals may miss."""
    return stats.most_by_chance(count, MISSES, _TAIL)


def _as_chance_has_it(columns: Sequence[Sequence[bool]]) -> str:
    """That no column misses too often, with the limits and what all of them miss together."""
    counts = dict.fromkeys(len(column) for column in columns if column)
    limits = ", ".join(f"{_most(count)} of {count}" for count in counts)
    pooled = [miss for column in columns for miss in column]
    share = f", {sum(pooled) / len(pooled):.1%}".replace("%", " %") if pooled else ""
    return (
        "No column misses the true ratio more often than chance allows intervals that are right "
        f"in 95 % (at most {limits}; together {_of(pooled)}{share})"
    )


def _alarms(columns: Sequence[Sequence[bool]]) -> str:
    """How many comparisons call a file different from itself; the first columns are of 0 %."""
    found = [miss for column in columns[: len(BLOCKS)] for miss in column]
    return (
        f"Without a slow-down {_of(found)} are called different; if they were independent, a true "
        f"5 % would exceed {stats.most_by_chance(len(found), MISSES)} once in forty times. They "
        "are not quite: the columns are cut from the same blocks"
    )


_REGRESSED = (
    "Regressed is what `python -m bench.compare` would call one row that was measured in turns: "
    f"the interval lies wholly above a margin of {100 * DEFAULT_MARGIN:g} %"
)


_TAIL = 0.025 / len(SHARES) / len(BLOCKS)
"""Of fifteen columns, each may exceed its limit by chance as rarely as this."""


def _of(events: Sequence[bool]) -> str:
    return f"{sum(events)} of {len(events)}" if events else NOTHING


def draw(figure: Any, size: Size, rounds: Sequence[Round]) -> None:
    """The share of comparisons that notice a slow-down, over its size."""
    del size
    axes = figure.subplots()
    for blocks in BLOCKS:
        found = [ratios(rounds, share, blocks) for share in SHARES]
        power = [sum(r.excludes(1) for r in row) / len(row) for row in found if row]
        if power:
            axes.plot([100 * s for s in SHARES], power, marker="o", label=f"{blocks} blocks")
    axes.axhline(MISSES, color="grey", linestyle=":")
    axes.set_xlabel("injected slow-down, %")
    axes.set_ylabel("share of comparisons called different")
    axes.set_ylim(0, 1.02)
    axes.legend()


EXPERIMENT = Experiment(
    question="A file is slowed by 0, 1, 2, 5 and 10 % (a spin after each inference): how often "
    "do comparisons of 3, 5 and 10 blocks a side notice, and do their intervals hold the truth?",
    line=TypeAdapter(Round),
    defaults=Size(pairs=140, blocks=1, seconds=0.15),
    units=lambda size: size.pairs,
    expected_s=lambda size: size.pairs * (1 + len(SHARES)) * (BLOCK_S + size.seconds),
    measure=measure,
    judge=judge,
    draw=draw,
)
