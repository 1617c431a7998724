"""Tables over all families of a run: INT8 against the best fp32, and what building cost.

Pure functions over ``bench.rows``; ``bench.report_sections`` prints what they return.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench import validity
from bench.matrix import Grid, one_each
from bench.record import FileFacts
from bench.row_text import label, marked, verdict_text
from bench.rows import Row, Table, best_fp32, held_together, speedup
from bench.text import NOTHING, rounded


def against_fp32(found: Iterable[Table]) -> Grid:
    """Each INT8 row against the fastest fp32 row of the same variant in the same runtime.

    All claims of the run's ``found`` tables are held to 5 % together.
    """
    pairs = [
        (table, best, row)
        for table in found
        for row in table.rows
        if (best := best_fp32(row, table)) is not None and row.file and best.file
    ]
    held = held_together([(best, row) for _, best, row in pairs])
    return Grid(
        "INT8 against the best fp32",
        ("row", "best fp32", "speed-up (95 %)", "smaller file", "verdict on both"),
        tuple(_quantised(*pair, holds=holds) for pair, holds in zip(pairs, held, strict=True)),
        names=2,
        note=_QUANTISED,
        cases=one_each(row for _, _, row in pairs),
    )


_QUANTISED = (
    "Each INT8 row against the faster of `fp32` and `fp32-opt` of the same variant, runtime, "
    "threads and batch size, paired by round like every speed-up."
)


def _quantised(table: Table, best: Row, row: Row, *, holds: bool) -> tuple[str, ...]:
    """A line of that table; both rows have a file."""
    assert row.file is not None and best.file is not None
    return (
        label(row, table.varying),
        best.case.recipe,
        marked(speedup(best, row), table, holds=holds),
        f"{rounded(best.file.size_bytes / row.file.size_bytes)}x",
        verdict_text(validity.overall((row.verdict, best.verdict))),
    )


def building(found: Iterable[Table]) -> Grid:
    """What making each file took; one that several runtimes opened stands once."""
    files: dict[str, list[tuple[Row, FileFacts]]] = {}
    for table in found:
        for row in sorted(table.rows, key=lambda row: row.table_order):
            if row.file is not None and not row.is_null:
                files.setdefault(row.file.key, []).append((row, row.file))
    return Grid(
        "What building cost",
        ("variant", "recipe", "format", "build s", "peak MB"),
        tuple(_built(*known[0]) for known in files.values()),
        names=3,
        note=_BUILT,
        cases=tuple(tuple(row.case for row, _ in known) for known in files.values()),
    )


_BUILT = (
    "The last step of each file's recipe, when it was made; the peak is the building "
    "process's resident set during that step."
)


def _built(row: Row, file: FileFacts) -> tuple[str, ...]:
    return (
        row.case.shown_variant,
        row.case.recipe,
        file.format,
        rounded(file.build_s),
        rounded(file.build_peak_bytes / 1e6) if file.build_peak_bytes else NOTHING,
    )
