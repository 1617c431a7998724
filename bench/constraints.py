"""What a row must keep to be shipped, and whether it does: met, missed, undecided or unknown.

A limit is met where the whole interval keeps it, missed where none of it does. Where it lies
across the limit that is an outcome of its own, with what would decide it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from bench import more, stats
from bench.contenders import Contender
from bench.more import Measure
from bench.options import UsageError, parse_time
from bench.rows import fp32_parent, fp32_rows
from bench.stats import LEAST_BLOCKS, Estimate
from bench.turned import Turned

Outcome = Literal["met", "missed", "undecided", "unknown"]
"""Unknown: what it takes was not measured. It keeps nothing, and is no miss either."""
Kind = Literal["percentile", "load", "size", "memory", "drop", "accuracy"]
KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "--max-p50": "percentile",
        "--max-p90": "percentile",
        "--max-p95": "percentile",
        "--max-p99": "percentile",
        "--max-load": "load",
        "--max-size": "size",
        "--max-memory": "memory",
        "--max-accuracy-drop": "drop",
        "--min-accuracy": "accuracy",
    }
)
_ROUNDING = 1e-9
"""Of a limit: an interval that logarithms were taken for is on it though it looks beyond."""
_UNITS = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}


@dataclass(frozen=True)
class Constraint:
    """A limit in seconds, bytes or shares; ``flag`` and ``text`` as they were written."""

    flag: str
    text: str
    limit: float

    def __str__(self) -> str:
        return f"{self.flag} {self.text}"

    @property
    def kind(self) -> Kind:
        """What is limited."""
        return KINDS[self.flag]

    @property
    def p(self) -> float:
        """Of a percentile: 0.95 for ``--max-p95``."""
        return int(self.flag.removeprefix("--max-p")) / 100


@dataclass(frozen=True)
class Judgement:
    """How a row does by a constraint.

    ``figure`` is what is held against the limit, in its unit. ``reason`` says why nothing is
    known, or why an interval is missing. ``excess`` is the factor by which the figure is
    beyond the limit (of accuracy: by which the share of right answers is too small), infinite
    where unknown.
    """

    constraint: Constraint
    outcome: Outcome
    figure: Estimate | None = None
    reason: str = ""
    excess: float = math.inf
    remedy: Measure | None = None


# --- reading them


def parse(flag: str, text: str) -> Constraint:
    """A limit with its unit; raises :class:`UsageError`, which names the flag and a right way."""
    limit = _READ[KINDS[flag]](flag, text)
    # How far a figure is beyond it is told as a factor; only a drop of nothing can be kept.
    if not limit and KINDS[flag] != "drop":
        raise UsageError(f"{flag} {text} is a limit that nothing keeps: give one above 0")
    return Constraint(flag, text, limit)


def size_bytes(flag: str, text: str) -> float:
    """Bytes of a size with its unit, as ``120MB`` or ``2 GiB``; a ``UsageError`` names the flag."""
    words = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([kmg]?i?b)\s*", text.lower())
    if words is None or words[2] not in _UNITS:
        raise UsageError(f"{flag} {text} is not a size with its unit, such as 100MB or 64MiB")
    return float(words[1]) * _UNITS[words[2]]


def _points(flag: str, text: str) -> float:
    words = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*", text)
    if words is None or float(words[1]) > 100:
        raise UsageError(f"{flag} {text} is not a number of points of top-1, such as 1 or 0.5")
    return float(words[1]) / 100


def _percent(flag: str, text: str) -> float:
    words = re.fullmatch(r"\s*(\d+\.?\d*)\s*%?\s*", text)
    # 0.75 could be meant as 75 %: as a share it is refused.
    if words is None or not 1 <= float(words[1]) <= 100:
        raise UsageError(f"{flag} {text} is not a percentage between 1 and 100, such as 75 or 75%")
    return float(words[1]) / 100


_READ: Mapping[Kind, Callable[[str, str], float]] = MappingProxyType(
    {
        "percentile": parse_time,
        "load": parse_time,
        "size": size_bytes,
        "memory": size_bytes,
        "drop": _points,
        "accuracy": _percent,
    }
)


# --- judging


def outcome(figure: Estimate, limit: float, *, least: bool = False) -> Outcome:
    """Where an interval lies; ``least``: it must not be below, instead of not above.

    Its own value belongs to it: of pooled samples it may lie outside of the blocks' interval.
    """
    if figure.low is None or figure.high is None:
        return "undecided"
    low, high = min(figure.low, figure.value), max(figure.high, figure.value)
    if least:
        low, high, limit = -high, -low, -limit
    limit += _ROUNDING * abs(limit)
    return "met" if high <= limit else "missed" if low > limit else "undecided"


def judge(one: Contender, constraint: Constraint) -> Judgement:
    """How ``one`` does by ``constraint``."""
    return _JUDGE[constraint.kind](one, constraint)


def _per_block(one: Contender, constraint: Constraint, figure: Estimate | None) -> Judgement:
    """Load time and memory, which are measured anew in each block."""
    if figure is None:
        return Judgement(constraint, "unknown", reason="this host could not tell it")
    found = outcome(figure, constraint.limit)
    values = list(one.by_round(constraint.kind).values())
    remedy = _blocks(one, constraint, figure, values) if found == "undecided" else None
    return _judgement(constraint, found, figure, figure.value / constraint.limit, remedy)


def _percentile(one: Contender, constraint: Constraint) -> Judgement:
    """Of an inference, over all of them; by both intervals that the page has."""
    p, samples = constraint.p, [ns for block in one.row.timed for ns in block.latencies_ns]
    figure = one.row.latency_s(p)
    if figure is None:
        return _few_samples(one, constraint, len(samples))
    ends = stats.order_statistic_interval(samples, p)
    if ends is not None and figure.low is not None and figure.high is not None:
        low, high = min(figure.low, ends[0] / 1e9), max(figure.high, ends[1] / 1e9)
        figure = Estimate(figure.value, low, high)
    found = outcome(figure, constraint.limit)
    own = [stats.percentile(block.latencies_ns, p) / 1e9 for block in one.row.timed]
    remedy = _blocks(one, constraint, figure, own) if found == "undecided" else None
    return _judgement(constraint, found, figure, figure.value / constraint.limit, remedy)


def _few_samples(one: Contender, constraint: Constraint, samples: int) -> Judgement:
    """Not enough for the percentile; a median that is beyond the limit is enough all the same."""
    least = stats.least_samples(constraint.p)
    p50 = one.row.latency_s(0.5)
    excess = p50.value / constraint.limit if p50 else math.inf
    if p50 is not None and outcome(p50, constraint.limit) == "missed":
        reason = "so much is its p50 already"
        return Judgement(constraint, "missed", p50, reason, excess)
    reason = f"not enough samples: {least - samples} more (p{100 * constraint.p:g} takes {least})"
    wanted = math.ceil(least * len(one.row.timed) / samples)
    remedy = more.more_blocks([one], max(wanted, LEAST_BLOCKS))
    return Judgement(constraint, "undecided", None, reason, excess, remedy)


def _judgement(
    constraint: Constraint, found: Outcome, figure: Estimate, excess: float, remedy: Measure | None
) -> Judgement:
    short = found == "undecided" and figure.low is None
    reason = f"fewer than {LEAST_BLOCKS} blocks give no interval" if short else ""
    return Judgement(constraint, found, figure, reason, excess, remedy)


def _blocks(
    one: Contender, constraint: Constraint, figure: Estimate, values: Sequence[float]
) -> Measure:
    """How many blocks would take the interval to one side of the limit."""
    spread = more.deviation(values)
    wanted: int | None = LEAST_BLOCKS
    if spread is not None:
        wanted = more.blocks_to_tell(spread, math.log(figure.value / constraint.limit))
    return more.more_blocks([one], wanted)


def _file_size(one: Contender, constraint: Constraint) -> Judgement:
    figure = one.figures["size"]
    if figure is None:
        return Judgement(constraint, "unknown", reason="its file was not recorded")
    found = outcome(figure, constraint.limit)
    return Judgement(constraint, found, figure, excess=figure.value / constraint.limit)


def _accuracy(one: Contender, constraint: Constraint) -> Judgement:
    figure = one.figures["accuracy"]
    if figure is None:
        return Judgement(constraint, "unknown", reason=_unasked(one))
    found = outcome(figure, constraint.limit, least=True)
    remedy: Measure | None = None
    if found == "undecided":
        share, away = figure.value, figure.value - constraint.limit
        images = more.images_to_tell(share * (1 - share), away)
        remedy = more.more_images([one], images)
    excess = constraint.limit / figure.value if figure.value else math.inf
    return Judgement(constraint, found, figure, "", excess, remedy)


def _unasked(one: Contender) -> str:
    if one.row.sampled is None:
        return "no accuracy: it was not asked about labelled images"
    few = len(one.row.sampled.predicted)
    return f"no accuracy: only a sample of {few} images was asked about (--accuracy all)"


def _drop(one: Contender, constraint: Constraint) -> Judgement:
    """What a row loses most against: its own network in fp32, or the one that it was made from."""
    if one.figures["accuracy"] is None:
        return Judgement(constraint, "unknown", reason=_unasked(one))
    compared = one.table.judged.get(one.case)
    if compared is None:
        return _by_itself(one, constraint)
    paired = compared.paired
    gained = paired.difference
    assert gained.low is not None and gained.high is not None
    figure = Estimate(-gained.value, -gained.high, -gained.low)
    found = outcome(figure, constraint.limit)
    remedy = _images(one, constraint, paired) if found == "undecided" else None
    kept = 1 - figure.value
    excess = (1 - constraint.limit) / kept if kept else math.inf
    return Judgement(constraint, found, figure, "", excess, remedy)


def _by_itself(one: Contender, constraint: Constraint) -> Judgement:
    """A row without a comparison: the one that others are compared with, or nobody knows."""
    if fp32_parent(one.row, one.table) is None and one.row in fp32_rows(
        one.case.variant, one.table
    ):
        none = Estimate(0.0, 0.0, 0.0)
        return Judgement(constraint, "met", none, excess=1 - constraint.limit)
    reason = "no accuracy of its network in fp32 to compare with"
    return Judgement(constraint, "unknown", reason=reason)


def _images(one: Contender, constraint: Constraint, paired: Turned) -> Measure:
    """How many images would tell the drop from the limit."""
    gained = (paired.won - paired.lost) / paired.images
    turned = (paired.won + paired.lost) / paired.images
    away = gained + constraint.limit
    images = more.images_to_tell(turned - gained**2, away)
    return more.more_images([one], images)


_JUDGE: Mapping[Kind, Callable[[Contender, Constraint], Judgement]] = MappingProxyType(
    {
        "percentile": _percentile,
        "load": lambda one, constraint: _per_block(one, constraint, one.figures["load"]),
        "memory": lambda one, constraint: _per_block(one, constraint, one.figures["memory"]),
        "size": _file_size,
        "drop": _drop,
        "accuracy": _accuracy,
    }
)
