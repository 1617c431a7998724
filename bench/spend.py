"""``bench.run --budget``: one block of every row, then more of those whose blocks decide something.

Which rows get further rounds follows from the records alone, so that a second start of the same
command makes the same choices and goes on where the first one ended. Rounds are added in pairs,
forth and back over the same rows, so that a steady drift cancels over each pair
(``bench.case.crossover``). Each further round is also one of the reference and of its second
copy: speed-ups are paired with it, and the A/A pair shows what the run can tell.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench import more, pareto
from bench.case import AGAIN, Case, crossover
from bench.contenders import Contender, ratio, separated
from bench.field import competing
from bench.pick import known_axes
from bench.record import Measurement, Run, RunHeader
from bench.rows import Table, tables_of
from bench.stats import FAMILY_ERROR

SURE = 2.0
"""One round drops a row to which another one, no worse anywhere else, is so many times faster.

In the committed runs such a ratio of one round points the other way over all rounds in less than
one of a thousand pairs of rows.
"""
LOOKS = 6
"""From three rounds on, rows are judged at most so often: at 3, 7, 15, 31, 63 and 127."""
MOST_ROUNDS = 2 ** (LOOKS + 1) - 1

Told = Callable[[Contender, Contender, str], bool]
"""Whether the first of two rows is told to cost less on an axis."""
Batch = list[tuple[int, Case]]
"""A round: its number and the cases in the order in which they are measured."""


@dataclass(frozen=True)
class _Group:
    """The rows of a table that compete, and the cases that are measured along with any of them."""

    rows: tuple[Contender, ...]
    along: tuple[Case, ...]


def further_rounds(
    header: RunHeader, measurements: Sequence[Measurement], budget_s: float, seed: int
) -> Generator[Batch, None, str]:
    """The rounds beyond the first one, while ``measurements`` grows; returns why they end.

    A pair of rounds begins only if it will end within the budget, by what its rows' last blocks
    took; all blocks of the run count, files and labelled images do not. Where not all
    contenders fit, the fastest do.
    """
    rounds = 1
    while rounds < MOST_ROUNDS:
        groups = _open(header, measurements, rounds)
        if not groups:
            return _end_sentence(header, measurements, rounds)
        until = 2 * rounds + 1  # 1, 3, 7, ...: between two looks whole pairs of rounds
        while rounds < until:
            done = [block for block in measurements if block.round < rounds]
            cases = _affordable(groups, done, budget_s)
            if not cases:
                return _spent_sentence(header, done, budget_s, rounds)
            order = crossover(cases, 2, seed + rounds)
            for number, blocks in itertools.groupby(order, key=lambda block: block[0]):
                yield [(rounds + number, case) for _, case in blocks]
            rounds += 2
    return f"{MOST_ROUNDS} blocks a row: what they do not tell apart is a tie"


def _end_sentence(header: RunHeader, measurements: Sequence[Measurement], rounds: int) -> str:
    """That no more blocks decide anything, how many are not told apart, and who is not known."""
    tables = tables_of(_seen(header, measurements, rounds)).values()
    void = sum(row.verdict.level == "INVALID" for table in tables for row in table.rows)
    again = f"; {void} INVALID, which the same command measures again" if void else ""
    if not any(competing(table, header) for table in tables):
        return f"nothing to decide: no row is measured, right and believable{again}"
    untold = _not_told_apart(header, measurements, rounds)
    if untold:
        return f"given up: {len(untold)} rows not told apart, {_why(untold)}{again}"
    return f"decided: each row is beaten, or told apart from the others that are not{again}"


def _why(untold: Sequence[bool]) -> str:
    if any(untold):
        return f"{sum(untold)} of which got too few blocks: the budget dropped them, or a rival"
    return f"which would likely take more than {MOST_ROUNDS} blocks"


def _spent_sentence(
    header: RunHeader, done: Sequence[Measurement], budget_s: float, rounds: int
) -> str:
    """What was spent, and how many rows are not told apart, dropped ones among them."""
    left = len(_not_told_apart(header, done, rounds))
    return (
        f"budget: {_spent_s(done):.0f} of {budget_s:g} s are spent, no further two rounds fit; "
        f"open: {left} row{'' if left == 1 else 's'}"
    )


# --- who gets more


def _open(header: RunHeader, measurements: Sequence[Measurement], rounds: int) -> list[_Group]:
    """Table by table, the rows on which more blocks decide something."""
    found = []
    for table in tables_of(_seen(header, measurements, rounds)).values():
        rows = competing(table, header)
        chosen = screened(rows) if rounds == 1 else undecided(rows, rounds)
        if len(chosen) > 1:
            found.append(_Group(chosen, _along(table)))
    return found


def _seen(header: RunHeader, measurements: Sequence[Measurement], rounds: int) -> Run:
    return Run(header, tuple(block for block in measurements if block.round < rounds))


def screened(rows: Sequence[Contender]) -> tuple[Contender, ...]:
    """After one round, which has no interval: whom no other row beats far beyond its noise."""
    return _unbeaten(rows, _far)


def _far(one: Contender, other: Contender, axis: str) -> bool:
    found = ratio(one, other, axis) if axis == "latency" else None
    return found is not None and found.value >= SURE


def undecided(rows: Sequence[Contender], rounds: int) -> tuple[Contender, ...]:
    """Of the rows that no other one beats, those not told apart from another in time.

    Only of those that were measured in all of the ``rounds``: who was dropped stays dropped.
    And only where so many blocks as may be measured would likely tell two apart.
    """
    front = [one for one in _unbeaten(rows, _proven) if len(one.row.timed) == rounds]
    return tuple(
        one
        for one in front
        if any(_could_be_told(one, other) for other in front if other is not one)
    )


def _not_told_apart(
    header: RunHeader, measurements: Sequence[Measurement], rounds: int
) -> list[bool]:
    """For each unbeaten row that is not told apart from another: whether more blocks would tell.

    Those that got no more blocks are among them.
    """
    gone = _screened_out(header, measurements)
    found = []
    for table in tables_of(_seen(header, measurements, rounds)).values():
        rows = [one for one in competing(table, header) if one.case not in gone]
        front = _unbeaten(rows, _proven)
        for one in front:
            ties = [other for other in front if other is not one and not _apart(one, other)]
            found += [any(_could_be_told(one, other) for other in ties)] if ties else []
    return found


def _screened_out(header: RunHeader, measurements: Sequence[Measurement]) -> set[Case]:
    """Whom the first round showed to be beaten."""
    tables = tables_of(_seen(header, measurements, 1)).values()
    first = [competing(table, header) for table in tables]
    return {one.case for rows in first for one in set(rows).difference(screened(rows))}


def _proven(one: Contender, other: Contender, axis: str) -> bool:
    """As on the page, with the error that each of several looks may make."""
    return separated(one, other, axis, 1 - FAMILY_ERROR / LOOKS)


def _could_be_told(one: Contender, other: Contender) -> bool:
    if _apart(one, other):
        return False
    wanted = more.blocks_to_separate(one, other, "latency")
    return wanted is not None and wanted <= MOST_ROUNDS


def _apart(one: Contender, other: Contender) -> bool:
    """Whether it is told which of two takes less time."""
    return _proven(one, other, "latency") or _proven(other, one, "latency")


def _unbeaten(rows: Sequence[Contender], told: Told) -> tuple[Contender, ...]:
    axes = known_axes(rows)
    above = pareto.dominators(
        [{axis: one.costs[axis] for axis in axes} for one in rows],
        lambda one, other, axis: told(rows[one], rows[other], axis),
    )
    return tuple(one for one, beaters in zip(rows, above, strict=True) if not beaters)


def _along(table: Table) -> tuple[Case, ...]:
    """The reference and its second copy."""
    if table.reference is None:
        return ()
    first = table.reference.case
    known = {row.case for row in table.rows}
    both = (first, replace(first, copy=AGAIN))
    return tuple(case for case in both if case in known)


# --- what it costs


def _affordable(
    groups: Sequence[_Group], done: Sequence[Measurement], budget_s: float
) -> list[Case]:
    """The cases of the next two rounds, as far as the budget goes; none: not two in any table."""
    took: Mapping[Case, float] = {block.case: block.block_s or 0.0 for block in done}
    left = budget_s - _spent_s(done)
    found: dict[Case, None] = {}
    for group in groups:
        wanted = dict.fromkeys(group.along)
        rivals = 0
        for one in sorted(group.rows, key=lambda one: one.costs["latency"] or 0.0):
            more_cases = dict.fromkeys((*wanted, one.case))
            if 2 * sum(took[case] for case in (found | more_cases)) > left:
                break
            wanted, rivals = more_cases, rivals + 1
        if rivals > 1:
            found |= wanted
    return list(found)


def _spent_s(done: Iterable[Measurement]) -> float:
    return sum(block.block_s or 0.0 for block in done)
