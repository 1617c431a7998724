"""Points -> a scatter plot as SVG text: a pure function, so that a plot is checked like a page.

What matplotlib draws differs from version to version; this does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 360, 300
"""Of a panel, in pixels; the margins leave room for the axes' numbers and titles."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 30, 44
_TICKS = 5
_LINE = 12
"""Height of a label."""
_LETTER = 6


@dataclass(frozen=True)
class Point:
    """A named point; ``low`` and ``high`` are the ends of an interval of ``y``, if known."""

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Panel:
    """Points with their axes."""

    title: str
    x_title: str
    y_title: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class _Axis:
    """From ``low`` to ``high`` by ``step``, drawn from pixel ``start`` to ``end``."""

    low: float
    high: float
    step: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """The numbers that are written."""
        count = round((self.high - self.low) / self.step)
        return [self.low + place * self.step for place in range(count + 1)]


def scatter(panels: Sequence[Panel]) -> str:
    """The panels side by side."""
    width = _WIDTH * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT}" '
        f'viewBox="0 0 {width} {_HEIGHT}" font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{_HEIGHT}" fill="white"/>',
        *(_panel(panel, place * _WIDTH) for place, panel in enumerate(panels)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(panel: Panel, left: float) -> str:
    across = _axis([point.x for point in panel.points], left + _LEFT, left + _WIDTH - _RIGHT, 0.0)
    ends = [end for p in panel.points for end in (p.y, p.low, p.high) if end is not None]
    up = _axis(ends, _HEIGHT - _BOTTOM, _TOP, min(ends))
    middle = (across.start + across.end) / 2
    lines = [
        _text(middle, _TOP - 14, panel.title, "middle", ' font-weight="bold"'),
        _text(middle, _HEIGHT - 8, panel.x_title, "middle"),
        f'<g transform="rotate(-90 {left + 12:.1f} {_HEIGHT / 2:.1f})">'
        f"{_text(left + 12, _HEIGHT / 2, panel.y_title, 'middle')}</g>",
        *(_vertical(tick, across, up) for tick in across.ticks),
        *(_horizontal(tick, across, up) for tick in up.ticks),
        *(_mark(point, across, up) for point in panel.points),
        *_labels(panel.points, across, up),
    ]
    return "\n".join(lines)


def _axis(values: Sequence[float], start: float, end: float, least: float) -> _Axis:
    """Round numbers around the values and ``least``; a step of 1, 2 or 5 times a power of ten."""
    low, high = min(*values, least), max(*values, least)
    rough = (high - low or abs(high) or 1.0) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return _Axis(first * step, max(last, first + 1) * step, step, start, end)


def _vertical(tick: float, across: _Axis, up: _Axis) -> str:
    x = across.at(tick)
    line = f'<path d="M{x:.1f} {up.start:.1f}V{up.end:.1f}" stroke="#ddd"/>'
    return line + _text(x, up.start + 14, f"{tick:.4g}", "middle")


def _horizontal(tick: float, across: _Axis, up: _Axis) -> str:
    y = up.at(tick)
    line = f'<path d="M{across.start:.1f} {y:.1f}H{across.end:.1f}" stroke="#ddd"/>'
    return line + _text(across.start - 5, y + 3.5, f"{tick:.4g}", "end")


def _mark(point: Point, across: _Axis, up: _Axis) -> str:
    x, y = across.at(point.x), up.at(point.y)
    dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#1f77b4"/>'
    if point.low is None or point.high is None:
        return dot
    ends = f"M{x:.1f} {up.at(point.low):.1f}V{up.at(point.high):.1f}"
    return f'<path d="{ends}" stroke="#1f77b4"/>{dot}'


def _labels(points: Sequence[Point], across: _Axis, up: _Axis) -> list[str]:
    """Names beside their points, from the top down; one that would cover another moves down."""
    placed: list[tuple[float, float, float]] = []
    found = []
    for point in sorted(points, key=lambda point: (-point.y, point.x)):
        width = _LETTER * len(point.name)
        x = min(across.at(point.x) + 6, across.end - width)
        y = up.at(point.y) - 4
        while any(abs(y - b) < _LINE and x < a + w and a < x + width for a, b, w in placed):
            y += 1
        placed.append((x, y, width))
        found.append(_text(x, y, point.name, "start"))
    return found


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'
