"""One panel of a figure, drawn into matplotlib's axes; and the entries of a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis as DrawnAxis
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from bench.figure import Axis, Line, Mark, Panel, Series

INK, PAPER, RULE = "#1f2328", "#ffffff", "#d0d7de"
"""Text and frames, background, grid: what a dark page turns round."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", INK, "#7d8590", "#aa3377")
"""Four of Okabe and Ito (2008), "Color Universal Design"; a grey and the purple of Tol's scheme
"bright" in the place of its yellow, orange and sky blue, which white swallows. A line has no
outline: each of them has a contrast of 3 to 1 on a light and on a dark page."""
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = (
    "-",
    "--",
    "-.",
    ":",
    (0, (6, 1, 1, 1, 1, 1)),
    (0, (1, 1)),
)
_LARGEST, _LEAST = 300.0, 8.0
"""Areas of marks in square points; a smaller one could not be seen."""
_LABEL, _LABEL_HEIGHT, _LABEL_LETTER = 7, 8.5, 4.4
"""Size of a label, and what it and a letter of it take, in points."""


def draw(axes: Axes, panel: Panel, named: bool) -> None:
    """Everything in a panel; ``named``: with the names of its lines on the left."""
    axes.set_title(panel.title, loc="left", fontsize=9)
    axes.set_xlabel(panel.x.title)
    for series in panel.series:
        _series(axes, series)
    for line in panel.lines:
        _line(axes, line)
    _bars(axes, panel)
    _scale(axes, "x", panel.x)
    if panel.names:
        _names(axes, panel.names, named)
    else:
        axes.set_ylabel(panel.y.title)
        _scale(axes, "y", panel.y)
    _labels(axes, panel.marks)


def handles(row: Sequence[Panel]) -> dict[str, Artist]:
    """Name -> what stands before it in the legend of a row of panels."""
    found: dict[str, Artist] = {}
    for panel in row:
        for series in panel.series:
            if series.name:
                found.setdefault(series.name, _series_handle(series))
        for line in panel.lines:
            found.setdefault(line.name, Line2D([], [], **_line_style(line)))
        for place, part in enumerate(panel.parts):
            found.setdefault(part.name, Patch(facecolor=_colour(place)))
    return found


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _shape(place: int) -> str:
    return SHAPES[place % len(SHAPES)]


# --- marks


def _series_handle(series: Series) -> Line2D:
    return Line2D(
        [],
        [],
        color=_colour(series.place),
        linestyle="-" if series.joined else "none",
        marker=_shape(series.place),
        markersize=5,
        markeredgecolor=INK,
        markeredgewidth=0.5,
    )


def _series(axes: Axes, series: Series) -> None:
    colour = _colour(series.place)
    for across in (True, False):
        xs, ys = _intervals(series.marks, across)
        if xs:
            axes.plot(xs, ys, color=colour, linewidth=1.2, zorder=2)
    if series.joined:
        ordered = [(mark.x.value, mark.y.value) for mark in series.marks]
        axes.plot(*zip(*ordered, strict=True), color=colour, linewidth=1.0, zorder=2)
    for hollow in (False, True):
        own = [mark for mark in series.marks if mark.hollow == hollow]
        if own:
            axes.scatter(
                [mark.x.value for mark in own],
                [mark.y.value for mark in own],
                s=[max(_LEAST, _LARGEST * mark.area) for mark in own],
                marker=_shape(series.place),
                facecolors="none" if hollow else colour,
                edgecolors=colour if hollow else INK,
                linewidths=1.0 if hollow else 0.5,
                clip_on=False,
                zorder=3,
            )


def _intervals(marks: Sequence[Mark], across: bool) -> tuple[list[float], list[float]]:
    """The points of all bars in one direction, one path with gaps: that is short in the file."""
    xs: list[float] = []
    ys: list[float] = []
    for mark in marks:
        estimate = mark.x if across else mark.y
        if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
            continue
        ends = [estimate.low, estimate.high, math.nan]
        xs += ends if across else [mark.x.value, mark.x.value, math.nan]
        ys += [mark.y.value, mark.y.value, math.nan] if across else ends
    return xs, ys


def _labels(axes: Axes, marks: Sequence[Mark]) -> None:
    """Names beside their marks, from the top down; one that would cover another moves down."""
    placed: list[tuple[float, float, float]] = []
    right = axes.bbox.x1
    named = [mark for mark in marks if mark.label]
    for mark in sorted(named, key=lambda mark: (-mark.y.value, mark.x.value)):
        x, y = axes.transData.transform((mark.x.value, mark.y.value))
        width = _LABEL_LETTER * len(mark.label)
        radius = math.sqrt(max(_LEAST, _LARGEST * mark.area)) / 2
        left, low = min(x + radius + 2, right - width), y + 2
        while any(
            abs(low - b) < _LABEL_HEIGHT and left < a + w and a < left + width for a, b, w in placed
        ):
            low -= 1
        placed.append((left, low, width))
        axes.annotate(
            mark.label,
            (mark.x.value, mark.y.value),
            (float(left - x), float(low - y)),
            textcoords="offset points",
            fontsize=_LABEL,
            annotation_clip=False,
            zorder=4,
        )


# --- lines and bars


def _line_style(line: Line) -> dict[str, Any]:
    if line.place is None:
        return {"color": INK, "linestyle": "--", "linewidth": 0.9}
    dashes = DASHES[line.place % len(DASHES)]
    return {"color": _colour(line.place), "linestyle": dashes, "linewidth": 1.3}


def _line(axes: Axes, line: Line) -> None:
    xs, ys = zip(*line.points, strict=True)
    drawstyle = "steps-post" if line.steps else "default"
    axes.plot(xs, ys, drawstyle=drawstyle, zorder=1.5, **_line_style(line))


def _bars(axes: Axes, panel: Panel) -> None:
    left = [0.0] * len(panel.names)
    for place, part in enumerate(panel.parts):
        axes.barh(
            range(len(panel.names)),
            part.lengths,
            left=left,
            height=0.7,
            color=_colour(place),
            edgecolor=PAPER,
            linewidth=0.4,
        )
        left = [a + b for a, b in zip(left, part.lengths, strict=True)]


# --- axes


def _names(axes: Axes, names: Sequence[str], shown: bool) -> None:
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names if shown else [""] * len(names))
    axes.tick_params(axis="y", length=0)


def _scale(axes: Axes, which: Literal["x", "y"], axis: Axis) -> None:
    """The kind of scale, its ends and its ticks."""
    drawn: DrawnAxis = axes.xaxis if which == "x" else axes.yaxis
    if axis.log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        drawn.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        drawn.set_minor_locator(NullLocator())
        drawn.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if axis.ticks:
        drawn.set_major_locator(FixedLocator(axis.ticks))
        drawn.set_minor_locator(NullLocator())
        drawn.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    first, last = axes.dataLim.intervalx if which == "x" else axes.dataLim.intervaly
    if axis.least is not None and first >= axis.least:
        low = axis.least
    if axis.most is not None and last <= axis.most:
        high = axis.most
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
