"""Records -> the rows that compete, those that can't, and why.

Rows of several runs stand beside each other only where host, weights and images are the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType

from bench import resultset
from bench.case import NULL, Case
from bench.contenders import Contender
from bench.options import UsageError, check_names, matching
from bench.record import Run, RunHeader, find_runs, read_run
from bench.rows import Row, Table, family_of, parity_with, table_order, tables_of


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

    ``place`` may also be a record file. Raises ``RecordError`` where there is none, and
    :class:`UsageError` for names beside a file.
    """
    if place.is_file() and names:
        raise UsageError(
            f"--run picks among the runs of a folder, and {place} is one: leave it out"
        )
    if not place.is_dir() or not names:
        return (resultset.find_run(place, None),)
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
    for run in runs:  # that a later run has not come to a row yet says nothing about it
        found = _planned(run) | found
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
    return {case: one for case, one in found.items() if _may_be_shipped(case)}


def _planned(run: Run) -> dict[Case, Contender | LeftOut]:
    """What the run was to measure in our own loop, as rows that it has not come to."""
    return {
        case: LeftOut(str(case), "not measured yet")
        for case in run.header.cases
        if case.scenario == "single" and _may_be_shipped(case)
    }


def _may_be_shipped(case: Case) -> bool:
    """Not a copy, and not the harness's own."""
    return not case.copy and case.runtime != NULL


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
            f"parity failed: its outputs are not those of the {parity_with(row.case)} (centred "
            f"cosine {row.parity.cosine:.3f}, largest error {row.parity.max_error:.2g} of the "
            "largest output)"
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
