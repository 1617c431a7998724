"""Rows -> small tables that answer one question each: which runtime, how many threads, what batch.

Pure functions over ``bench.rows``; ``bench.report_family`` prints what they return.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.case import Case
from bench.rows import (
    Row,
    Table,
    doubts,
    family_of,
    fastest,
    fp32_rows,
    held_together,
    main_setting,
    runtime_name,
    speedup,
)
from bench.score_cells import change, points, top1
from bench.text import NOTHING, number

LEAST_RUNTIMES = 3
"""A matrix of fewer says nothing that the table does not."""
SURPRISE = 1.3
"""How much faster than its rival in fp32 asks for an explanation."""
_WINOGRAD_RUNTIMES = ("ncnn", "mnn")
_WINOGRAD_FAMILIES = ("vgg19",)
_WRONG = " WRONG"
LOSES = "LOSES"
_BF16_ARITHMETIC = ("openvino", "torch-inductor")
"""They multiply in bf16; ncnn only stores in it."""


@dataclass(frozen=True)
class Grid:
    """A small table: the first ``names`` columns say what a line is of, ``note`` stands below.

    ``cases`` are for each line those of its rows, where a line is of one or some rows of the run.
    """

    title: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    names: int = 1
    note: str = ""
    cases: tuple[tuple[Case, ...], ...] = ()


def one_each(rows: Iterable[Row]) -> tuple[tuple[Case, ...], ...]:
    """The ``cases`` of a grid that has a line for each of these rows."""
    return tuple((row.case,) for row in rows)


def matrices(table: Table) -> tuple[Grid, ...]:
    """Runtimes by variants at the table's main setting; nothing where few runtimes were measured.

    Times with the speed-up against torch-eager's fp32 of the same variant, then processor time
    and memory; where any row has answers, how many of them are right.
    """
    threads, batch_size = main_setting(row.case for row in table.rows)
    rows = [
        row
        for row in table.rows
        if (row.case.threads, row.case.batch_size) == (threads, batch_size)
        and not row.is_null
        and not row.case.copy
    ]
    if len({row.case.runtime for row in rows}) < LEAST_RUNTIMES:
        return ()
    variants = _variants(rows)
    rival = _rival(rows, table)
    references = {
        row.case.variant: row
        for row in rows
        if (row.case.runtime, row.case.recipe) == (rival, "fp32") and row.candidate
    }
    best = {
        name: fastest(row for row in rows if row.case.variant == name and row in table.accurate)
        for name in variants
    }

    def time(row: Row) -> str:
        return _time(row, table, references.get(row.case.variant), best[row.case.variant])

    ways = _ways(rows)
    where = f"{threads} thread{'' if threads == 1 else 's'}, batch {batch_size}"
    head = ("runtime", "recipe", "precision", *variants)
    titles = {
        f"p50 ms (times faster than {rival}; ? where its interval does not prove that)": time,
        "CPU ms an inference / peak MB": _cost,
    }
    found = [
        Grid(f"{title}, {where}", head, _lines(ways, cell), names=3, cases=_cases(ways))
        for title, cell in titles.items()
    ]
    return (*found, *_accuracy(ways, head, where, table))


ACCURACY = "top-1 % (points against its fp32 parent)"
"""What the title of the third matrix begins with."""


def _accuracy(ways: Ways, head: tuple[str, ...], where: str, table: Table) -> Iterator[Grid]:
    """The same lines once more: what is fast in the first of them may be wrong more often."""
    if any(row.case in table.scored for own in ways.values() for row in own.values()):
        lines = _lines(ways, lambda row: _score(row, table))
        title, note = f"{ACCURACY}, {where}", _less_than_their_origin(head[3:], table)
        yield Grid(title, head, lines, names=3, note=note, cases=_cases(ways))


def _score(row: Row, table: Table) -> str:
    """Accuracy, and what was lost or won; intervals stand in the tables of accuracy."""
    against = change(row, table)
    return top1(row, table) if against == NOTHING else f"{top1(row, table)} ({against})"


def _less_than_their_origin(variants: Iterable[str], table: Table) -> str:
    """Which networks lose too much in fp32 already; empty: none."""
    lost = []
    for name in variants:
        own = next(iter(fp32_rows(name, table)), None)
        found = table.judged.get(own.case) if own else None
        if found and own not in table.accurate and found.parent.case.variant != name:
            lost.append(
                f"`{name}` {points(found.paired)} points against `{found.parent.case.variant}`"
            )
    if not lost:
        return ""
    return (
        f"In fp32, against the network that it was made from: {'; '.join(lost)}. "
        f"`{LOSES}` behind a time says that, too."
    )


def _rival(rows: Iterable[Row], table: Table) -> str:
    """The runtime that the others are held against: PyTorch's own, or the reference's."""
    names = {row.case.runtime for row in rows}
    if "torch-eager" in names or table.reference is None:
        return "torch-eager"
    return table.reference.case.runtime


def sweeps(table: Table) -> tuple[Grid, ...]:
    """Of each variant that was measured so: threads at batch 1, and batch sizes."""
    threads, batch_size = main_setting(row.case for row in table.rows)
    rows = [row for row in table.rows if not row.is_null and not row.case.copy]
    if len({row.case.runtime for row in rows}) < LEAST_RUNTIMES:
        return ()
    found = []
    for variant in dict.fromkeys(row.case.variant for row in rows):
        own = [row for row in rows if row.case.variant == variant and row.case.recipe == "fp32"]
        by_threads = [row for row in own if row.case.batch_size == batch_size]
        by_batch = [row for row in own if row.case.threads == threads]
        found += [
            _sweep(
                f"{variant}: p50 ms by threads", table, by_threads, lambda row: row.case.threads
            ),
            _sweep(
                f"{variant}: p50 ms an image by batch size",
                table,
                by_batch,
                lambda row: row.case.batch_size,
            ),
        ]
    return tuple(grid for grid in found if grid is not None)


def surprises(table: Table) -> tuple[str, ...]:
    """Why some rows are faster than their operations can be counted to be, where they are.

    Of each question only the rows whose ratios hold together (``bench.rows.held_together``).
    """
    found = []
    usual = main_setting(row.case for row in table.rows)
    rows = [
        row
        for row in table.rows
        if row.candidate and (row.case.threads, row.case.batch_size) == usual
    ]
    plain = {
        (row.case.variant, row.case.runtime): row
        for row in rows
        if row.case.recipe == "fp32" and row.case.precision == "fp32"
    }
    tricks = _surprising(
        (rival, row)
        for (variant, runtime), row in plain.items()
        if runtime in _WINOGRAD_RUNTIMES and family_of(row.case) in _WINOGRAD_FAMILIES
        if (rival := plain.get((variant, "ort"))) is not None
    )
    if tricks:
        found.append(
            f"Faster than ort with the same fp32 weights ({'; '.join(tricks)}): ncnn and MNN "
            "compute 3x3 convolutions of stride 1, which is all that a VGG's features consist of, "
            "by Winograd's algorithm (Lavin and Gray, 2015, arXiv:1509.09308), with less than half "
            "of the multiplications that are counted."
        )
    halves = _surprising(
        (own, row)
        for row in rows
        if row.case.precision == "bf16" and row.case.runtime in _BF16_ARITHMETIC
        if (own := plain.get((row.case.variant, row.case.runtime))) is not None
    )
    if halves:
        found.append(
            f"bf16 against fp32 in the same runtime ({'; '.join(halves)}): where a CPU has AVX512-"
            "BF16 or AMX, one instruction multiplies at least twice as many numbers of half the "
            "size, and half the bytes are read; 8 significant bits of each number remain."
        )
    return tuple(found)


def _surprising(asked: Iterable[tuple[Row, Row]]) -> list[str]:
    """The pairs whose second row is faster than anybody would expect, and not by chance.

    That is judged beside all that were asked about, not for each by itself.
    """
    pairs = list(asked)
    return [
        f"{row.case.runtime} on {row.case.variant}, {number(ratio)}x"
        for (rival, row), holds in zip(pairs, held_together(pairs), strict=True)
        if holds and (ratio := speedup(rival, row)) is not None and ratio.value > SURPRISE
    ]


Ways = Mapping[tuple[str, str], Mapping[str, Row]]
"""Runtime and recipe, as tables name them -> variant -> its row."""


def _ways(rows: Iterable[Row]) -> Ways:
    """In the order of the runtimes; each has its rows in the order of the tables."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in sorted(rows, key=lambda row: row.order):
        key = (runtime_name(row.case), row.case.recipe)
        found.setdefault(key, {})[row.case.variant] = row
    return found


def _cases(ways: Ways) -> tuple[tuple[Case, ...], ...]:
    return tuple(tuple(row.case for row in own.values()) for own in ways.values())


def _lines(ways: Ways, cell: Callable[[Row], str]) -> tuple[tuple[str, ...], ...]:
    """A line for each runtime and recipe: their names, the precision, a cell for each variant."""
    variants = _variants(row for own in ways.values() for row in own.values())
    return tuple(
        (
            *key,
            ", ".join(dict.fromkeys(row.timed[-1].precision for row in own.values() if row.timed)),
            *(cell(own[name]) if name in own else NOTHING for name in variants),
        )
        for key, own in ways.items()
    )


def _variants(rows: Iterable[Row]) -> list[str]:
    """In the order of the tables."""
    ordered = sorted(rows, key=lambda row: row.table_order)
    return list(dict.fromkeys(row.case.variant for row in ordered))


def _time(row: Row, table: Table, reference: Row | None, best: Row | None) -> str:
    """p50 with its speed-up; without a number, what became of the row and where that stands."""
    p50 = row.latency_s(0.5)
    if p50 is None:
        return _without_number(row, table)
    text = number(p50, 1e3)
    text = f"**{text}**" if row is best else text
    ratio = speedup(reference, row) if reference and row is not reference else None
    if ratio is None:
        return f"{text}{_marks(row, table)}"
    return f"{text} ({number(ratio)}x{'' if table.proven(ratio) else '?'}){_marks(row, table)}"


def _marks(row: Row, table: Table) -> str:
    """Those of ``mark``, and whether a row that is not wrong loses too much to be in bold."""
    loses = row.right and row not in table.accurate
    return f"{mark(row)}{f' {LOSES}' if loses else ''}"


def mark(row: Row) -> str:
    """What a reader must know before believing a row's number; empty: nothing."""
    doubt = "" if row.verdict.level == "VALID" else f" {row.verdict.level}"
    return f"{wrong(row)}{doubt}"


def wrong(row: Row) -> str:
    """The mark of a row whose answers were not seen to be right; empty: they were."""
    return "" if row.right else _WRONG


def _without_number(row: Row, table: Table) -> str:
    """What became of a row, and where the reason stands."""
    notes = ", ".join(str(table.notes[text]) for text in doubts(row, table))
    status = row.blocks[-1].status
    return f"{status} (note {notes})" if notes else status


def _cost(row: Row) -> str:
    cpu = row.over_blocks(lambda block: block.cpu_s / len(block.latencies_ns))
    peak = row.memory_bytes(lambda memory: memory.peak_bytes)
    if cpu is None or peak is None:
        return NOTHING
    return f"{number(cpu, 1e3)} / {number(peak, 1e-6)}{mark(row)}"


def _sweep(
    title: str, table: Table, rows: Sequence[Row], setting: Callable[[Row], int]
) -> Grid | None:
    """A line a runtime, a column a setting; nothing where there is only one setting."""
    settings = sorted({setting(row) for row in rows})
    if len(settings) < 2:
        return None
    lines: dict[str, dict[int, str]] = {}
    cases: dict[str, list[Case]] = {}
    for row in sorted(rows, key=lambda row: row.order):
        p50 = row.latency_s(0.5)
        text = number(p50, 1e3 / row.case.batch_size) if p50 else _without_number(row, table)
        text += mark(row) if row.timed else ""
        lines.setdefault(runtime_name(row.case), {})[setting(row)] = text
        cases.setdefault(runtime_name(row.case), []).append(row.case)
    several = {name: found for name, found in lines.items() if len(found) > 1}
    return Grid(
        title,
        ("runtime", *(str(value) for value in settings)),
        tuple(
            (name, *(found.get(value, NOTHING) for value in settings))
            for name, found in several.items()
        ),
        cases=tuple(tuple(cases[name]) for name in several),
    )
