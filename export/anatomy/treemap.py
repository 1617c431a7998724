"""An examination as nested rectangles in an SVG: one map of bytes, one of multiply-accumulates.

Written as it is, without a plotting library: rectangles need none, the same examination gives
the same bytes, each rectangle tells its layer to the pointer, and the colours follow a
reader's light or dark setting.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.anatomy.blocks import Block
from export.anatomy.contents import Layer, shown
from export.anatomy.examine import Examination
from export.anatomy.finding import percent
from export.anatomy.show import counted, size

Weight = Callable[[Layer], float]
Words = Callable[[float], str]

WIDTH, HEIGHT = 960, 480
"""Of one map, in pixels."""

_TITLE, _FRAME, _LETTER, _LINE = 28, 18, 6.6, 14
_STYLE = """
text { font: 12px sans-serif; fill: #1a1a1a; }
.title { font-weight: bold; font-size: 14px; }
.block { fill: #e9e9e9; stroke: #ffffff; }
.layer { stroke: #ffffff; }
.c0 { fill: #9ecae1; } .c1 { fill: #fdae6b; } .c2 { fill: #a1d99b; } .c3 { fill: #bcbddc; }
.c4 { fill: #fdd0a2; } .c5 { fill: #c7e9c0; } .c6 { fill: #dadaeb; } .c7 { fill: #c6dbef; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f0f0; }
.block { fill: #333333; stroke: #111111; }
.layer { stroke: #111111; }
.c0 { fill: #2b6389; } .c1 { fill: #95520f; } .c2 { fill: #2f7336; } .c3 { fill: #5f5a94; }
.c4 { fill: #7c5a2c; } .c5 { fill: #456b3f; } .c6 { fill: #57557a; } .c7 { fill: #3d5a78; }
}
"""
_COLOURS = 8


@dataclass(frozen=True)
class Rectangle:
    """A place in a map, in pixels."""

    x: float
    y: float
    width: float
    height: float


def squarified(sizes: Sequence[float], place: Rectangle) -> list[Rectangle]:
    """Rectangles of areas in proportion to ``sizes``, as square as they come.

    Bruls, Huizing and van Wijk (2000), "Squarified Treemaps". ``sizes`` are above 0 and
    descend; the rectangles stand in their order.
    """
    scale = place.width * place.height / sum(sizes) if sizes else 0.0
    areas = [one * scale for one in sizes]
    found: list[Rectangle] = []
    while areas:
        side = min(place.width, place.height)
        row = [areas[0]]
        while len(row) < len(areas) and _worst([*row, areas[len(row)]], side) <= _worst(row, side):
            row.append(areas[len(row)])
        placed, place = _row(row, place)
        found += placed
        areas = areas[len(row) :]
    return found


def _worst(row: Sequence[float], side: float) -> float:
    """The largest ratio of sides in a row along a side."""
    total = sum(row)
    if not total or not side:
        return float("inf")
    return max(side**2 * max(row) / total**2, total**2 / (side**2 * min(row)))


def _row(row: Sequence[float], place: Rectangle) -> tuple[list[Rectangle], Rectangle]:
    """A row along the shorter side, and what is left beside it."""
    upright = place.width >= place.height
    side = place.height if upright else place.width
    thick = sum(row) / side if side else 0.0
    found, at = [], 0.0
    for area in row:
        length = area / thick if thick else 0.0
        if upright:
            found.append(Rectangle(place.x, place.y + at, thick, length))
        else:
            found.append(Rectangle(place.x + at, place.y, length, thick))
        at += length
    if upright:
        left = Rectangle(place.x + thick, place.y, max(0.0, place.width - thick), place.height)
    else:
        left = Rectangle(place.x, place.y + thick, place.width, max(0.0, place.height - thick))
    return found, left


def write_treemap(found: Examination, file: Path) -> None:
    """Write the maps; the same bytes for the same examination."""
    maps: list[tuple[str, Weight, Words]] = [("bytes", lambda layer: float(layer.size_bytes), size)]
    if found.contents.macs:
        maps.append(
            ("multiply-accumulates an image", lambda layer: float(layer.macs or 0), counted)
        )
    whole = len(maps) * (HEIGHT + _TITLE)
    root = ET.Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {whole}",
        role="img",
    )
    name = shown(found.contents.file.name)
    ET.SubElement(root, "title").text = f"{name} by layer"
    ET.SubElement(root, "style").text = _STYLE
    for i, (what, weight, text) in enumerate(maps):
        top = i * (HEIGHT + _TITLE)
        total = sum(weight(layer) for layer in found.contents.layers)
        title = f"{name}: {text(total)} {what}" if what != "bytes" else f"{name}: {text(total)}"
        _label(root, title, 4, top + 19, "title")
        place = Rectangle(0, top + _TITLE, WIDTH, HEIGHT)
        _map(root, found.blocks, place, weight, text)
    file.write_text(ET.tostring(root, encoding="unicode") + "\n", encoding="utf-8")


def _map(
    root: ET.Element, blocks: Sequence[Block], place: Rectangle, weight: Weight, words: Words
) -> None:
    """One map: blocks, and in each its layers."""
    weights = [sum(weight(layer) for layer in block.layers) for block in blocks]
    total = sum(weights)
    order = [i for i in sorted(range(len(blocks)), key=lambda i: -weights[i]) if weights[i] > 0]
    for i, where in zip(order, squarified([weights[i] for i in order], place), strict=True):
        block = blocks[i]
        text = f"{block.name}: {words(weights[i])} ({percent(weights[i], total)})"
        _box(root, where, "block", text)
        inner = where
        if len(block.layers) > 1 and where.height > 3 * _FRAME and where.width > 3 * _FRAME:
            _fitting(root, f"{shown(block.name)} {percent(weights[i], total)}", where)
            inner = Rectangle(where.x, where.y + _FRAME, where.width, where.height - _FRAME)
        for layer, rectangle in _placed(block.layers, inner, weight):
            share = percent(weight(layer), total)
            tip = f"{layer.name} {layer.kind}: {words(weight(layer))} ({share})"
            _box(root, rectangle, f"layer c{i % _COLOURS}", tip)
            _fitting(root, shown(layer.name, 40), rectangle)


def _placed(
    layers: Sequence[Layer], place: Rectangle, weight: Weight
) -> Iterator[tuple[Layer, Rectangle]]:
    ordered = [x for x in sorted(layers, key=weight, reverse=True) if weight(x) > 0]
    return zip(ordered, squarified([weight(x) for x in ordered], place), strict=True)


def _box(root: ET.Element, place: Rectangle, kind: str, tip: str) -> None:
    numbers = {name: f"{getattr(place, name):.2f}" for name in ("x", "y", "width", "height")}
    box = ET.SubElement(root, "rect", {**numbers, "class": kind})
    ET.SubElement(box, "title").text = shown(tip, 200)


def _fitting(root: ET.Element, text: str, place: Rectangle) -> None:
    """A label where there is room for it."""
    if place.height >= _LINE + 2 and place.width >= _LETTER * len(text) + 6:
        _label(root, text, place.x + 4, place.y + _LINE)


def _label(root: ET.Element, text: str, x: float, y: float, kind: str = "") -> None:
    attributes = {"x": f"{x:.2f}", "y": f"{y:.2f}", **({"class": kind} if kind else {})}
    ET.SubElement(root, "text", attributes).text = text
