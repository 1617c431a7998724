"""The stored benchmark rows of the offered models: what stands beside a card, and its accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import row_text, text
from bench.case import Case
from bench.dashboard.advice import Accuracy
from bench.dashboard.models import Model
from bench.record import find_runs, read_run
from bench.rows import Row, Table, speedup, tables_of
from bench.scores import scored, top


@dataclass(frozen=True)
class StoredRow:
    """One row of a results folder, as text; ``same_file``: of the very file that is offered."""

    name: str
    run: str
    started: str
    host: str
    row: str
    median: str
    p95: str
    speedup: str
    load: str
    peak: str
    accuracy: str
    verdict: str
    same_file: bool


@dataclass(frozen=True)
class Found:
    """A row with what is known of its accuracy, for one offered model."""

    shown: StoredRow
    accuracy: Accuracy | None


def find(records: Path, offered: Sequence[Model]) -> dict[str, list[Found]]:
    """By model its rows, the newest run's first, rows of the same file before others.

    A row belongs to a model where it differs in the number of threads at most. Raises
    ``RecordError`` for a folder that can't be read.
    """
    runs = sorted(map(read_run, find_runs(records)), key=lambda run: run.header.started)
    found: dict[str, list[Found]] = {model.name: [] for model in offered}
    for run in reversed(runs):
        host = run.header.host.get("CPU", "")
        for table in tables_of(run).values():
            for row, model in _pairs(table, offered):
                facts = (run.header.run, run.header.started, host)
                found[model.name].append(_found(model, row, table, facts))
    for rows in found.values():
        rows.sort(key=lambda one: not one.shown.same_file)
    return found


def accuracies(found: dict[str, list[Found]]) -> dict[str, Accuracy]:
    """By model the accuracy of its first row that has one: of the same file, if there is one."""
    known = {
        name: next((one.accuracy for one in rows if one.accuracy), None)
        for name, rows in found.items()
    }
    return {name: accuracy for name, accuracy in known.items() if accuracy is not None}


def _pairs(table: Table, offered: Iterable[Model]) -> Iterator[tuple[Row, Model]]:
    wanted: dict[Case, list[Model]] = {}
    for model in offered:
        wanted.setdefault(_whatever_threads(model.case), []).append(model)
    for row in table.rows:
        if row.timed and not row.case.copy:
            for model in wanted.get(_whatever_threads(row.case), ()):
                yield row, model


def _whatever_threads(case: Case) -> Case:
    return replace(case, threads=1)


def _found(model: Model, row: Row, table: Table, facts: tuple[str, str, str]) -> Found:
    run, started, host = facts
    same_file = row.file is not None and row.file.key == model.artifact.key
    accuracy = _accuracy(row, table, same_file)
    reference = table.reference
    load = row.over_blocks(lambda block: block.load_s)
    peak = row.memory_bytes(lambda memory: memory.peak_bytes)
    times = speedup(reference, row) if reference and reference is not row else None
    share = "" if accuracy is None else f"{text.percent_interval(accuracy.share)} %"
    shown = StoredRow(
        name=model.name,
        run=run,
        started=started,
        host=host,
        row=str(row.case),
        median=text.interval_text(row.latency_s(0.5), 1e3),
        p95=text.interval_text(row.latency_s(0.95), 1e3),
        speedup="reference" if reference is row else text.speedup_text(times),
        load=text.interval_text(load, 1e3),
        peak=text.interval_text(peak, 1e-6),
        accuracy=share,
        verdict=row_text.verdict_text(row.verdict)
        + ("" if row.right else ", answers not seen right"),
        same_file=same_file,
    )
    return Found(shown, accuracy)


def _accuracy(row: Row, table: Table, same_file: bool) -> Accuracy | None:
    """Of a row that was asked about all labelled images."""
    if row.answers is None or table.labelled is None:
        return None
    answers = scored(table.labelled, row.answers)
    return Accuracy(top(answers, 1), len(answers), table.labelled.data, same_file)
