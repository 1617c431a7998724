"""An interval as a small picture beside its numbers, so that a column of them can be compared.

It says nothing that the cells beside it don't say in words: it is hidden from who can't see it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from bench.stats import Estimate
from bench.text import NOTHING

_WIDTH, _HEIGHT, _EDGE = 140, 16, 4
_PICTURE = Markup(
    '<svg class="strip" width="{}" height="{}" aria-hidden="true" focusable="false">{}</svg>'
)
_MARK = Markup('<path class="mark" d="M{:.1f} 0V{}"/>')
_SPAN = Markup('<path class="span" d="M{:.1f} {}H{:.1f}"/>')
_DOT = Markup('<circle cx="{:.1f}" cy="{}" r="3"/>')


@dataclass(frozen=True)
class Strips:
    """Pictures on one logarithmic scale from ``low`` to ``high``; lines go across at ``marks``."""

    low: float
    high: float
    marks: tuple[float, ...]

    def picture(self, ratio: Estimate | None) -> Markup:
        """A dot at the ratio and a line over its interval."""
        if ratio is None:
            return Markup(NOTHING)
        middle = _HEIGHT // 2
        parts = [_MARK.format(self._at(mark), _HEIGHT) for mark in self.marks]
        if ratio.low is not None and ratio.high is not None:
            parts.append(_SPAN.format(self._at(ratio.low), middle, self._at(ratio.high)))
        parts.append(_DOT.format(self._at(ratio.value), middle))
        return _PICTURE.format(_WIDTH, _HEIGHT, Markup("").join(parts))

    def _at(self, ratio: float) -> float:
        """The place of a ratio, from left to right; at the edge what lies beyond."""
        low, high, own = (math.log(one) for one in (self.low, self.high, ratio))
        share = (min(max(own, low), high) - low) / (high - low)
        return _EDGE + share * (_WIDTH - 2 * _EDGE)


def strips(
    ratios: Iterable[Estimate | None], marks: tuple[float, ...], least: float, widest: float
) -> Strips:
    """The scale that shows all these ratios and their ``marks``.

    It goes from 1 / ``least`` to ``least`` at least. What is beyond ``widest``, up or down, is
    drawn at its edge: one huge ratio would hide all others.
    """
    known = [end for one in ratios if one for end in (one.value, one.low, one.high) if end]
    ends = [min(max(end, 1 / widest), widest) for end in (*known, *marks)]
    return Strips(min(*ends, 1 / least), max(*ends, least), marks)
