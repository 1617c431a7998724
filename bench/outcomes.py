"""Two result sets -> one of five outcomes a row, and an exit code: pure functions.

The rule stands in METHOD.md: with the interval of the ratio head/base and the
margin m, a row is regressed if the interval lies wholly above 1 + m, improved if
wholly below 1 / (1 + m), equivalent if wholly between, else inconclusive. All
rows together err with at most 5 % (Holm): each row's interval has the level at
which that row was decided, so that what is printed and what is claimed agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from bench import resultset, stats, validity
from bench.case import BASE
from bench.options import UsageError
from bench.record import ANOTHER_TIME_S, Run, apart_s
from bench.resultset import VALID, Block, Entry, ResultSet
from bench.stats import Estimate, Position, Spread
from bench.validity import Verdict

Outcome = Literal["regressed", "nothing valid measured", "inconclusive", "improved", "equivalent"]
OUTCOMES: Mapping[Outcome, int] = MappingProxyType(
    {
        "regressed": 1,
        "nothing valid measured": 4,
        "inconclusive": 3,
        "improved": 0,
        "equivalent": 0,
    }
)
"""Outcome -> exit code, in the order in which they are shown: the first that occurs decides."""
CHANGED: tuple[Outcome, ...] = ("regressed", "nothing valid measured", "improved")
"""What a reader has to see; the rest can be folded."""
_CLAIMS: Mapping[Position | None, Outcome] = MappingProxyType(
    {"above": "regressed", "below": "improved", "within": "equivalent", None: "inconclusive"}
)


@dataclass(frozen=True)
class Compared:
    """One row of the comparison.

    ``ratio`` is head over base with the interval of ``confidence``; ``None``
    where there are too few blocks, and then ``reason`` says so, as it does where blocks
    were paired that did not see the same moment. ``base_s`` and
    ``head_s`` are seconds for an image over the blocks that entered the ratio.
    ``open``: further blocks could decide it.
    """

    name: str
    outcome: Outcome
    reason: str = ""
    ratio: Estimate | None = None
    confidence: float = stats.CONFIDENCE
    base_s: Estimate | None = None
    head_s: Estimate | None = None
    verdict: Verdict = VALID
    open: bool = False


@dataclass(frozen=True)
class Comparison:
    """All rows of ``base`` beside those of ``head``, the outcomes that matter most first.

    ``paired``: by round of one run. ``unsupported`` names the rows that ``base``
    could not run in the first place, ``new`` those that only ``head`` has.
    """

    base: ResultSet
    head: ResultSet
    margin: float
    paired: bool
    rows: tuple[Compared, ...]
    unsupported: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    looks: int = 1

    @cached_property
    def counts(self) -> Mapping[Outcome, int]:
        """How many rows have each outcome; only those that occur, in order."""
        found = Counter(row.outcome for row in self.rows)
        return {outcome: found[outcome] for outcome in OUTCOMES if found[outcome]}

    @property
    def exit_code(self) -> int:
        """Of the first outcome in ``OUTCOMES`` that a row has."""
        return next((OUTCOMES[outcome] for outcome in self.counts), 0)


# --- judging


def compare(
    base: ResultSet, head: ResultSet, margin: float, paired: bool = False, looks: int = 1
) -> Comparison:
    """Judge every row of ``base`` that could be measured there.

    ``looks``: how often, at most, the rows of one run are judged before it ends;
    each look has that share of the error. Raises :class:`UsageError` for sets
    that can't be compared.
    """
    _check_comparable(base, head)
    pairs = [
        _Pair(name, entry, head.entries.get(name, _ABSENT), paired)
        for name, entry in base.entries.items()
        if not entry.unsupported
    ]
    if not pairs:
        raise UsageError(f"BASE {base.title} has no row that could be measured")
    rows = sorted(_judged(pairs, margin, looks), key=lambda row: list(OUTCOMES).index(row.outcome))
    return Comparison(
        base,
        head,
        margin,
        paired,
        tuple(rows),
        unsupported=tuple(name for name, entry in base.entries.items() if entry.unsupported),
        new=tuple(name for name in head.entries if name not in base.entries),
        looks=looks,
    )


def compare_run(run: Run, margin: float) -> Comparison:
    """The base cases of one run beside its own, in which both were measured in turns.

    Raises :class:`UsageError` for a run without ``--against``.
    """
    against = run.header.against
    if against is None:
        raise UsageError(
            f"BASE and HEAD are the same run, {run.header.run}: name another with --base-run "
            "(only a run with --against holds both sides)"
        )
    base = resultset.of_run(run, against.name, BASE)
    return compare(base, resultset.of_run(run, ""), margin, paired=True, looks=against.looks)


_MUST_AGREE = {"host_id": "host", "schema": "schema", "weights": "weights", "data": "images"}


def _check_comparable(base: ResultSet, head: ResultSet) -> None:
    """Refuse in one sentence what would compare machines, files or formats instead of code."""
    differing = [
        f"{what} {getattr(base, name) or 'unknown'} and {getattr(head, name) or 'unknown'}"
        for name, what in _MUST_AGREE.items()
        if getattr(base, name) != getattr(head, name)
    ]
    differing += _other_inputs(base, head)
    if differing:
        raise UsageError(
            f"BASE {base.title} and HEAD {head.title} can't be compared, because they differ in "
            f"what has to be the same: {'; '.join(differing)}"
        )


def _other_inputs(base: ResultSet, head: ResultSet) -> list[str]:
    """The first row whose inputs were made otherwise, as far as that is known, and how many are."""
    known = ((name, one, head.entries.get(name, _ABSENT)) for name, one in base.entries.items())
    found = [
        f"the preprocessing of {name}, {one.preprocess} and {other.preprocess}"
        for name, one, other in known
        if one.preprocess and other.preprocess and one.preprocess != other.preprocess
    ]
    if len(found) < 2:
        return found
    more = len(found) - 1
    return [f"{found[0]} (and that of {more} more row{'s' if more > 1 else ''})"]


_ABSENT = Entry(reason="there is no such row")


@dataclass(frozen=True)
class _Pair:
    """A row of BASE and its counterpart."""

    name: str
    base: Entry
    head: Entry
    paired: bool

    @cached_property
    def trouble(self) -> str:
        """Why nothing can be said at all; empty if something can."""
        for side, entry in (("BASE", self.base), ("HEAD", self.head)):
            if not entry.blocks:
                return f"{side}: {entry.reason}"
            if not entry.valid:
                codes = dict.fromkeys(
                    code for block in entry.blocks for code in block.verdict.codes
                )
                return f"{side}: all {len(entry.blocks)} blocks are INVALID ({', '.join(codes)})"
        if self._wrong:
            return "HEAD: its answers are wrong (parity failed), those of BASE are right"
        return ""

    @property
    def _wrong(self) -> bool:
        return bool(self.base.right) and self.head.right is False

    @cached_property
    def blocks(self) -> tuple[tuple[Block, ...], tuple[Block, ...]]:
        """The valid blocks of both sides; of paired ones those whose round is valid in both."""
        before, after = self.base.valid, self.head.valid
        if not self.paired:
            return before, after
        shared = {block.round for block in before} & {block.round for block in after}
        kept = [tuple(b for b in side if b.round in shared) for side in (before, after)]
        return kept[0], kept[1]

    @cached_property
    def log_ratio(self) -> Spread | None:
        """Logarithm of head over base; ``None`` where that can't be judged."""
        if self.trouble:
            return None
        before, after = ({b.round: b.median_s for b in side} for side in self.blocks)
        if self.paired:
            return stats.paired_log_ratio(after, before)
        return stats.unpaired_log_ratio(list(after.values()), list(before.values()))

    def row(self, confidence: float, margin: float) -> Compared:
        """What the interval of ``confidence`` says."""
        if self.trouble:
            disturbed = bool(self.base.blocks and self.head.blocks) and not self._wrong
            return Compared(self.name, "nothing valid measured", self.trouble, open=disturbed)
        before, after = self.blocks
        verdict = validity.overall(block.verdict for block in (*before, *after))
        if self.log_ratio is None:
            counts = len(before), len(after)
            reason = self._too_few(*counts)
            return Compared(self.name, "inconclusive", reason, verdict=verdict, open=True)
        ratio = stats.ratio_estimate(self.log_ratio, confidence)
        outcome = _CLAIMS[stats.position(ratio, margin)]
        return Compared(
            self.name,
            outcome,
            self._another_time() if self.paired else "",
            ratio=ratio,
            confidence=confidence,
            base_s=_time(before),
            head_s=_time(after),
            verdict=verdict,
            open=outcome == "inconclusive",
        )

    def _another_time(self) -> str:
        """Of paired blocks: which of them can't have seen the same moment of the machine."""
        before, after = ({block.round: block.started for block in side} for side in self.blocks)
        far = [str(i + 1) for i in before if abs(apart_s(after[i], before[i])) > ANOTHER_TIME_S]
        if not far:
            return ""
        hours = f"{ANOTHER_TIME_S / 3600:g} hour"
        return f"BASE and HEAD of round {', '.join(far)} were begun more than {hours} apart"

    def _too_few(self, base: int, head: int) -> str:
        least = stats.LEAST_BLOCKS
        if self.paired:
            return f"valid on both sides in {base} of the rounds: an interval takes {least}"
        return f"{base} valid blocks in BASE, {head} in HEAD: an interval takes {least} of each"


def _judged(pairs: Sequence[_Pair], margin: float, looks: int) -> list[Compared]:
    """Every pair at the level that the others leave it; one that can't be judged counts too."""
    p_values = [
        1.0 if pair.log_ratio is None else stats.position_p_value(pair.log_ratio, margin)
        for pair in pairs
    ]
    levels = stats.holm_levels(p_values, stats.FAMILY_ERROR / looks)
    return [pair.row(1 - level, margin) for pair, level in zip(pairs, levels, strict=True)]


def _time(blocks: Iterable[Block]) -> Estimate:
    return stats.geometric_estimate([block.median_s for block in blocks])
