"""The rules of METHOD.md, against exact arithmetic and against simulated truth."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import stats

SHARES = st.integers(1, 999).map(lambda thousandths: Fraction(thousandths, 1000))
SAMPLES = st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=60)


def at_most(k: int, n: int, p: Fraction) -> Fraction:
    """The exact chance of at most ``k`` successes in ``n`` trials."""
    terms = (math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))
    return sum(terms, start=Fraction(0))


@given(SAMPLES, SHARES)
def test_percentile_is_the_smallest_sample_with_enough_at_or_below_it(samples, p) -> None:
    """Nearest rank, word for word, counted the slow way."""
    reached = [x for x in samples if sum(y <= x for y in samples) >= p * len(samples)]
    assert stats.percentile(samples, p) == min(reached)


@given(st.integers(1, 40), st.integers(1, 99))
def test_percentile_does_not_stumble_over_binary_fractions(tens, hundredths) -> None:
    """With 100 k samples p/100 falls on a rank exactly; 0.29 * 100 is 28.999999999999996."""
    samples = range(1, 100 * tens + 1)
    assert stats.percentile(samples, hundredths / 100) == hundredths * tens


def test_percentiles_of_known_samples() -> None:
    """The textbook example of the nearest-rank method."""
    assert [stats.percentile([50, 15, 40, 35, 20], p) for p in (0.05, 0.3, 0.4, 0.5, 0.999)] == [
        15,
        20,
        20,
        35,
        50,
    ]


@pytest.mark.parametrize("p", [0, 1, 95, -0.1])
def test_a_share_outside_of_0_and_1_is_refused(p) -> None:
    """95 for p95 is a mistake that must not pass as a percentile."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        stats.percentile([1.0], p)


def test_no_samples_have_no_percentile() -> None:
    """An empty block is an error, not a zero."""
    with pytest.raises(ValueError, match="no samples"):
        stats.percentile([], 0.5)


@pytest.mark.parametrize(("p", "least"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368)])
def test_least_samples_are_those_of_the_method(p, least) -> None:
    """p^n <= 0.025 is first true at the numbers that METHOD.md names."""
    assert stats.least_samples(p) == least
    assert stats.supported(p, least)
    assert not stats.supported(p, least - 1)


@given(SHARES)
def test_least_samples_hold_exactly(p) -> None:
    """The last number that fails and the first that holds, in exact arithmetic."""
    least, heavier = stats.least_samples(p), max(p, 1 - p)
    assert heavier**least <= Fraction(1, 40)
    assert least == 1 or heavier ** (least - 1) > Fraction(1, 40)


@given(st.integers(1, 120), SHARES)
def test_ranks_are_the_tightest_that_the_binomial_allows(n, p) -> None:
    """Each side errs with at most 2.5 %, and one rank further in would err with more."""
    ranks = stats.order_statistic_ranks(n, p)
    assert (ranks is not None) == stats.supported(p, n)
    if ranks is None:
        return
    low, high = ranks
    tail = Fraction(1, 40)
    assert 1 <= low <= high <= n
    assert at_most(low - 1, n, p) <= tail < at_most(low, n, p)
    assert 1 - at_most(high - 1, n, p) <= tail < 1 - at_most(high - 2, n, p)


def log_normal(rng: np.random.Generator, n: int):
    """Skewed to the right, as latencies are."""
    return np.exp(rng.normal(0, 0.3, n))


def bimodal(rng: np.random.Generator, n: int):
    """One inference in five is disturbed and takes about twice as long."""
    return np.where(rng.random(n) < 0.2, rng.normal(2, 0.05, n), rng.normal(1, 0.05, n))


@pytest.mark.parametrize("draw", [log_normal, bimodal])
@pytest.mark.parametrize(("p", "n"), [(0.5, 60), (0.9, 150), (0.95, 150), (0.99, 600)])
def test_order_statistic_interval_covers_whatever_the_distribution(draw, p, n) -> None:
    """At least 95 % of intervals hold the true percentile (less chance: 1,500 draws)."""
    rng = np.random.default_rng(7)
    truth = np.quantile(draw(rng, 1_000_000), p)
    hits = 0
    for _ in range(1500):
        interval = stats.order_statistic_interval(draw(rng, n), p)
        assert interval is not None
        hits += interval[0] <= truth <= interval[1]
    assert 0.935 <= hits / 1500 <= 0.99


@pytest.mark.parametrize("blocks", [3, 5, 10])
def test_block_interval_covers_block_effects(blocks) -> None:
    """Blocks that differ by a log-normal effect: 93.5 to 96.5 % of intervals hold the truth."""
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(2000):
        estimate = stats.geometric_estimate(list(50 * np.exp(rng.normal(0, 0.02, blocks))))
        hits += not estimate.excludes(50)
    assert 0.935 <= hits / 2000 <= 0.965


def test_ratio_interval_covers_under_a_drift_that_pairing_takes_out() -> None:
    """The machine slows by 10 % a round for both: the ratio's interval does not widen."""
    rng = np.random.default_rng(13)
    hits, widths = 0, []
    for _ in range(1000):
        drift = {i: 1.1**i for i in range(4)}
        base = {i: 252 * drift[i] * math.exp(rng.normal(0, 0.01)) for i in drift}
        head = {i: 63 * drift[i] * math.exp(rng.normal(0, 0.01)) for i in drift}
        estimate = stats.ratio_interval(base, head)
        assert estimate is not None
        assert estimate.half_width is not None
        widths.append(estimate.half_width / estimate.value)
        hits += not estimate.excludes(4)
    assert 0.93 <= hits / 1000 <= 0.97
    assert float(np.median(widths)) < 0.04


def test_t_interval_of_known_values() -> None:
    """1, 2, 3: mean 2, standard error 1/sqrt(3), t(0.975; 2) = 4.302653."""
    interval = stats.t_interval([1, 2, 3])
    assert interval == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0]])
def test_fewer_than_three_blocks_have_no_interval(values) -> None:
    """Two blocks are no evidence of a spread."""
    assert stats.t_interval(values) is None


@given(st.lists(st.floats(1e-7, 1e3), min_size=3, max_size=9))
def test_swapping_numerator_and_denominator_inverts_the_ratio(values) -> None:
    """On logarithms "x times faster" and "x times slower" say the same."""
    ours, ones = dict(enumerate(values)), dict.fromkeys(range(len(values)), 1.0)
    ahead, back = stats.ratio_interval(ours, ones), stats.ratio_interval(ones, ours)
    assert ahead is not None
    assert back is not None
    assert ahead.value == pytest.approx(1 / back.value)
    assert ahead.low == pytest.approx(1 / back.high)  # type: ignore[operator]


def test_ratio_pairs_by_round_only() -> None:
    """A round that one side lacks is left out; without a shared one there is no ratio."""
    assert stats.ratio_interval({0: 8.0, 2: 8.0}, {1: 1.0, 2: 2.0}) == stats.Estimate(4.0)
    assert stats.ratio_interval({0: 8.0}, {1: 1.0}) is None


def test_a_value_without_interval_excludes_nothing() -> None:
    """What was not measured often enough distinguishes nothing."""
    assert not stats.Estimate(3.7).excludes(1)
    assert stats.Estimate(3.7, 3.6, 3.8).excludes(1)
    assert not stats.Estimate(1.01, 0.99, 1.03).excludes(1)


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [1.0, -2.0]])
def test_a_geometric_mean_needs_positive_values(values) -> None:
    """A latency of zero is a broken measurement, not a logarithm of minus infinity."""
    with pytest.raises(ValueError, match="positive"):
        stats.geometric_estimate(values)


@pytest.mark.parametrize(
    ("p", "over", "least"), [(0.9, 1, 64), (0.99, 1, 662), (0.9, 0, 44), (0.99, 0, 459)]
)
def test_least_queries_are_mlperfs(p, over, least) -> None:
    """LoadGen's 64 and 662 at 99 % confidence with one query over the bound; with none fewer."""
    assert stats.least_queries(p, over) == least


@given(
    st.sampled_from([Fraction(9, 10), Fraction(19, 20), Fraction(99, 100)]),
    st.integers(0, 12),
    st.sampled_from([Fraction(95, 100), Fraction(99, 100)]),
)
def test_least_queries_hold_exactly(p, over, confidence) -> None:
    """In exact arithmetic so many queries suffice, and one fewer does not."""

    def chance(queries: int) -> Fraction:
        """That at most ``over`` of them lie above the percentile."""
        terms = (math.comb(queries, k) * (1 - p) ** k * p ** (queries - k) for k in range(over + 1))
        return sum(terms, start=Fraction(0))

    least = stats.least_queries(p, over, float(confidence))
    assert chance(least) <= 1 - confidence < chance(least - 1)
