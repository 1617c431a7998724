"""The pick under constraints, the runner-up, what each constraint costs, and the exit code."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from bench import constraints, more, pareto
from bench.constraints import Constraint, Judgement
from bench.contenders import AXES, Contender, answers, separated
from bench.field import Field
from bench.more import Measure

PICKED, NOTHING_FITS, ONLY_UNDECIDED = 0, 1, 3
"""Exit codes."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A contender and how it does by each constraint."""

    contender: Contender
    judgements: tuple[Judgement, ...]

    def misses(self, without: Constraint | None = None) -> tuple[Judgement, ...]:
        """What is not met, one constraint left out."""
        rest = (one for one in self.judgements if one.constraint is not without)
        return tuple(one for one in rest if one.outcome != "met")

    @property
    def open(self) -> bool:
        """Whether further measuring alone could show that it keeps all of them."""
        found = [one.outcome for one in self.misses()]
        return bool(found) and all(outcome == "undecided" for outcome in found)


@dataclass(frozen=True)
class Cost:
    """What a constraint costs: who would be picked without it; ``None``: nobody else."""

    constraint: Constraint
    instead: Judged | None


@dataclass(frozen=True)
class Tie:
    """A row that is not told apart from the pick, and what would tell."""

    other: Judged
    remedy: Measure


@dataclass(frozen=True)
class Level:
    """Two rows, one behind the other on the front, that are not told apart by what is preferred.

    ``axis`` is that by which the least further measuring would tell them apart.
    """

    one: Judged
    other: Judged
    axis: str
    remedy: Measure


@dataclass(frozen=True)
class Recommendation:
    """What follows from a field of rows; places are those in ``judged``.

    ``above`` are the places of those that dominate each row.
    """

    field: Field
    limits: tuple[Constraint, ...]
    prefer: str
    judged: tuple[Judged, ...]
    above: tuple[frozenset[int], ...]

    @cached_property
    def ranked(self) -> tuple[Judged, ...]:
        """The rows that keep all constraints, the preferred first."""
        return self.ranking()

    def ranking(self, without: Constraint | None = None) -> tuple[Judged, ...]:
        """The same with one constraint left out."""
        among = [i for i, one in enumerate(self.judged) if not one.misses(without)]
        costs = [one.contender.costs for one in self.judged]
        found = pareto.cheapest(costs, self.prefer, among, self.above)
        return tuple(self.judged[place] for place in found)

    @property
    def pick(self) -> Judged | None:
        """What to ship; dominated by no other row that keeps the constraints."""
        return self.ranked[0] if self.ranked else None

    @property
    def runner_up(self) -> Judged | None:
        """The next best of the same."""
        return self.ranked[1] if len(self.ranked) > 1 else None

    @cached_property
    def front(self) -> tuple[Judged, ...]:
        """The rows that nobody dominates, in the order of what is preferred."""
        places = [place for place, above in enumerate(self.above) if not above]
        costs = [one.contender.costs for one in self.judged]
        known = pareto.cheapest(costs, self.prefer, places, self.above)
        return tuple(self.judged[i] for i in (*known, *(i for i in places if i not in known)))

    @cached_property
    def open(self) -> tuple[Judged, ...]:
        """Rows that may keep all constraints and would be picked if they did."""
        places = [place for place, one in enumerate(self.judged) if one.open]
        costs = [one.contender.costs for one in self.judged]
        found = pareto.cheapest(costs, self.prefer, places, self.above)
        least = self.pick.contender.costs[self.prefer] if self.pick else None
        return tuple(
            self.judged[i] for i in found if least is None or (costs[i][self.prefer] or 0.0) < least
        )

    @cached_property
    def ties(self) -> tuple[Tie, ...]:
        """The others that keep all constraints and are not told apart from the pick."""
        if self.pick is None:
            return ()
        first = self.pick.contender
        return tuple(
            Tie(other, to_separate(first, other.contender, self.prefer))
            for other in self.ranked[1:]
            if not separated(first, other.contender, self.prefer)
        )

    @cached_property
    def level(self) -> tuple[Level, ...]:
        """Neighbours on the front that are not told apart by what is preferred.

        Where one is the pick and the other among its ``ties`` they are told there.
        """
        tied = {id(tie.other) for tie in self.ties}
        return tuple(
            Level(one, other, *cheapest_to_separate(one.contender, other.contender, self.prefer))
            for one, other in pairwise(self.front)
            if not (one is self.pick and id(other) in tied)
            and other.contender.costs[self.prefer] is not None
            and not separated(one.contender, other.contender, self.prefer)
        )

    @property
    def nearest_level(self) -> Level | None:
        """The one of these pairs that would be told apart in the least time."""
        return min(self.level, key=lambda pair: _seconds(pair.remedy), default=None)

    @cached_property
    def costs(self) -> tuple[Cost, ...]:
        """Constraint by constraint, who would be picked without it."""
        found = []
        for limit in self.limits:
            first = next(iter(self.ranking(limit)), None)
            found.append(Cost(limit, None if first is self.pick else first))
        return tuple(found)

    @cached_property
    def nearest(self) -> Judged | None:
        """Where nothing keeps all: the row that misses fewest, and of these by least.

        Rows of which something was not measured come last.
        """
        return min(self.judged, key=_distance, default=None)

    @property
    def exit_code(self) -> int:
        """Whether there is a pick; if not, whether that is known."""
        if self.pick is not None:
            return PICKED
        return ONLY_UNDECIDED if any(one.open for one in self.judged) else NOTHING_FITS


def _distance(one: Judged) -> tuple[bool, int, float]:
    missed = one.misses()
    unknown = any(judgement.outcome == "unknown" for judgement in missed)
    return unknown, len(missed), max((judgement.excess for judgement in missed), default=0.0)


def recommend(field: Field, limits: Sequence[Constraint], prefer: str) -> Recommendation:
    """Judge every row of ``field``; ``prefer`` is an axis."""
    rows = field.contenders
    judged = [Judged(one, tuple(constraints.judge(one, limit) for limit in limits)) for one in rows]
    axes = known_axes(rows)
    above = pareto.dominators(
        [{axis: one.costs[axis] for axis in axes} for one in rows],
        lambda one, other, axis: separated(rows[one], rows[other], axis),
    )
    return Recommendation(field, tuple(limits), prefer, tuple(judged), above)


def known_axes(rows: Sequence[Contender]) -> tuple[str, ...]:
    """What at least one of the rows knows."""
    known = [axis for one in rows for axis, cost in one.costs.items() if cost is not None]
    return tuple(axis for axis in AXES if axis in known)


# --- what would break a tie


def cheapest_to_separate(one: Contender, other: Contender, prefer: str) -> tuple[str, Measure]:
    """The axis on which the least time would likely tell two rows apart, and by what measuring.

    It is ``prefer`` where they differ on no other, or where measuring tells them on none.
    """
    found = [(axis, to_separate(one, other, axis)) for axis in _open_axes(one, other)]
    axis, measure = min(
        found, key=lambda pair: (_seconds(pair[1]), pair[0] != prefer), default=(prefer, None)
    )
    if measure is None or measure.seconds is None:
        return prefer, to_separate(one, other, prefer)
    return axis, measure


def _seconds(measure: Measure) -> float:
    """What it takes; infinite where nothing of ours does it."""
    return math.inf if measure.seconds is None else measure.seconds


def _open_axes(one: Contender, other: Contender) -> Iterator[str]:
    """Those on which two rows are known and differ by the estimates, and which prove neither."""
    for axis in AXES:
        cost, beside = one.costs[axis], other.costs[axis]
        if cost is None or beside is None or cost == beside:
            continue
        if not separated(*((one, other) if cost < beside else (other, one)), axis):
            yield axis


def to_separate(one: Contender, other: Contender, axis: str) -> Measure:
    """The least further measuring that would likely tell two rows apart on an axis."""
    if axis == "size":
        return Measure("the files are of the same size: no measuring tells them apart")
    if axis == "accuracy":
        turned = answers(one, other)
        if turned is None:
            return Measure("they were not asked about the same images")
        gained, share = (turned.won - turned.lost) / turned.images, turned.won + turned.lost
        images = more.images_to_tell(share / turned.images - gained**2, gained)
        return more.more_images([one, other], images)
    if one.header.run != other.header.run:
        return Measure("measure both in one run: only then are their blocks paired by round")
    return more.more_blocks([one, other], more.blocks_to_separate(one, other, axis))
