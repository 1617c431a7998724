"""What a bundle or a page claims, and what became of each claim when it was checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from export.printable import printable

Outcome = Literal["reproduced", "not reproduced", "cannot tell"]
EXIT_CODES: Mapping[Outcome, int] = MappingProxyType(
    {"not reproduced": 1, "cannot tell": 3, "reproduced": 0}
)
"""The first that applies to any claim is that of the whole."""


@dataclass(frozen=True)
class Claim:
    """One claim: what it says, the outcome, and the figures or the reason."""

    what: str
    outcome: Outcome
    why: str = ""

    def __str__(self) -> str:
        # Names, keys and versions of a bundle that came from elsewhere may hold anything.
        return printable(f"{self.outcome:<14}  {self.what}{f': {self.why}' if self.why else ''}")


def held(what: str, trouble: Sequence[str], fine: str = "") -> Claim:
    """Reproduced where there is no trouble."""
    if trouble:
        return Claim(what, "not reproduced", "; ".join(trouble))
    return Claim(what, "reproduced", fine)


def exit_code(claims: Iterable[Claim]) -> int:
    """0: all reproduced; 1: one is not; 3: none is refuted, but one can't be told."""
    outcomes = {claim.outcome for claim in claims}
    return next((code for outcome, code in EXIT_CODES.items() if outcome in outcomes), 3)
