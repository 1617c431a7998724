"""Which row of which run a key on the command line means, and what speaks against it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from bench.case import NULL, Case
from bench.options import UsageError
from bench.record import Run, RunHeader, find_runs, read_header, read_run
from bench.resultset import run_of
from bench.rows import Row, Table, doubts, parity_with, tables_of
from bench.text import unescaped

_SHOWN = 4


@dataclass(frozen=True)
class Chosen:
    """A measured row, the run that it is from, and the table that it stands in there."""

    run: Run
    table: Table
    row: Row

    @property
    def case(self) -> Case:
        """The row's case."""
        return self.row.case

    @property
    def alone(self) -> Run:
        """The run with this row only: what travels with a bundle."""
        header = replace(self.run.header, cases=(self.case,), against=None, int8_choices=())
        return Run(header, self.row.blocks)


def choose(records: Path, key: str, run: str | None = None) -> Chosen:
    """The row called ``key`` in the newest run that measured it, or in the run of that name.

    A key may be given in part, or as a glob, where it means one row only. Raises
    :class:`UsageError`, with the nearest names, for one that means none or several.
    """
    headers = _headers(records, run)
    known = {case: None for header in headers.values() for case in header.cases if _own(case)}
    case = _meant(key, tuple(known))
    untimed = ""
    for path, header in headers.items():
        if case in header.cases:
            found = _row(read_run(path), case)
            if found is not None and found.row.timed:
                return found
            untimed = _why(found, header)
    raise UsageError(f"{case} has no times in {records}: {untimed}")


def _headers(records: Path, run: str | None) -> dict[Path, RunHeader]:
    """Newest first."""
    paths = [path for path in find_runs(records) if run is None or fnmatchcase(run_of(path), run)]
    if not paths:
        there = ", ".join(run_of(path) for path in find_runs(records))
        hint = f"it has {there}" if there else "name the folder that bench.run --out was given"
        what = "no records (records/RUN.jsonl.gz below it)" if run is None else f"no run {run!r}"
        raise UsageError(f"--records {records} holds {what}; {hint}")
    headers = {path: read_header(path) for path in paths}
    return dict(sorted(headers.items(), key=lambda item: item[1].started, reverse=True))


def _own(case: Case) -> bool:
    """Whether a row is about a file and our own loop, and no copy of another."""
    return case.scenario == "single" and case.runtime != NULL and not case.copy


def _spelt(case: Case) -> tuple[str, str]:
    """Its key, and the one with the name under which tables show the variant."""
    return str(case), str(replace(case, variant=case.shown_variant))


def _meant(key: str, cases: Collection[Case]) -> Case:
    exact = [case for case in cases if key in _spelt(case)]
    near = exact or [case for case in cases if any(_matches(name, key) for name in _spelt(case))]
    if len(near) == 1:
        return near[0]
    if near:
        raise UsageError(f"{key} means {len(near)} rows; name one of: {_listed(map(str, near))}")
    names = [name for case in cases for name in dict.fromkeys(_spelt(case))]
    close = difflib.get_close_matches(key, names, n=_SHOWN, cutoff=0.3) or names
    raise UsageError(f"no row is called {key!r}; the nearest are: {_listed(close)}")


def _matches(name: str, key: str) -> bool:
    return fnmatchcase(name, key) or name.startswith(f"{key}/")


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


def _row(run: Run, case: Case) -> Chosen | None:
    found = ((table, row) for table in tables_of(run).values() for row in table.rows)
    return next((Chosen(run, table, row) for table, row in found if row.case == case), None)


def _why(found: Chosen | None, header: RunHeader) -> str:
    if found is None or not found.row.blocks:
        return f"run {header.run} has not measured it yet; the same command goes on"
    last = found.row.blocks[-1]
    return f"{last.status}: {last.reason or 'no reason was given'} (run {header.run})"


def objections(chosen: Chosen) -> list[str]:
    """Why a row should not be shipped; empty: nothing that we know of."""
    found = []
    parity = chosen.row.parity
    if parity is None:
        whose = parity_with(chosen.case)
        found.append(f"its answers were never compared with those of the {whose}")
    elif not parity.passed:
        found.append(
            "its answers are wrong: parity failed (largest error "
            f"{parity.max_error:.1e} of the largest output, centred cosine {parity.cosine:.4f})"
        )
    if chosen.row.verdict.level == "INVALID":
        codes = ", ".join(chosen.row.verdict.codes)
        found.append(f"its times can't be believed: INVALID ({codes})")
    return found


def notes(chosen: Chosen) -> list[str]:
    """What the page says below the table of this row."""
    return [unescaped(text) for text in doubts(chosen.row, chosen.table)]
