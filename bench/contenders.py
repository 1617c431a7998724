"""A row that may be shipped: what it costs, and when it is told from another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from bench import scores, stats
from bench.case import Case
from bench.pareto import Costs
from bench.record import Measurement, RunHeader
from bench.rows import Row, Table
from bench.scores import Paired
from bench.stats import CONFIDENCE, Estimate, Spread
from bench.validity import Verdict

AXES: Mapping[str, str] = MappingProxyType(
    {
        "latency": "p50",
        "size": "file size",
        "memory": "peak memory",
        "load": "load time",
        "accuracy": "top-1",
    }
)
"""What rows are chosen by, and how a sentence calls it."""


def _image_s(block: Measurement) -> float:
    return stats.percentile(block.latencies_ns, 0.5) / 1e9 / block.case.batch_size


_PER_BLOCK: Mapping[str, Callable[[Measurement], float]] = MappingProxyType(
    {
        "latency": _image_s,
        "memory": lambda block: block.memory.peak_bytes if block.memory else 0.0,
        "load": lambda block: block.load_s,
    }
)
"""Axes that are measured anew in each block; size and answers belong to the file."""


@dataclass(frozen=True, eq=False)
class Contender:
    """A row that may be shipped, with the table and the run that it stands in."""

    row: Row
    table: Table
    header: RunHeader

    @property
    def case(self) -> Case:
        """What was measured."""
        return self.row.case

    @property
    def name(self) -> str:
        """The row's key."""
        return str(self.case)

    @property
    def verdict(self) -> Verdict:
        """Whether its numbers can be believed; never INVALID."""
        return self.row.verdict

    @cached_property
    def figures(self) -> Mapping[str, Estimate | None]:
        """Axis -> seconds for an image, bytes, bytes, seconds, share of right answers."""
        file, scored = self.row.file, self.table.scored.get(self.case)
        size = float(file.size_bytes) if file else None
        right = scores.top(scored, 1) if scored is not None and self.row.answers else None
        return {
            "latency": self._image_latency(),
            "size": None if size is None else Estimate(size, size, size),
            "memory": self.row.memory_bytes(lambda memory: memory.peak_bytes),
            "load": self.row.over_blocks(lambda block: block.load_s),
            "accuracy": right,
        }

    def _image_latency(self) -> Estimate | None:
        found, images = self.row.latency_s(0.5), self.case.batch_size
        if found is None:
            return None
        ends = (None if end is None else end / images for end in (found.low, found.high))
        return Estimate(found.value / images, *ends)

    @cached_property
    def costs(self) -> Costs:
        """Axis -> what one pays: less is better, wrong answers for accuracy."""
        values = {axis: found.value if found else None for axis, found in self.figures.items()}
        right = values["accuracy"]
        return {**values, "accuracy": None if right is None else 1 - right}

    def by_round(self, axis: str) -> dict[tuple[int, str], float]:
        """What each block measured on an axis, where that is above 0, by what it is paired by."""
        measure = _PER_BLOCK[axis]
        found = {block.pairing: measure(block) for block in self.row.timed}
        return {number: value for number, value in found.items() if value > 0}


# --- two of them


def log_ratio(one: Contender, other: Contender, axis: str) -> Spread | None:
    """Logarithm of ``other`` over ``one``: paired by round of one run, else by Welch's t.

    ``None`` for too few blocks.
    """
    above, below = other.by_round(axis), one.by_round(axis)
    if _same_run(one, other):
        return stats.paired_log_ratio(above, below)
    return stats.unpaired_log_ratio(list(above.values()), list(below.values()))


def _same_run(one: Contender, other: Contender) -> bool:
    return one.header.run == other.header.run


def ratio(
    one: Contender, other: Contender, axis: str, confidence: float = CONFIDENCE
) -> Estimate | None:
    """How many times more ``other`` costs than ``one``; without ends where there are few blocks.

    ``None`` for accuracy, which is a difference (``answers``), and for what is unknown.
    """
    if axis in _PER_BLOCK:
        spread = log_ratio(one, other, axis)
        if spread is not None:
            return stats.ratio_estimate(spread, confidence)
    below, above = one.figures[axis], other.figures[axis]
    if axis == "accuracy" or below is None or above is None or below.value <= 0:
        return None
    value = above.value / below.value
    return Estimate(value, value, value) if axis == "size" else Estimate(value)


def answers(one: Contender, other: Contender) -> Paired | None:
    """The answers of ``other`` beside those of ``one``; ``None``: not to all of the same images."""
    if one.figures["accuracy"] is None or other.figures["accuracy"] is None:
        return None
    return scores.paired(one.table.scored[one.case], other.table.scored[other.case])


def separated(one: Contender, other: Contender, axis: str, confidence: float = CONFIDENCE) -> bool:
    """Whether it is proven that ``one`` costs less than ``other``.

    Sizes are exact; answers by McNemar's test on the same images; what blocks measure by the
    interval of the ratio, and times for an image also by more than an A/A pair differs.
    """
    if axis == "accuracy":
        turned = answers(one, other)
        return turned is not None and turned.lost > turned.won and turned.p_value <= 1 - confidence
    found = ratio(one, other, axis, confidence)
    if found is None or found.low is None:
        return False
    least = _told_apart(one, other) if axis == "latency" else 1.0
    return found.low > 1 and found.value > least


def _told_apart(one: Contender, other: Contender) -> float:
    return max(one.table.told_apart, other.table.told_apart)


def hidden_by_twin(one: Contender, other: Contender) -> bool:
    """Whether an interval tells two apart in time, and an A/A pair leaves as much open."""
    found = ratio(one, other, "latency")
    return found is not None and found.excludes(1) and not separated(one, other, "latency")
