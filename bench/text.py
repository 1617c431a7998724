"""Numbers and foreign text as Markdown shows them: pure functions.

A number gets the digits that its spread supports.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.stats import Estimate
from export.printable import one_line

if TYPE_CHECKING:  # records keep choices, whose texts are made here
    from bench.record import Parity

MOST_DIGITS = 4
DIGITS_UNKNOWN = 3
"""Significant digits printed at most, with a known and an unknown spread."""
MOST_END_DIGITS = 8
NEARLY_ONE = 1.1
"""An interval around 1 that stays within this factor reads "≈1"."""
NOTHING = "–"
ALONE = "†"
"""Behind a ratio that is proven by itself, but not together with the others of its table."""
AS_AN_AA_PAIR = "‡"
"""Behind a ratio whose interval excludes 1, but by no more than an A/A pair came out apart."""


def number(estimate: Estimate, scale: float = 1.0) -> str:
    """The value times ``scale`` with the digits that its interval supports.

    Rounded as the Particle Data Group does (Review of Particle Physics,
    introduction, 5.3): so that the half-width would show as 3.6 to 9.4 units of
    the last digit, or 10 to 35. Three significant digits where there is no
    interval, never more than four.
    """
    half = estimate.half_width
    return rounded(estimate.value * scale, None if half is None else half * scale)


def rounded(value: float, half_width: float | None = None, digits: int | None = None) -> str:
    """A number with ``digits``, or what its half-width supports; see ``number``."""
    if value == 0:
        return "0"
    first = _exponent(abs(value))
    unknown = half_width is None
    place = first - (digits or (DIGITS_UNKNOWN if unknown else MOST_DIGITS)) + 1
    if half_width:
        place = min(max(place, _exponent(half_width / 3.55)), first)
    return f"{round(value, -place):.{max(0, -place)}f}"


def _exponent(value: float) -> int:
    """The decimal place of the first digit, after rounding to two."""
    return int(f"{value:.1e}".partition("e")[2])


def interval_text(estimate: Estimate | None, scale: float = 1.0) -> str:
    """A number with its interval in brackets; nothing where there is none to be told."""
    if estimate is None:
        return NOTHING
    if estimate.low is None or estimate.high is None:
        return number(estimate, scale)
    half = (estimate.half_width or 0.0) * scale
    low, high = (rounded(end * scale, half or None) for end in (estimate.low, estimate.high))
    return f"{number(estimate, scale)} ({low}–{high})"


def difference_text(estimate: Estimate, scale: float = 1.0) -> str:
    """A difference with its interval, all signed: ``-0.4 (-1.1 to +0.3)``.

    Digits are what the interval supports, more where an end would be rounded onto or
    across 0. Without an interval the number alone.
    """
    if estimate.low is None or estimate.high is None:
        return signed(estimate.value * scale, 1)
    ends = (estimate.low * scale, estimate.high * scale)
    places = _decimals(estimate, scale)
    while places < MOST_END_DIGITS and any(end and float(signed(end, places)) == 0 for end in ends):
        places += 1
    low, high = (signed(end, places) for end in ends)
    return f"{signed(estimate.value * scale, places)} ({low} to {high})"


def difference_value(estimate: Estimate, scale: float = 1.0) -> str:
    """The same number without its interval, for cells that are narrow."""
    return difference_text(estimate, scale).partition(" ")[0]


def percent(share: Estimate) -> str:
    """A share in percent with the decimals that its interval supports."""
    return f"{100 * share.value:.{_decimals(share, 100)}f}"


def percent_interval(share: Estimate) -> str:
    """The same with its interval; it must have one."""
    places = _decimals(share, 100)
    ends = "–".join(f"{100 * (end or 0):.{places}f}" for end in (share.low, share.high))
    return f"{percent(share)} ({ends})"


def _decimals(estimate: Estimate, scale: float) -> int:
    """As ``number`` rounds, but never to tens: 3 of 4 are 75 %, not 80."""
    half = (estimate.half_width or 0.0) * scale
    return max(0, -_exponent(half / 3.55)) if half else 1


def signed(value: float, places: int) -> str:
    """With its sign and that many decimals; what is rounded to 0 has none."""
    text = f"{value:+.{places}f}"
    return text if float(text) else text[1:]


def p_value(chance: float) -> str:
    """Two digits, down to one in a thousand."""
    return "<0.001" if chance < 0.001 else rounded(chance, digits=2)


def speedup_text(estimate: Estimate | None, told_apart: float = 1.0) -> str:
    """A speed-up with its interval, or that there is none to be told.

    ``told_apart`` is the smallest ratio that an A/A pair of the run could have told from 1:
    one whose interval excludes 1 and that is no larger is marked.
    """
    if estimate is None:
        return NOTHING
    if estimate.low is None or estimate.high is None:
        return f"{number(estimate)}x"
    low, high = (fenced(end, estimate.half_width) for end in (estimate.low, estimate.high))
    if estimate.excludes(1):
        proven = max(estimate.value, 1 / estimate.value) > told_apart
        return f"{number(estimate)}x{'' if proven else f' {AS_AN_AA_PAIR}'} ({low}–{high})"
    close = estimate.low > 1 / NEARLY_ONE and estimate.high < NEARLY_ONE
    return f"{'≈1' if close else 'not distinguishable'} ({low}–{high})"


def fenced(value: float, half_width: float | None, fences: Sequence[float] = (1.0,)) -> str:
    """One end of an interval; never rounded onto or across one of ``fences`` from where it lies."""
    text = rounded(value, half_width)
    digits = DIGITS_UNKNOWN
    while digits < MOST_END_DIGITS and any(
        (float(text) - fence) * (value - fence) <= 0 and value != fence for fence in fences
    ):
        text = rounded(value, digits=digits)
        digits += 1
    return text


def millions(count: int) -> str:
    """Exact for a small network, three decimals for a large one."""
    return "0" if count == 0 else f"{count / 1e6:.{6 if count < 1e6 else 3}f}"


def megabytes(size: float) -> str:
    """Bytes as MB of 10^6, four digits."""
    return rounded(size / 1e6, digits=MOST_DIGITS)


def minutes(seconds: float) -> str:
    """ "3 min", or seconds below two minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def plain(text: str) -> str:
    """Text that comes from outside, on one line and without Markdown in it."""
    line = one_line(text)
    return re.sub(r"([\\`*<\[])", r"\\\1", line if len(line) <= 300 else line[:299] + "…")


def unescaped(text: str) -> str:
    """Markdown as a terminal shows it: a command in it can be copied."""
    return re.sub(r"\\([\\`*<\[])", r"\1", text)


def code(text: str) -> str:
    """Text that comes from outside as code on one line."""
    line = one_line(text.replace("`", "'"))
    return f"`{line}`"


def top1(parity: Parity) -> str:
    """For how many images the first answer is the same."""
    return f"top-1 {round(parity.top1_agreement * parity.images)} of {parity.images}"
