"""Rows -> stacked bars: where a file's bytes are, and what a cold start consists of.

Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.figure import Axis, Figure, Panel, Part
from bench.record import RunHeader
from bench.resources import usual_block, whole_s
from bench.rows import Row, Table
from bench.shown import (
    LEFT_OUT,
    Tables,
    counts,
    file_name,
    footer,
    heading,
    measured_rows,
    setting_text,
    usual_rows,
    variant_name,
    whole_name,
)
from export.artifact import LayerWork

MOST_STARTS = 20
"""Bars of cold starts in a panel; of more rows only those of one variant are drawn."""
ALIKE = 0.02
"""A file whose size differs by less from one of the same variant that is drawn is left out."""
_GROUPS = (
    "weights used at many places (convolutions)",
    "weights used once an image (fully connected)",
    "rest of the file",
)
_PACKED = ("fp16-weights", "int4-weights")
"""Recipes that store weights in fewer bytes than their layers' precision tells."""
_BYTES = {"int8": 1}
_FP32_BYTES = 4


# --- bytes by layer group


def file_bytes(header: RunHeader, tables: Tables) -> Figure:
    """A panel for each table: fp32 and the recipes that change the size, by group of layers."""
    found = {key: _files(table) for key, table in tables.items()}
    panels = [_bytes_panel(heading(*key), rows) for key, rows in found.items() if len(rows) > 1]
    drawn = [row for rows in found.values() if len(rows) > 1 for row in rows]
    more = (
        f"files within {100 * ALIKE:g} % of a drawn one of the same variant are left out, and so "
        "are those that are not taken apart",
    )
    return Figure(
        "Where the bytes of the files are, before and after each recipe",
        tuple((panel,) for panel in panels),
        footer(header, drawn, *more) if drawn else (),
    )


def _files(table: Table) -> list[Row]:
    """A row for each file that is drawn, in the order of the tables; its answers are right."""
    able = [row for row in measured_rows(table) if row.candidate and row.file and row.file.layers]
    able.sort(key=lambda row: (row.table_order[:4], _format(row) != "onnx"))
    first = {file_name(row): row for row in reversed(able)}
    kept: dict[str, list[Row]] = {}
    for name in dict.fromkeys(map(file_name, able)):
        row = first[name]
        own = kept.setdefault(row.case.variant, [])
        if group_bytes(row, _plain(row, able)) and not any(_alike(row, other) for other in own):
            own.append(row)
    return [row for own in kept.values() for row in own]


def _format(row: Row) -> str:
    return row.file.format if row.file else ""


def _size(row: Row) -> int:
    return row.file.size_bytes if row.file else 0


def _alike(row: Row, other: Row) -> bool:
    return abs(_size(row) - _size(other)) <= ALIKE * _size(other)


def _plain(row: Row, rows: Iterable[Row]) -> Row | None:
    """The variant's file as the exporter writes it."""
    own = (one for one in rows if one.case.variant == row.case.variant)
    return next((one for one in own if one.case.recipe == "fp32"), None)


def group_bytes(row: Row, plain: Row | None) -> tuple[int, int, int] | None:
    """Bytes of each of the groups; ``None``: it can't be told which layer is of which.

    A layer that multiplies as often as it has weights uses each of them once. How many
    weights there are follows from their bytes where the precision tells how wide one is;
    else from the layers of the fp32 file ``plain``, if there are as many.
    """
    assert row.file is not None  # such rows are not asked
    layers = row.file.layers
    same = plain is not None and plain.file and len(plain.file.layers) == len(layers)
    if not same and row.case.recipe in _PACKED:
        return None
    told_by = plain.file.layers if same and plain and plain.file else layers
    once = [_uses_once(layer) for layer in told_by]
    many = sum(one.weight_bytes for one, own in zip(layers, once, strict=True) if not own)
    single = sum(one.weight_bytes for one, own in zip(layers, once, strict=True) if own)
    return many, single, max(0, row.file.size_bytes - many - single)


def _uses_once(layer: LayerWork) -> bool:
    """Its bytes hold a bias as well, so that there are at least as many as for the weights."""
    return layer.macs * _BYTES.get(layer.precision, _FP32_BYTES) <= layer.weight_bytes


def _bytes_panel(title: str, rows: Sequence[Row]) -> Panel:
    groups = [group_bytes(row, _plain(row, rows)) or (0, 0, 0) for row in rows]
    return Panel(
        title,
        Axis("MB", least=0),
        parts=tuple(
            Part(name, tuple(own[place] / 1e6 for own in groups))
            for place, name in enumerate(_GROUPS)
        ),
        names=tuple(_file_label(row) for row in rows),
    )


def _file_label(row: Row) -> str:
    return file_name(row) if _format(row) == "onnx" else f"{file_name(row)} ({_format(row)})"


# --- cold start


def cold_starts(header: RunHeader, tables: Tables) -> Figure:
    """A panel for each table, at its main setting: from import to the first answer."""
    found = {key: _starts(table) for key, table in tables.items()}
    panels = [_starts_panel(heading(*key), tables[key], found[key]) for key in found if found[key]]
    drawn = [row for rows in found.values() for row in rows]
    return Figure(
        "Cold start: from importing the runtime to the first answer",
        tuple((panel,) for panel in panels),
        footer(header, drawn, "of each row the middle block", LEFT_OUT) if drawn else (),
    )


def _starts(table: Table) -> list[Row]:
    rows = [row for row in usual_rows(table) if counts(row) and whole_s(row) is not None]
    if len(rows) <= MOST_STARTS:
        return rows
    return [row for row in rows if row.case.variant == rows[0].case.variant]


def _starts_panel(title: str, table: Table, rows: Sequence[Row]) -> Panel:
    blocks = [usual_block(row) for row in rows]
    leaves = {
        "import": [block.import_s for block in blocks],
        "read the file": [block.read_s or 0.0 for block in blocks],
        "parse, optimise, pre-pack": [block.load_s for block in blocks],
        "first inference": [block.first_s for block in blocks],
    }
    all_variants = {variant_name(row) for row in usual_rows(table)}
    shown = {variant_name(row) for row in rows}
    only = f": {', '.join(sorted(shown))} alone" if len(shown) < len(all_variants) else ""
    return Panel(
        title + only,
        Axis(f"ms ({setting_text(table)})", least=0),
        parts=tuple(
            Part(name, tuple(1e3 * seconds for seconds in leaf)) for name, leaf in leaves.items()
        ),
        names=tuple(whole_name(row) for row in rows),
    )
