"""An examination as text for a terminal, and as JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from export.anatomy.contents import Contents, Layer, shown
from export.anatomy.examine import Examination
from export.anatomy.finding import Finding, Remedy, percent, several

SCHEMA = 1
"""Of the JSON; 1: the first."""

_WIDTH = 110  # of what goes into a file
_LONGEST = 400  # of a sentence with names in it
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_COUNTS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def show(found: Examination, layers: int) -> None:
    """Print tables by block and by layer (``layers`` of them, 0: all), then the findings."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_WIDTH)
    contents = found.contents
    console.print(Text(_headline(contents)), soft_wrap=True)
    if contents.no_macs:
        why = shown(contents.no_macs, _LONGEST)  # it names operators, nodes and values
        console.print(Text(f"no multiply-accumulates: {why}"), soft_wrap=True)
    if 1 < len(found.blocks) < len(contents.layers):
        console.print(_blocks(found))
    console.print(_layers(contents, layers))
    for number, finding in enumerate(found.findings, 1):
        for line in _lines(number, finding, contents):
            console.print(Text(line), soft_wrap=True)
    if not found.findings:
        console.print("nothing found that is wrong, wasteful or missing")


def _headline(contents: Contents) -> str:
    macs = "" if contents.macs is None else f", {counted(contents.macs)} MACs an image"
    return (
        f"{shown(contents.file.name)}: {contents.format}, {size(contents.size_bytes)}, "
        f"{contents.parameters:,} parameters{macs}"
    )


def _table(first: str, contents: Contents) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True, overflow="ellipsis")
    for title in ("bytes", "%", "parameters", "zero %"):
        table.add_column(title, justify="right", no_wrap=True)
    if contents.macs is not None:
        table.add_column("MACs", justify="right", no_wrap=True)
        table.add_column("%", justify="right", no_wrap=True)
    return table


def _blocks(found: Examination) -> Table:
    table = _table("block", found.contents)
    for block in found.blocks:
        zeros = sum(layer.zeros for layer in block.layers)
        row = (block.size_bytes, block.parameters, zeros, block.macs)
        table.add_row(Text(shown(block.name, 40)), *_cells(found.contents, *row))
    return table


def _layers(contents: Contents, most: int) -> Table:
    table = _table("layer", contents)
    chosen = _largest(contents, most)
    for layer in chosen:
        kind = f" {shown(layer.kind, 40)}" if layer.kind else ""
        row = (layer.size_bytes, layer.parameters, layer.zeros, layer.macs)
        table.add_row(Text(f"{shown(layer.name, 40)}{kind}"), *_cells(contents, *row))
    kept = {layer.name for layer in chosen}
    rest = [layer for layer in contents.layers if layer.name not in kept]
    if rest:
        row = (
            sum(layer.size_bytes for layer in rest),
            sum(layer.parameters for layer in rest),
            sum(layer.zeros for layer in rest),
            sum(layer.macs or 0 for layer in rest),
        )
        table.add_row(f"{len(rest)} others", *_cells(contents, *row))
    return table


def _largest(contents: Contents, most: int) -> list[Layer]:
    """Those of most bytes or most multiply-accumulates, in the order of the file."""
    whole, macs = max(1, contents.stored_bytes), max(1, contents.macs or 1)

    def weight(layer: Layer) -> float:
        return max(layer.size_bytes / whole, (layer.macs or 0) / macs)

    ordered = sorted(contents.layers, key=weight, reverse=True)
    kept = {id(layer) for layer in (ordered[:most] if most else ordered)}
    return [layer for layer in contents.layers if id(layer) in kept]


def _cells(
    contents: Contents, size_bytes: int, parameters: int, zeros: int, macs: int | None
) -> list[str]:
    zero = "–" if not parameters else "0" if not zeros else percent(zeros, parameters)[:-2]
    cells = [
        size(size_bytes),
        percent(size_bytes, contents.stored_bytes)[:-2],
        f"{parameters:,}",
        zero,
    ]
    if contents.macs is not None:
        cells += [counted(macs or 0), percent(macs or 0, contents.macs)[:-2]]
    return cells


def _lines(number: int, finding: Finding, contents: Contents) -> Iterator[str]:
    yield f"\n{number}. {finding.title}"
    yield from (f"   {line}" for line in finding.evidence)
    for remedy in finding.remedies:
        effect = effect_text(remedy, contents)
        yield f"   → {remedy.text}{f': {effect}' if effect else ''}"


def effect_text(remedy: Remedy, contents: Contents) -> str:
    """What a remedy saves or costs, in words; empty where nothing that is counted."""
    parts = []
    for value, text, whole in (
        (remedy.bytes_saved, size(abs(remedy.bytes_saved)), contents.stored_bytes),
        (remedy.macs_saved or 0, f"{counted(abs(remedy.macs_saved or 0))} MACs", contents.macs),
    ):
        if value:
            share = f" ({percent(abs(value), whole)})" if whole else ""
            parts.append(f"{'saves' if value > 0 else 'costs'} {text}{share}")
    if remedy.nodes_saved:
        parts.append(f"{several(remedy.nodes_saved, 'node')} fewer")
    if parts and remedy.macs_saved is None:
        parts.append("MACs unknown")
    if remedy.retrain:
        parts.append("has to be trained again")
    return ", ".join(parts)


def size(number: float) -> str:
    """Bytes for people: 574.7 MB."""
    return _scaled(number, _UNITS, "B")


def counted(number: float) -> str:
    """A count for people: 19.6 G."""
    return _scaled(number, _COUNTS, "").rstrip()


def _scaled(number: float, units: tuple[tuple[float, str], ...], one: str) -> str:
    for factor, unit in units:
        if number >= factor:
            return f"{number / factor:.4g} {unit}"
    return f"{number:.0f} {one}"


def as_json(found: Examination) -> str:
    """Everything, with names as they stand in the file."""
    contents = found.contents
    whole: dict[str, Any] = {
        "schema": SCHEMA,
        "file": contents.file.name,
        "format": contents.format,
        "size_bytes": contents.size_bytes,
        "stored_bytes": contents.stored_bytes,
        "parameters": contents.parameters,
        "macs": contents.macs,
        "macs_unknown_because": contents.no_macs,
        "layers": [asdict(layer) for layer in contents.layers],
        "blocks": [
            {
                "name": block.name,
                "layers": [layer.name for layer in block.layers],
                "size_bytes": block.size_bytes,
                "parameters": block.parameters,
                "macs": block.macs,
            }
            for block in found.blocks
        ],
        "findings": [asdict(finding) for finding in found.findings],
    }
    return json.dumps(whole, indent=1) + "\n"


def write_json(found: Examination, file: Path) -> None:
    """Write ``as_json`` to a file."""
    file.write_text(as_json(found), encoding="utf-8")
