"""Who is beaten: laws that hold whatever is measured and whatever is proven."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import pareto
from bench.pareto import Costs

AXES = ("latency", "size", "accuracy")
Rows = tuple[list[Costs], Callable[[int, int, str], bool]]


@st.composite
def fields(draw: st.DrawFn) -> Rows:
    """Rows with small, often equal, sometimes unknown costs, and any set of proven differences."""
    value = st.one_of(st.none(), st.integers(0, 3).map(float))
    costs = draw(st.lists(st.fixed_dictionaries(dict.fromkeys(AXES, value)), max_size=7))
    pairs = [(i, j, axis) for i in range(len(costs)) for j in range(len(costs)) for axis in AXES]
    told = draw(st.sets(st.sampled_from(pairs))) if pairs else set()
    return list(costs), lambda one, other, axis: (one, other, axis) in told


@given(fields())
def test_domination_is_a_strict_order(rows: Rows) -> None:
    """Nobody beats himself, no two beat each other, and who beats a beater beats the beaten."""
    above = pareto.dominators(*rows)
    for own, beaters in enumerate(above):
        assert own not in beaters
        assert all(own not in above[beater] for beater in beaters)
        assert all(above[beater] <= beaters for beater in beaters)


@given(fields())
def test_who_dominates_costs_no_more_anywhere_and_less_somewhere(rows: Rows) -> None:
    """Also over a chain of others."""
    costs, _ = rows
    for own, beaters in enumerate(pareto.dominators(*rows)):
        for beater in beaters:
            assert pareto.no_worse(costs[beater], costs[own])
            assert any(pareto.lower(costs[beater], costs[own]))


@given(fields())
def test_without_proof_nobody_is_beaten(rows: Rows) -> None:
    """A lower estimate alone beats nobody."""
    costs, _ = rows
    assert not any(pareto.dominators(costs, lambda one, other, axis: False))


@given(fields(), st.sampled_from(AXES), st.data())
def test_the_first_of_the_cheapest_is_beaten_by_none(rows: Rows, axis: str, data) -> None:
    """Among whoever may be chosen; and none of them costs less on the axis."""
    costs, _ = rows
    among = data.draw(st.sets(st.sampled_from(range(len(costs))))) if costs else set()
    above = pareto.dominators(*rows)
    ranked = pareto.cheapest(costs, axis, among, above)
    known = [place for place in among if costs[place][axis] is not None]
    assert sorted(ranked) == sorted(known)
    if ranked:
        assert not above[ranked[0]] & among
        assert costs[ranked[0]][axis] == min(costs[place][axis] or 0.0 for place in known)


@given(fields(), st.sampled_from(AXES), st.data())
def test_fewer_to_choose_from_never_gets_cheaper(rows: Rows, axis: str, data) -> None:
    """What one more constraint takes away can't improve what is picked."""
    costs, _ = rows
    places = st.sampled_from(range(len(costs)))
    among = data.draw(st.sets(places)) if costs else set()
    fewer = data.draw(st.sets(st.sampled_from(sorted(among)))) if among else set()
    above = pareto.dominators(*rows)
    best, less = (pareto.cheapest(costs, axis, chosen, above) for chosen in (among, fewer))
    if less:
        assert (costs[less[0]][axis] or 0.0) >= (costs[best[0]][axis] or 0.0)


@pytest.mark.parametrize(
    ("one", "other", "beaten"),
    [
        ({"latency": 1.0, "size": 1.0}, {"latency": 2.0, "size": 1.0}, True),
        ({"latency": 1.0, "size": 1.0}, {"latency": 1.0, "size": 1.0}, False),
        ({"latency": 1.0, "size": 2.0}, {"latency": 2.0, "size": 1.0}, False),
        ({"latency": 1.0, "size": None}, {"latency": 2.0, "size": 1.0}, False),
        ({"latency": 1.0, "size": None}, {"latency": 2.0, "size": None}, True),
    ],
    ids=["better", "equal", "mixed", "unknown-beside-known", "both-unknown"],
)
def test_what_beats_what(one: Costs, other: Costs, beaten: bool) -> None:
    """No worse anywhere, and better somewhere; what is unknown is not comparable with a number."""
    assert pareto.dominators([one, other], lambda *_: True)[1] == ({0} if beaten else set())
