"""What a look into a file found: the evidence, and what each remedy would save."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from export.anatomy.contents import Contents


@dataclass(frozen=True)
class Remedy:
    """What could be done, and what that saves; less than 0: it costs.

    ``macs_saved`` is for one image, ``None`` where no graph tells; ``nodes_saved`` counts
    nodes of the graph. ``retrain`` says that the network has to learn again afterwards.
    """

    text: str
    bytes_saved: int = 0
    macs_saved: int | None = 0
    nodes_saved: int = 0
    retrain: bool = False


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, wasteful or missing.

    ``code`` is its short name, ``evidence`` what it was seen by, a line each; ``remedies``
    are alternatives, each with its own expected effect.
    """

    code: str
    title: str
    evidence: tuple[str, ...]
    remedies: tuple[Remedy, ...]


def worst_first(findings: Iterable[Finding], contents: Contents) -> tuple[Finding, ...]:
    """By the larger share of the file's bytes or of its multiply-accumulates that would go.

    What saves neither stands behind, first what removes nodes.
    """

    def weight(finding: Finding) -> tuple[float, int]:
        shares = [_share(remedy, contents) for remedy in finding.remedies]
        return max(shares, default=0.0), max((r.nodes_saved for r in finding.remedies), default=0)

    return tuple(sorted(findings, key=weight, reverse=True))


def _share(remedy: Remedy, contents: Contents) -> float:
    macs = (remedy.macs_saved or 0) / contents.macs if contents.macs else 0.0
    return max(remedy.bytes_saved / max(1, contents.stored_bytes), macs)


def several(count: int, noun: str) -> str:
    """``1 filter``, ``2 filters``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def percent(part: float, whole: float) -> str:
    """A share for a sentence: two digits, whole numbers from 10 % on."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.01:
        return "<0.01 %"
    return f"{share:.0f} %" if share >= 9.95 else f"{share:.2g} %"
