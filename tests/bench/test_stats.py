"""The rules of METHOD.md, against exact arithmetic and against simulated truth."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
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


@pytest.mark.parametrize(
    ("again", "least"),
    [
        (stats.Estimate(1.0, 0.9, 1.05), 1 / 0.9),
        (stats.Estimate(1.0, 0.99, 1.25), 1.25),
        (stats.Estimate(0.8, 0.7, 0.9), 1 / 0.7),  # it came out different from itself
        (stats.Estimate(1.1), None),
        (None, None),
    ],
)
def test_the_smallest_difference_is_the_far_end_of_an_aa_pair(again, least) -> None:
    """Up or down, whichever is farther; unknown without an interval."""
    assert stats.told_apart(again) == least


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


# --- comparing two sets of blocks

POSITIVE = st.lists(st.floats(0.1, 10), min_size=3, max_size=12)
PAIRS = st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=3, max_size=12)
LEVELS = st.floats(0.5, 0.999)


def varied(*lists: list[float]) -> bool:
    """Whether scipy can divide by what these spread."""
    return all(max(values) - min(values) > 1e-3 for values in lists)


@given(POSITIVE, POSITIVE, LEVELS)
def test_an_unpaired_ratio_is_welchs(above, below, confidence) -> None:
    """Interval and p-values as scipy has them, over logarithms."""
    if not varied(above, below):
        return
    found = stats.unpaired_log_ratio(above, below)
    assert found is not None
    logs = np.log(above), np.log(below)
    told = scipy.stats.ttest_ind(*logs, equal_var=False).confidence_interval(confidence)
    assert found.interval(confidence) == pytest.approx((told.low, told.high), rel=1e-6, abs=1e-9)
    greater = scipy.stats.ttest_ind(*logs, equal_var=False, alternative="greater").pvalue
    assert found.p_above(0) == pytest.approx(greater, rel=1e-6, abs=1e-12)
    assert found.p_below(0) == pytest.approx(1 - greater, rel=1e-6, abs=1e-12)


@given(PAIRS, LEVELS)
def test_a_paired_ratio_is_a_t_test_of_the_differences(pairs, confidence) -> None:
    """Interval and p-values as scipy has them; a round that only one has is left out."""
    above, below = (list(side) for side in zip(*pairs, strict=True))
    differences = np.log(above) - np.log(below)
    if not varied(list(differences)):
        return
    found = stats.paired_log_ratio({**dict(enumerate(above)), 99: 1.0}, dict(enumerate(below)))
    assert found is not None
    test = scipy.stats.ttest_1samp(differences, 0)
    told = test.confidence_interval(confidence)
    assert found.interval(confidence) == pytest.approx((told.low, told.high), rel=1e-6, abs=1e-9)
    assert 2 * min(found.p_above(0), found.p_below(0)) == pytest.approx(test.pvalue, rel=1e-6)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_two_blocks_give_no_ratio(count) -> None:
    """On neither side, and not as pairs."""
    few, enough = [1.0] * count, [1.0, 2.0, 3.0]
    assert stats.unpaired_log_ratio(few, enough) is None
    assert stats.unpaired_log_ratio(enough, few) is None
    assert stats.paired_log_ratio(dict(enumerate(few)), dict(enumerate(enough))) is None


def test_a_ratio_needs_positive_values() -> None:
    """A time of zero is an error, not a ratio of nothing."""
    with pytest.raises(ValueError, match="positive"):
        stats.unpaired_log_ratio([0.0, 1.0, 1.0], [1.0, 1.0, 1.0])


def test_blocks_without_spread_prove_what_they_show() -> None:
    """Equal blocks have a point for an interval; on a bound they prove nothing."""
    same = stats.unpaired_log_ratio([1.0] * 3, [1.0] * 3)
    assert same is not None
    assert (same.interval(), same.freedom) == ((0.0, 0.0), 4)
    assert stats.position_p_value(same, 0.02) == 0
    assert stats.position_p_value(same, 0.0) == 1


@given(PAIRS, st.floats(0, 0.5), st.floats(0.001, 0.3))
def test_the_p_value_is_the_level_from_which_on_the_interval_tells(pairs, margin, alpha) -> None:
    """Whatever is told by an interval has a p-value of at most its level, and only that."""
    above, below = ({i: pair[side] for i, pair in enumerate(pairs)} for side in (0, 1))
    found = stats.paired_log_ratio(above, below)
    assert found is not None
    p_value = stats.position_p_value(found, margin)
    told = stats.position(stats.ratio_estimate(found, 1 - alpha), margin) is not None
    if abs(p_value - alpha) > 1e-9:
        assert told == (p_value < alpha)


def test_equivalence_is_two_one_sided_tests() -> None:
    """Each with half the level, as scipy has them."""
    above, below = [1.0, 1.01, 0.99, 1.005], [1.0, 1.003, 0.998, 1.001]
    found = stats.unpaired_log_ratio(above, below)
    assert found is not None
    bound, logs = math.log(1.05), np.log(above)
    ones = [
        scipy.stats.ttest_ind(logs + shift, np.log(below), equal_var=False, alternative=side).pvalue
        for shift, side in ((bound, "greater"), (-bound, "less"))
    ]
    assert stats.position_p_value(found, 0.05) == pytest.approx(2 * max(ones))


def slow_holm(p_values: list[float], alpha: float) -> list[bool]:
    """Holm's procedure word for word: reject the smallest as long as it can be."""
    rejected = [False] * len(p_values)
    while not all(rejected):
        left = [i for i in range(len(p_values)) if not rejected[i]]
        smallest = min(left, key=p_values.__getitem__)
        if p_values[smallest] > alpha / len(left):
            break
        rejected[smallest] = True
    return rejected


@given(st.lists(st.floats(0, 0.1), min_size=1, max_size=8), st.floats(0.001, 0.2))
def test_holm_rejects_step_by_step(p_values, alpha) -> None:
    """A test is positive exactly where its p-value is at most its level."""
    levels = stats.holm_levels(p_values, alpha)
    assert [p <= level for p, level in zip(p_values, levels, strict=True)] == slow_holm(
        p_values, alpha
    )
    assert all(alpha / len(p_values) <= level <= alpha for level in levels)


def test_holm_of_known_p_values() -> None:
    """The example of his paper's procedure: two of four at 5 %; the rest share a level."""
    assert stats.holm_levels([0.01, 0.04, 0.03, 0.005]) == (0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4)
    assert stats.holm_levels([]) == ()


@pytest.mark.parametrize("truth", [0.0, math.log(1.02), -math.log(1.02)])
def test_all_rows_together_err_with_five_percent(truth) -> None:
    """At a bound, where errors are likeliest: of 400 families of eight rows, few have a wrong one.

    34 or more of 400 have a chance below 0.1 % where the true error is 5 %.
    """
    chance, wrong = np.random.default_rng(1), 0
    for _ in range(400):
        logs = chance.normal(truth, 0.01, size=(8, 5))
        rows = [stats.Spread(x.mean(), x.std(ddof=1) / math.sqrt(5), 4) for x in logs]
        levels = stats.holm_levels([stats.position_p_value(row, 0.02) for row in rows])
        told = [
            stats.position(stats.ratio_estimate(row, 1 - level), 0.02)
            for row, level in zip(rows, levels, strict=True)
        ]
        right = (None, "within") if truth == 0 else (None,)
        wrong += any(position not in right for position in told)
    assert wrong < 34


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
