"""Rows -> plots of time: p50 by runtime and recipe, how latencies are distributed, and what
threads and batches do. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from bench.case import Case
from bench.figure import Axis, Figure, Line, Mark, Panel, Series, scaled, wide
from bench.record import RunHeader
from bench.roofline import share_of_attainable
from bench.rows import Row, Table, main_setting, speedup
from bench.shown import (
    LEFT_OUT,
    Tables,
    by_variant,
    counts,
    footer,
    heading,
    hollow_note,
    measured_rows,
    places,
    setting_of,
    setting_text,
    usual_rows,
    variant_name,
    way_name,
    whole_name,
)
from bench.stats import Estimate

MOST_CURVES = 6
"""Of latencies, in a panel: more can't be told apart."""
MOST_WAYS = 12
"""Of runtimes, in a panel of threads or batches."""
_CHOSEN = f"curves: the first {MOST_WAYS} at most of those that begin at a panel's least setting"
_DODGE = 0.7
"""Of the distance between two lines of a dot plot, what the variants on one of them take."""
_HUNDREDTHS = 100
_TAIL_POINTS = 40
THINNED = (
    "Curves go through each hundredth of the inferences by rank, and on the right through "
    f"{_TAIL_POINTS} ranks that come closer to the slowest one"
)


# --- p50 by runtime and recipe, and the share of the attainable


def times(header: RunHeader, tables: Tables) -> Figure:
    """A row of panels for each table, at its main setting: p50, and the share of the attainable."""
    found = {key: _timed(table) for key, table in tables.items()}
    panels = [_times(heading(*key), tables[key], rows) for key, rows in found.items() if rows]
    drawn = [row for rows in found.values() for row in rows]
    note = hollow_note(one for row in panels for panel in row for one in panel.series)
    shares = any(len(row) > 1 for row in panels)
    what = "p50 latency by recipe and runtime"
    title = f"{what}, and the share of what this host can reach at most" if shares else what
    return Figure(title, tuple(panels), footer(header, drawn, "bars: 95 % over blocks", note))


def _timed(table: Table) -> tuple[Row, ...]:
    rows = [row for row in usual_rows(table) if row.latency_s(0.5)]
    return tuple(sorted(rows, key=lambda row: row.order))


def _times(title: str, table: Table, rows: Sequence[Row]) -> tuple[Panel, ...]:
    names = tuple(dict.fromkeys(way_name(row) for row in rows))
    p50s = [(row, p50) for row in rows if (p50 := row.latency_s(0.5))]
    shares = [(row, share) for row in rows if (share := share_of_attainable(row, table))]
    values = tuple(1e3 * p50.value for _, p50 in p50s)
    numbers = places(rows)
    left = Panel(
        title,
        Axis(f"p50, ms ({setting_text(table)})", log=wide(values)),
        series=_dots(p50s, 1e3, names, numbers),
        names=names,
    )
    if not shares:
        return (left,)
    whole = ((100.0, -0.5), (100.0, len(names) - 0.5))
    right = Panel(
        "share of the attainable",
        Axis("attainable over measured p50, %", least=0),
        series=_dots(shares, 100, names, numbers),
        lines=(Line("all that this host can", whole),),
        names=names,
    )
    return left, right


def _dots(
    values: Iterable[tuple[Row, Estimate]],
    unit: float,
    names: Sequence[str],
    numbers: Mapping[str, int],
) -> tuple[Series, ...]:
    """Marks on the lines ``names``, a variant's a little beside those of the others."""
    marks = []
    for row, value in values:
        place = numbers[variant_name(row)]
        off = _DODGE * ((place + 0.5) / len(numbers) - 0.5)
        y = Estimate(names.index(way_name(row)) + off)
        marks.append((row, Mark(scaled(value, unit), y, hollow=not counts(row))))
    return by_variant(marks, numbers)


# --- how latencies are distributed


def distributions(header: RunHeader, tables: Tables) -> Figure:
    """A row of panels for each table: what share was done by when, and how slow the slowest are."""
    found = {key: _compared(table) for key, table in tables.items()}
    panels = [_curves(heading(*key), tables[key], rows) for key, rows in found.items() if rows]
    drawn = [row for rows in found.values() for row in rows]
    return Figure(
        "How the latencies are distributed: the reference's and those of the fastest rows",
        tuple(panels),
        footer(header, drawn, THINNED, LEFT_OUT),
    )


def _compared(table: Table) -> tuple[Row, ...]:
    """The reference and the fastest rows at the main setting, all of which count."""
    able = [row for row in usual_rows(table) if counts(row) and row.latency_s(0.5)]
    ranked = sorted(able, key=_p50_s)
    first = [row for row in able if row is table.reference]
    rest = [row for row in ranked if row is not table.reference]
    return tuple([*first, *rest][:MOST_CURVES])


def _p50_s(row: Row) -> float:
    found = row.latency_s(0.5)
    assert found is not None  # such rows are not asked
    return found.value


def _curves(title: str, table: Table, rows: Sequence[Row]) -> tuple[Panel, Panel]:
    pooled = [_pooled_ms(row) for row in rows]
    ends = (min(float(own[0]) for own in pooled), max(float(own[-1]) for own in pooled))
    time = Axis(f"latency, ms ({setting_text(table)})", log=wide(ends))
    names = [whole_name(row) for row in rows]
    lines = [
        tuple(
            Line(name, points(own), place)
            for place, (name, own) in enumerate(zip(names, pooled, strict=True))
        )
        for points in (distribution, tail)
    ]
    done = Axis("share of inferences done by then, %", least=0, most=100)
    slow = Axis("share that took at least so long, %", log=True, most=100)
    return Panel(title, time, done, lines=lines[0]), Panel("the tail", time, slow, lines=lines[1])


def _pooled_ms(row: Row) -> npt.NDArray[np.float64]:
    """Latencies of all blocks, ascending."""
    pooled = [latency for block in row.timed for latency in block.latencies_ns]
    return np.sort(np.asarray(pooled, dtype=np.float64)) / 1e6


def distribution(ascending: npt.NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """Points (value, percent at or below it) at the smallest one and at each hundredth by rank."""
    count = len(ascending)
    ranks = {-(-count * part // _HUNDREDTHS) for part in range(1, _HUNDREDTHS + 1)}
    return tuple((float(ascending[i - 1]), 100 * i / count) for i in sorted({1, *ranks}))


def tail(ascending: npt.NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """Points (value, percent at or above it), closer to one another by rank towards the slowest."""
    count = len(ascending)
    # Whole numbers from 1 to count, each about as many times the one before.
    left = {round(count ** (step / (_TAIL_POINTS - 1))) for step in range(_TAIL_POINTS)}
    return tuple((float(ascending[count - k]), 100 * k / count) for k in sorted(left, reverse=True))


# --- what threads and batches do


def scaling(header: RunHeader, tables: Tables) -> Figure:
    """A row of panels for each table with several threads or batch sizes."""
    panels: list[tuple[Panel, ...]] = []
    drawn: dict[Case, Row] = {}
    for key, table in tables.items():
        found = [_sweep(heading(*key), table, *sweep) for sweep in _SWEEPS]
        panels += [tuple(panel for panel, _ in found if panel.series)]
        drawn |= {row.case: row for _, rows in found for row in rows}
    return Figure(
        "What more threads and larger batches bring, in fp32",
        tuple(row for row in panels if row),
        footer(header, list(drawn.values()), "bars: 95 % over blocks", _CHOSEN, LEFT_OUT),
    )


_SWEEPS: tuple[tuple[int, str, str], ...] = (
    (0, "threads", "times as fast as with {}"),
    (1, "batch size", "images a second, over batch {}"),
)
"""The place of a setting (see ``setting_of``), its name, and what is compared."""


def _sweep(
    title: str, table: Table, place: int, name: str, compared: str
) -> tuple[Panel, tuple[Row, ...]]:
    """One sweep; a panel without series where there is none."""
    ways = _swept(table, place)
    least = min((min(own) for own in ways.values()), default=1)
    ways = dict([(way, own) for way, own in ways.items() if min(own) == least][:MOST_WAYS])
    settings = sorted({setting for own in ways.values() for setting in own})
    series = tuple(
        Series(way, number, _gains(own, least), joined=True)
        for number, (way, own) in enumerate(ways.items())
    )
    ticks = tuple(float(setting) for setting in settings)
    panel = Panel(
        f"{title}: {name}",
        # Twice the threads is a straight line on a linear axis alone.
        Axis(name, log=name != "threads" and wide(ticks), ticks=ticks),
        Axis(compared.format(least), least=0),
        series=series,
        lines=_ideal(name, ticks) if series else (),
    )
    return panel, tuple(row for own in ways.values() for row in own.values())


def _swept(table: Table, place: int) -> dict[str, dict[int, Row]]:
    """Way -> setting -> row, of the fp32 files that were measured at several settings."""
    usual = main_setting(row.case for row in table.rows)
    found: dict[str, dict[int, Row]] = {}
    for row in sorted(measured_rows(table), key=lambda row: row.order):
        same = setting_of(row)[1 - place] == usual[1 - place]
        if same and row.case.recipe == "fp32" and counts(row):
            found.setdefault(whole_name(row), {})[setting_of(row)[place]] = row
    return {way: own for way, own in found.items() if len(own) > 1}


def _gains(own: Mapping[int, Row], least: int) -> tuple[Mark, ...]:
    """How many times faster for an image each setting is than the least one."""
    pairs = [(setting, speedup(own[least], row)) for setting, row in sorted(own.items())]
    return tuple(Mark(Estimate(setting), gain) for setting, gain in pairs if gain is not None)


def _ideal(name: str, ticks: Sequence[float]) -> tuple[Line, ...]:
    """Twice the threads, half the time; a batch has no ideal, only what it must not fall below."""
    first, last = ticks[0], ticks[-1]
    if name == "threads":
        return (Line("ideal", ((first, 1.0), (last, last / first))),)
    return (Line("no gain", ((first, 1.0), (last, 1.0))),)
