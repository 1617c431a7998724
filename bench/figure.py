"""What a plot shows, as values: panels of marks, lines and bars. Nothing here draws.

``bench.drawing`` does, and looks at nothing else: what is right or wrong about a plot can be
tested without a drawing library.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from bench.stats import Estimate

LOG_FROM = 5.0
"""Values whose largest is as many times their smallest stand on a logarithmic axis."""


@dataclass(frozen=True)
class Axis:
    """``title`` names the unit. ``least`` and ``most`` are values that the axis reaches at least;
    ``ticks`` those that are written, where they are not to be chosen."""

    title: str
    log: bool = False
    least: float | None = None
    most: float | None = None
    ticks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Mark:
    """A point with its intervals. ``area`` is a share of the largest mark's.

    ``hollow``: no candidate, because it is INVALID or its answers are wrong.
    """

    x: Estimate
    y: Estimate
    area: float = 0.1
    label: str = ""
    hollow: bool = False


@dataclass(frozen=True)
class Series:
    """Marks of one colour and shape, which ``place`` numbers; ``joined`` by a line or not.

    Without a name it is not in the legend.
    """

    name: str
    place: int
    marks: tuple[Mark, ...]
    joined: bool = False


@dataclass(frozen=True)
class Line:
    """A line through ``points`` (x, y), in the colour ``place``; ``None``: dashed, in the text's.

    ``steps``: a value holds until the next point.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    place: int | None = None
    steps: bool = False


@dataclass(frozen=True)
class Part:
    """One part of every bar of a panel, in the order of its ``names``."""

    name: str
    lengths: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """Axes with what is drawn in them.

    ``names`` are those of the lines of a dot plot or of the bars, from the top down: their
    ``y`` counts them from 0, and ``y.title`` is not shown. ``parts`` follow one another.
    """

    title: str
    x: Axis
    y: Axis = Axis("")
    series: tuple[Series, ...] = ()
    lines: tuple[Line, ...] = ()
    parts: tuple[Part, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def marks(self) -> tuple[Mark, ...]:
        """Those of all series."""
        return tuple(chain.from_iterable(one.marks for one in self.series))

    @property
    def drawn(self) -> int:
        """How many things there are to compare."""
        curves = sum(line.place is not None for line in self.lines)
        return len(self.marks) + curves + (len(self.names) if self.parts else 0)


@dataclass(frozen=True)
class Figure:
    """Rows of panels, the panels of a row side by side with one legend.

    ``title`` says in a line what is shown; ``footer`` are sentences: host, date, n.
    """

    title: str
    rows: tuple[tuple[Panel, ...], ...]
    footer: tuple[str, ...] = ()

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All of them."""
        return tuple(chain.from_iterable(self.rows))


def wide(values: tuple[float, ...]) -> bool:
    """Whether values ask for a logarithmic axis: all above 0, and far apart."""
    return bool(values) and min(values) > 0 and max(values) >= LOG_FROM * min(values)


def scaled(estimate: Estimate, by: float) -> Estimate:
    """In another unit; ``by`` is above 0."""
    ends = (None if end is None else end * by for end in (estimate.low, estimate.high))
    return Estimate(estimate.value * by, *ends)
