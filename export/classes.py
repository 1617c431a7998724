"""Whether the classes that weights know are those of some images: compared here, nowhere else.

Pure, so that it can be said before anything is built or decoded.
"""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 5
WHOLE = 50
"""Where two lists are not the same, each is shown whole up to so many names."""


def conflict(
    owner: str,
    theirs: Sequence[str],
    data: str,
    ours: Sequence[str],
    *,
    made_up: bool = False,
    ordered: bool = False,
) -> str:
    """Why the classes ``theirs`` of weights are not ``ours``, both sides named; empty: they are.

    ``owner`` and ``data`` say whose they are. Made-up names are only counted. With
    ``ordered`` the same names in another order are others.
    """
    if len(theirs) == len(ours) and (made_up or _same(theirs, ours, ordered)):
        return ""
    named = "without names" if made_up else listed(theirs, WHOLE)
    both = (
        f"{owner} has {len(theirs)} classes ({named}), {data} has {len(ours)} "
        f"({listed(ours, WHOLE)})"
    )
    return both if made_up else f"{both}: {sides(ours, theirs)}"


def _same(theirs: Sequence[str], ours: Sequence[str], ordered: bool) -> bool:
    return list(theirs) == list(ours) if ordered else sorted(theirs) == sorted(ours)


def sides(
    ours: Sequence[str],
    theirs: Sequence[str],
    our_owner: str = "the data",
    their_owner: str = "the checkpoint",
) -> str:
    """Where two lists of class names differ, both sides named."""
    only_ours = [name for name in ours if name not in theirs]
    only_theirs = [name for name in theirs if name not in ours]
    if not only_ours and not only_theirs:
        return "the same names in another order"
    parts = [(our_owner, only_ours), (their_owner, only_theirs)]
    return "; ".join(f"only {owner} has {listed(names)}" for owner, names in parts if names)


def listed(names: Sequence[str], shown: int = _SHOWN) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
