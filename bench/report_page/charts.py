"""The three charts of what opens for a row, as Bokeh embeds them, and the script that draws them.

A page has one of each, empty, in light and in dark: its script fills in the row that is
opened. Texts in them are ours alone: BokehJS reads ``$$`` in a text as mathematics, which it
would fetch a library for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bokeh.embed import json_item
from bokeh.models import BasicTicker, ColumnDataSource, DataRange1d, HoverTool
from bokeh.plotting import figure
from bokeh.resources import Resources
from bokeh.transform import linear_cmap

LEAVES = ("import", "read", "load", "first")
"""Columns of the cold start's bars, in the order in which the times follow one another."""
_LEAF_TITLES = ("import", "read", "parse, optimise, pre-pack", "first inference")
TURNS = 4
"""So many colours blocks have in turns."""
_HEIGHT = 260
_ID = re.compile(r'"p(\d+)"')


@dataclass(frozen=True)
class Ink:
    """Colours on one background: of text, of lines, of blocks in turns or a start's leaves."""

    text: str
    grid: str
    parts: tuple[str, str, str, str]


THEMES: Mapping[str, Ink] = {
    "light": Ink("#3d444d", "#d8dee4", ("#0550ae", "#bc4c00", "#1a7f37", "#8250df")),
    "dark": Ink("#c9d1d9", "#30363d", ("#79c0ff", "#ffa657", "#7ee787", "#d2a8ff")),
}


def items() -> dict[str, dict[str, Any]]:
    """Theme -> chart -> what ``Bokeh.embed.embed_item`` takes; the same in every process."""
    return {
        theme: {name: _item(draw(ink)) for name, draw in CHARTS.items()}
        for theme, ink in THEMES.items()
    }


def script() -> str:
    """BokehJS, of which the core is enough: about 1.3 MB."""
    resources = Resources("inline", components=["bokeh"], minified=True, log_level="error")
    return "\n".join(resources.js_raw)


def _item(plot: figure) -> Any:
    """The chart with ids counted from 1: Bokeh counts all models of a process."""
    known: dict[str, int] = {}

    def renamed(found: re.Match[str]) -> str:
        return f'"m{known.setdefault(found[1], len(known) + 1)}"'

    return json.loads(_ID.sub(renamed, json.dumps(json_item(plot))))


def _figure(ink: Ink, x: str, y: str, tips: list[tuple[str, str]]) -> figure:
    """Axes without a toolbar; only what is pointed at tells its numbers."""
    plot = figure(
        height=_HEIGHT,
        sizing_mode="stretch_width",
        x_axis_label=x,
        y_axis_label=y,
        tools=[HoverTool(tooltips=tips)],
        toolbar_location=None,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
    )
    for axis in plot.axis:
        axis.axis_label_text_color = axis.major_label_text_color = ink.text
        axis.axis_line_color = axis.major_tick_line_color = ink.text
        axis.minor_tick_line_color = None
        axis.axis_label_text_font_style = "normal"
    for grid in plot.grid:
        grid.grid_line_color = ink.grid
    return plot


def _source(*columns: str) -> ColumnDataSource:
    return ColumnDataSource({name: [] for name in columns}, name="data")


def _times(ink: Ink) -> figure:
    """Every latency over its number, one block behind the other."""
    tips = [("block", "@block"), ("inference", "@number"), ("ms", "@y")]
    plot = _figure(ink, "inference, one block behind the other", "ms", tips)
    source = _source("x", "y", "turn", "block", "number")
    plot.scatter("x", "y", source=source, size=4, fill_color=_turns(ink), line_color=None)
    return plot


def _spread(ink: Ink) -> figure:
    """The share of a block's inferences that took at most so long, a line a block."""
    plot = _figure(ink, "ms", "share of the inferences", [("block", "@block")])
    plot.multi_line(
        "xs",
        "ys",
        source=_source("xs", "ys", "turn", "block", "name"),
        line_width=2,
        line_color=_turns(ink),
        legend_field="name",
    )
    _legend_above(plot, ink, columns=6)
    return plot


def _start(ink: Ink) -> figure:
    """A bar a block, of what follows one another from import to the first answer."""
    tips = [("block", "@block"), *((title, f"@{{{name}}}{{0.0}} ms") for name, title in _NAMED)]
    plot = _figure(ink, "ms", "block", tips)
    source = _source("y", "block", *LEAVES)
    plot.hbar_stack(
        list(LEAVES),
        y="y",
        height=0.7,
        source=source,
        color=list(ink.parts),
        legend_label=list(_LEAF_TITLES),
    )
    plot.yaxis.ticker = BasicTicker(min_interval=1, num_minor_ticks=0)
    plot.y_range = DataRange1d(flipped=True)  # the first block on top, as in the table
    _legend_above(plot, ink, columns=2)
    return plot


def _turns(ink: Ink) -> Any:
    """A colour by the column ``turn``, of which there are ``TURNS``."""
    return linear_cmap("turn", list(ink.parts), 0, TURNS - 1)


def _legend_above(plot: figure, ink: Ink, columns: int) -> None:
    legend = plot.legend[0]
    legend.ncols = columns
    legend.label_text_color = ink.text
    legend.background_fill_color = None
    legend.border_line_color = None
    plot.add_layout(legend, "above")


_NAMED = tuple(zip(LEAVES, _LEAF_TITLES, strict=True))
CHARTS: Mapping[str, Callable[[Ink], figure]] = {
    "times": _times,
    "spread": _spread,
    "start": _start,
}
"""By the part of a row's details that it belongs to."""
