"""Which rows are beaten by another one: pure functions over costs.

A cost is what one pays for a row on one axis: less is better, ``None`` is unknown. One row
dominates another if it costs no more on any axis, by the estimates, and if, on at least one, that
it costs less is proven (whatever "proven" is for that axis). "Not proven worse" would do for the
other axes only at a price: a difference that few blocks leave open would take a row off the front,
and rows could beat each other in a circle. What is proven is not transitive by itself: a wide
interval overlaps what a narrow one excludes. What it says is, so that chains count.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

Costs = Mapping[str, float | None]
"""Axis -> what a row costs there."""
Separated = Callable[[int, int, str], bool]
"""Whether it is proven that the first of two rows costs less than the second on an axis.

It is asked only where the first one's cost is lower.
"""


def no_worse(one: Costs, other: Costs) -> bool:
    """Whether ``one`` costs no more on any axis.

    What is unknown is no worse than what is unknown as well, and not comparable with anything else.
    """
    return all(_no_more(one[axis], other[axis]) for axis in one)


def _no_more(cost: float | None, other: float | None) -> bool:
    if cost is None or other is None:
        return cost is other
    return cost <= other


def lower(one: Costs, other: Costs) -> Iterator[str]:
    """The axes on which both are known and ``one`` costs less."""
    for axis, cost in one.items():
        beside = other[axis]
        if cost is not None and beside is not None and cost < beside:
            yield axis


def dominators(costs: Sequence[Costs], separated: Separated) -> tuple[frozenset[int], ...]:
    """For each row the places of those that dominate it, directly or over others.

    A strict partial order whatever ``separated`` says: a dominating row costs no more
    anywhere and less somewhere, so that no chain comes back to where it began.
    """
    found = [
        {place for place, one in enumerate(costs) if _beats(place, own, one, other, separated)}
        for own, other in enumerate(costs)
    ]
    # Whoever dominates a row stands before it in this order, with all of its own dominators.
    for own in sorted(range(len(costs)), key=lambda place: _order(costs[place])):
        found[own].update(*(found[place] for place in tuple(found[own])))
    return tuple(frozenset(above) for above in found)


def _beats(place: int, own: int, one: Costs, other: Costs, separated: Separated) -> bool:
    return no_worse(one, other) and any(separated(place, own, axis) for axis in lower(one, other))


def _order(costs: Costs) -> tuple[float, ...]:
    """What is compared has the same axes unknown: any number may stand for them."""
    return tuple(0.0 if cost is None else cost for cost in costs.values())


def cheapest(
    costs: Sequence[Costs], axis: str, among: Collection[int], above: Sequence[Collection[int]]
) -> list[int]:
    """The rows of ``among``, those that cost least on ``axis`` first, unknown ones left out.

    Of equals one that no other of ``among`` dominates comes first, so that the first of all
    is dominated by none of them; ``above`` is what ``dominators`` returns.
    """
    known = [(cost, place) for place in among if (cost := costs[place][axis]) is not None]
    chosen = frozenset(among)
    return [
        place
        for _, _, place in sorted(
            (cost, len(chosen.intersection(above[place])), place) for cost, place in known
        )
    ]
