"""Records -> the rows that may be shipped, what each costs, and who is left out and why.

Rows of several runs stand beside each other only where host, weights and images are the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from bench import resultset, scores, stats
from bench.case import NULL, Case
from bench.options import UsageError, check_names, matching
from bench.pareto import Costs
from bench.record import Measurement, Run, RunHeader, find_runs, read_run
from bench.rows import Row, Table, family_of, table_order, tables_of
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

    def by_round(self, axis: str) -> dict[int, float]:
        """Round -> what its block measured on an axis, where that is above 0."""
        measure = _PER_BLOCK[axis]
        found = {block.round: measure(block) for block in self.row.timed}
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


# --- all of them


@dataclass(frozen=True)
class LeftOut:
    """A row that can't be picked, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Field:
    """The rows that compete, those that can't, and the runs that they are from."""

    contenders: tuple[Contender, ...]
    left_out: tuple[LeftOut, ...]
    headers: tuple[RunHeader, ...]


def find(place: Path, names: Sequence[str]) -> tuple[Run, ...]:
    """The runs to choose from: the newest finished one below ``place``, or those called ``names``.

    Raises ``RecordError`` where there is none.
    """
    if not place.is_dir() or not names:
        return (resultset.find_run(place, next(iter(names), None) if place.is_dir() else None),)
    called = [
        path
        for path in find_runs(place)
        if any(fnmatchcase(resultset.run_of(path), name) for name in names)
    ]
    for name in names:  # one that nothing is called by is told with what there is
        if not any(fnmatchcase(resultset.run_of(path), name) for path in called):
            resultset.find_run(place, name)
    return tuple(map(read_run, called))


def field(runs: Sequence[Run], variants: Sequence[str] = (), runtimes: Sequence[str] = ()) -> Field:
    """Who competes, of those that the globs name; of the same row in two runs the newer one.

    Raises :class:`UsageError` for runs that can't stand beside each other, for a glob that
    names nothing, and for rows that answer different questions.
    """
    _check_alike([run.header for run in runs])
    found: dict[Case, Contender | LeftOut] = {}
    for run in sorted(runs, key=lambda run: (run.header.started, run.header.run)):
        found |= _judged(run)
    _check_globs(found, variants, runtimes)
    kept = [
        one
        for case, one in sorted(found.items(), key=lambda item: _order(*item))
        if _named(case, variants, runtimes)
    ]
    if not kept:
        raise UsageError("no row is left: these --variants have none in these --runtimes")
    contenders = tuple(one for one in kept if isinstance(one, Contender))
    _check_one_question(contenders)
    return Field(
        contenders,
        tuple(one for one in kept if isinstance(one, LeftOut)),
        tuple(run.header for run in runs),
    )


def _order(case: Case, one: Contender | LeftOut) -> tuple[object, ...]:
    """Of rows that cost the same the first is picked: one that nothing speaks against."""
    return isinstance(one, Contender) and one.verdict.level != "VALID", *table_order(case)


_MUST_AGREE: Mapping[str, Callable[[RunHeader], object]] = MappingProxyType(
    {
        "host": operator.attrgetter("host_id"),
        "weights": operator.attrgetter("weights"),
        "images": operator.attrgetter("data"),
        "labelled images": lambda header: header.labelled and header.labelled.images,
    }
)


def _check_alike(headers: Sequence[RunHeader]) -> None:
    """Refuse runs of which one row says nothing about another."""
    first = headers[0]
    for header in headers[1:]:
        for what, of in _MUST_AGREE.items():
            if of(header) != of(first):
                raise UsageError(
                    f"{first.run} and {header.run} differ in {what} ({of(first)} and {of(header)}):"
                    " their rows can't stand beside each other; name one of the runs with --run"
                )


def _judged(run: Run) -> dict[Case, Contender | LeftOut]:
    """Every row of our own loop: as one that competes, or with the reason why it can't."""
    found: dict[Case, Contender | LeftOut] = {}
    for table in tables_of(run).values():
        for row in table.rows:
            found[row.case] = LeftOut(str(row.case), why_left_out(row))
        found |= {one.case: one for one in competing(table, run.header)}
    for case in run.header.cases:
        if case.scenario == "single":
            found.setdefault(case, LeftOut(str(case), "not measured yet"))
    return {case: one for case, one in found.items() if not case.copy and case.runtime != NULL}


def competing(table: Table, header: RunHeader) -> tuple[Contender, ...]:
    """The rows of a table that may be shipped: no copies, not the harness's own."""
    return tuple(
        Contender(row, table, header)
        for row in table.rows
        if not (row.case.copy or row.is_null or why_left_out(row))
    )


def why_left_out(row: Row) -> str:
    """Why a row must not be shipped as it was measured; empty: nothing speaks against it."""
    lost = [block for block in row.blocks if block not in row.timed]
    if lost:
        count = "" if not row.timed else f"{len(lost)} of {len(row.blocks)} blocks "
        return f"{count}{lost[-1].status}: {lost[-1].reason or 'no reason was given'}"
    if row.parity is None:
        return "parity was not taken: nobody knows whether its answers are right"
    if not row.parity.passed:
        return (
            "parity failed: its outputs are not those of its fp32 torch module (centred cosine "
            f"{row.parity.cosine:.3f}, largest error {row.parity.max_error:.2g} of the largest "
            "output)"
        )
    if row.verdict.level == "INVALID":
        return f"INVALID ({', '.join(row.verdict.codes)}): its numbers prove nothing"
    return ""


def _check_globs(cases: Iterable[Case], variants: Sequence[str], runtimes: Sequence[str]) -> None:
    known = tuple(cases)
    names = dict.fromkeys(name for case in known for name in (case.variant, case.shown_variant))
    check_names("--variants", variants, names)
    check_names("--runtimes", runtimes, dict.fromkeys(case.runtime for case in known))


def _named(case: Case, variants: Sequence[str], runtimes: Sequence[str]) -> bool:
    return bool(
        (not variants or matching(variants, (case.variant, case.shown_variant)))
        and (not runtimes or matching(runtimes, (case.runtime,)))
    )


def _check_one_question(contenders: Sequence[Contender]) -> None:
    """Other families or weights are other classifiers, unless all were asked the same images."""
    groups: dict[tuple[str, str], list[Contender]] = {}
    for one in contenders:
        groups.setdefault((family_of(one.case), one.case.weights), []).append(one)
    answered = [any(one.row.answers for one in group) for group in groups.values()]
    if len(groups) < 2 or all(answered):
        return
    texts = [f"{family} (weights: {weights})" for family, weights in groups]
    raise UsageError(
        f"these rows answer different questions: {', '.join(texts)}; not all of them were asked "
        "about the same labelled images, so nothing says which answers better: narrow them with "
        f"-m, for instance -m '{_glob(next(iter(groups.values())))}'"
    )


def _glob(group: Sequence[Contender]) -> str:
    """The variants of one group, as ``-m`` takes them."""
    return ",".join(dict.fromkeys(one.case.variant for one in group))
