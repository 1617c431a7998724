"""What is drawn of many latencies: thinned so that no outlier is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report_page.samples import (
    LEAST,
    MOST,
    POINTS,
    SHARES,
    distribution,
    milliseconds,
    points_of_a_block,
    thinned,
)

LATENCIES = st.lists(st.integers(1, 10**12), min_size=1, max_size=400)


def test_few_are_all_drawn() -> None:
    """As many as may be drawn are drawn, in their order."""
    assert thinned((3_000_000, 1_000_000, 2_000_000), 4) == (3.0, 1.0, 2.0)


@given(LATENCIES, st.integers(1, 50).map(lambda half: 2 * half))
def test_no_outlier_is_lost(latencies: list[int], points: int) -> None:
    """The fastest and the slowest are drawn, and never more than was said."""
    drawn = thinned(latencies, points)
    assert len(drawn) <= max(points, 1)
    assert min(drawn) == milliseconds(min(latencies))
    assert max(drawn) == milliseconds(max(latencies))


def test_each_stretch_keeps_its_ends_in_their_order() -> None:
    """Of each stretch the fastest and the slowest, as they came."""
    assert thinned((5_000_000, 9_000_000, 1_000_000, 2_000_000, 8_000_000, 3_000_000), 4) == (
        9.0,
        1.0,
        2.0,
        8.0,
    )


@given(LATENCIES)
def test_a_distribution_goes_from_the_fastest_to_the_slowest(latencies: list[int]) -> None:
    """It rises, and has an entry for each share and its two ends."""
    found = distribution(latencies)
    assert list(found) == sorted(found)
    assert len(found) == len(SHARES) + 2
    assert (found[0], found[-1]) == (milliseconds(min(latencies)), milliseconds(max(latencies)))


@pytest.mark.parametrize("blocks", [0, 1, 351, 1200, 10**6])
def test_a_page_draws_so_many_at_most(blocks: int) -> None:
    """An even number, within its limits, and all together ``POINTS`` where each has ``LEAST``."""
    each = points_of_a_block(blocks)
    assert each % 2 == 0
    assert LEAST <= each <= MOST
    assert each * blocks <= POINTS or each == LEAST
