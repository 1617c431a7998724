"""Small pictures of intervals: where they are drawn follows from the numbers alone."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("markupsafe", reason="the page needs: pip install 'deploybench[report]'")

from bench.report_page.strip import Strips, strips
from bench.stats import Estimate

WIDE = Strips(0.5, 2.0, (1.0,))


def places(text: str) -> list[float]:
    """Where the dot and both ends of the line are, from left to right."""
    dot = re.search(r'cx="([\d.]+)"', text)
    line = re.search(r'class="span" d="M([\d.]+) \d+H([\d.]+)"', text)
    assert dot and line
    return [float(line[1]), float(dot[1]), float(line[2])]


def test_places_follow_logarithms() -> None:
    """Twice as slow is as far from 1 as twice as fast, which is in the middle."""
    assert places(WIDE.picture(Estimate(1.0, 0.5, 2.0))) == [4.0, 70.0, 136.0]
    assert places(WIDE.picture(Estimate(2**0.5, 1.0, 2.0))) == [70.0, 103.0, 136.0]


def test_a_scale_holds_all_ratios_but_huge_ones() -> None:
    """And its marks, and some room around 1; what is beyond is drawn at the edge."""
    assert strips([None], (1.0,), least=1.1, widest=4) == Strips(1 / 1.1, 1.1, (1.0,))
    ratios = [Estimate(1.5, 1.4, 1.6), Estimate(90.0, 80.0, 99.0), None]
    found = strips(ratios, (1.0,), least=1.1, widest=4)
    assert (found.low, found.high) == (1 / 1.1, 4.0)
    assert places(found.picture(ratios[1])) == [136.0] * 3


def test_without_an_interval_there_is_a_dot() -> None:
    """And it is hidden from a reader who hears the numbers; without a ratio there is nothing."""
    text = WIDE.picture(Estimate(1.0))
    assert "circle" in text
    assert "span" not in text
    assert 'aria-hidden="true"' in text
    assert WIDE.picture(None) == "–"
