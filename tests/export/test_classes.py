"""What is said where weights and images don't know the same classes."""

from __future__ import annotations

import pytest

from export.classes import WHOLE, conflict, listed, sides


@pytest.mark.parametrize(
    ("theirs", "settings"),
    [
        ("ab", {}),
        ("ba", {}),
        ("ab", {"ordered": True}),
        ("xy", {"made_up": True}),
        ("xy", {"made_up": True, "ordered": True}),
    ],
)
def test_the_same_classes_are_no_conflict(theirs: str, settings: dict[str, bool]) -> None:
    """Order matters only where somebody says so; made-up names are only counted."""
    assert conflict("net", theirs, "pets", "ab", **settings) == ""


@pytest.mark.parametrize(
    ("theirs", "settings", "text"),
    [
        ("abc", {}, "net has 3 classes (a, b, c), pets has 2 (a, b): only the checkpoint has c"),
        ("ba", {"ordered": True}, "the same names in another order"),
        ("xyz", {"made_up": True}, "net has 3 classes (without names), pets has 2 (a, b)"),
    ],
)
def test_other_classes_name_both_sides(theirs: str, settings: dict[str, bool], text: str) -> None:
    """Whose they are, how many, which, and what differs."""
    assert text in conflict("net", theirs, "pets", "ab", **settings)


def test_sides_name_what_differs() -> None:
    """Names of either side, or their order."""
    assert sides(("a", "b"), ("b", "c")) == "only the data has a; only the checkpoint has c"
    assert sides(("a", "b"), ("b", "a")) == "the same names in another order"


def test_long_lists_are_shortened() -> None:
    """Nobody reads a thousand names."""
    assert listed([f"n{i}" for i in range(40)], shown=2) == "n0, n1 and 38 more"


def test_two_lists_that_differ_are_both_shown_whole() -> None:
    """Up to fifty names of each: a few of them would not show which is meant; of more a part."""
    ours, theirs = ([f"{side}{i}" for i in range(WHOLE)] for side in ("ours", "theirs"))
    text = conflict("net", theirs, "pets", ours)
    assert f"({', '.join(theirs)}), pets has 50 ({', '.join(ours)})" in text
    assert "and 1 more)" in conflict("net", [*theirs, "last"], "pets", ours)
