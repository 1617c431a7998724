"""Who is next, and how many come before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.dashboard.turns import Turns


def filled(*work: tuple[str, str]) -> Turns[str]:
    """A queue with this work, session by session."""
    turns: Turns[str] = Turns()
    for session, item in work:
        turns.add(session, item)
    return turns


def test_sessions_take_turns() -> None:
    """Who came with much work lets the others in after each piece of it."""
    turns = filled(("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("c", "c2"))
    assert [turns.take() for _ in range(6)] == ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert turns.take() is None


def test_whoever_comes_later_waits_for_one_piece_of_each() -> None:
    """A full queue of somebody else is not before it."""
    turns = filled(*(("a", f"a{i}") for i in range(100)))
    assert turns.take() == "a0"
    turns.add("b", "b1")
    assert turns.order()[:3] == ["a1", "b1", "a2"]


def test_what_is_dropped_is_not_taken_and_is_given_back() -> None:
    """And a session without work is forgotten."""
    turns = filled(("a", "a1"), ("b", "b1"), ("a", "a2"))
    assert turns.drop(lambda item: item.startswith("a")) == ["a1", "a2"]
    assert (len(turns), turns.count("a"), turns.count("b")) == (1, 0, 1)
    assert turns.take() == "b1"


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 99).map(str)), max_size=30))
def test_the_order_that_is_shown_is_the_order_that_is_kept(work: list[tuple[str, str]]) -> None:
    """Whatever waits: positions on the page are no guess."""
    turns = filled(*work)
    shown = turns.order()
    assert len(shown) == len(turns) == len(work)
    assert [turns.take() for _ in shown] == shown
