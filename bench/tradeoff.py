"""Rows -> what a row costs against what it is worth: accuracy, time and file size in one plot.

Where there are no labelled images, how far the outputs are those of the network that a row was
made from takes the place of accuracy. Pure functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bench import scores
from bench.figure import Axis, Figure, Line, Mark, Panel, scaled, wide
from bench.pareto import dominators
from bench.record import RunHeader
from bench.rows import Row, Table
from bench.shown import (
    Tables,
    by_variant,
    counts,
    footer,
    heading,
    hollow_note,
    places,
    setting_text,
    usual_rows,
    way_name,
)
from bench.stats import Estimate
from bench.text import megabytes

FRONT = "Pareto front"
_FRONT_NOTE = (
    "Pareto front: no candidate is both faster and better than one on it, by the estimates"
)
_HOLLOW = "Hollow: INVALID, no candidate"
_NOT_COMPARED = "were not compared with their network's"
Judge = Callable[[Row, Table], Estimate | None]
Known = Sequence[tuple[Row, Estimate, Estimate]]
"""Rows with their p50 in ms and what they are worth."""


def figure(header: RunHeader, tables: Tables) -> Figure:
    """A panel for each table, at its main setting."""
    found = {key: _known(table) for key, table in tables.items()}
    panels = [
        _panel(heading(*key), tables[key], known) for key, known in found.items() if len(known) > 1
    ]
    rows = [row for known in found.values() if len(known) > 1 for row, *_ in known]
    images = {len(row.answers.ranks) for row in rows if row.answers}
    shown = [table for key, table in tables.items() if len(found[key]) > 1]
    unfit = [row for table in shown for row in usual_rows(table) if not row.right]
    notes = (
        f"accuracy of {max(images)} images" if images else "",
        # Few of a hundred right answers would press all others into a corner.
        _left_out(sum(row.parity is not None for row in unfit), "are wrong"),
        _left_out(sum(row.parity is None for row in unfit), _NOT_COMPARED),
        _FRONT_NOTE if any(panel.lines for panel in panels) else "",
        hollow_note((one for panel in panels for one in panel.series), _HOLLOW),
    )
    kinds = (_judged_by(table)[0] for table in shown)
    what = " or ".join(dict.fromkeys(_KINDS[kind] for kind in kinds))
    title = f"{what.capitalize()} against p50 latency, the area of a mark being its file's size"
    return Figure(title, tuple((panel,) for panel in panels), footer(header, rows, *notes))


def _known(table: Table) -> Known:
    """The rows that can be placed."""
    judge, _ = _judged_by(table)
    return [
        (row, scaled(p50, 1e3), worth)
        for row in usual_rows(table)
        if row.file and row.right and (p50 := row.latency_s(0.5)) and (worth := judge(row, table))
    ]


def _left_out(count: int, what: str) -> str:
    """How many rows are not shown because their answers ``what``; empty: none."""
    return f"{count} row{'' if count == 1 else 's'} whose answers {what} left out" if count else ""


def _judged_by(table: Table) -> tuple[Judge, str]:
    """What rows are worth, and the title of that axis."""
    if any(row.answers for row in usual_rows(table)) and table.labelled is not None:
        return accuracy, f"top-1 accuracy ({table.labelled.split}), %"
    return _fidelity, "centred cosine with its network in fp32"


def accuracy(row: Row, table: Table) -> Estimate | None:
    """Top-1 in percent with its interval; ``None``: not asked about all images."""
    if row.answers is None or row.case not in table.scored:
        return None
    return scaled(scores.top(table.scored[row.case], 1), 100)


def _fidelity(row: Row, table: Table) -> Estimate | None:
    """The cosine of parity, over the few images that it is taken on: without an interval."""
    del table
    return None if row.parity is None else Estimate(row.parity.cosine)


_KINDS: Mapping[Judge, str] = {accuracy: "accuracy", _fidelity: "fidelity"}


def _panel(title: str, table: Table, known: Known) -> Panel:
    best = _front(known)
    largest = max(_size(row) for row, *_ in known)
    marks = [
        (
            row,
            Mark(
                p50,
                worth,
                _size(row) / largest,
                way_name(row) if row in best else "",
                hollow=not counts(row),
            ),
        )
        for row, p50, worth in known
    ]
    steps = tuple((p50.value, worth.value) for row, p50, worth in known if row in best)
    front = Line(FRONT, tuple(sorted(steps)), steps=True)
    times = tuple(p50.value for _, p50, _ in known)
    _, worth_title = _judged_by(table)
    return Panel(
        f"{title}; the largest mark is {megabytes(largest)} MB",
        Axis(f"p50, ms ({setting_text(table)})", log=wide(times)),
        Axis(worth_title),
        series=by_variant(marks, places(row for row, *_ in known)),
        lines=(front,) if len(steps) > 1 else (),
    )


def _size(row: Row) -> float:
    assert row.file is not None  # or it is not known
    return row.file.size_bytes


def _front(known: Known) -> list[Row]:
    """The candidates that no other one beats in time and worth, by the estimates."""
    able = [(row, p50, worth) for row, p50, worth in known if counts(row)]
    costs = [{"time": p50.value, "lost": -worth.value} for _, p50, worth in able]
    above = dominators(costs, lambda *_: True)
    return [row for (row, *_), better in zip(able, above, strict=True) if not better]
