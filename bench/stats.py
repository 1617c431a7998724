"""Percentiles, intervals, ratios and what may be claimed of them: each rule written once.

Pure functions over numpy and ``scipy.special``. The rules are those of
METHOD.md: nearest-rank percentiles, distribution-free intervals from order
statistics, Student's t over blocks (Hyndman & Fan 1996, type 1; David &
Nagaraja, *Order Statistics*, 7.1), Welch's where blocks are not paired, two
one-sided tests for equivalence (Schuirmann 1987), Holm's step-down over several
rows (Holm 1979). The measuring child never imports this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, stdtr, stdtrit

CONFIDENCE = 0.95
FAMILY_ERROR = 0.05
"""How often, at most, any of the claims made together may be wrong."""
_TAIL = Fraction(1, 40)
"""What may lie outside a two-sided 95 % interval, on either side."""
LEAST_BLOCKS = 3

Samples = Sequence[float] | npt.NDArray[np.integer] | npt.NDArray[np.floating]
Share = float | Fraction
Pairing = TypeVar("Pairing", int, tuple[int, str])
"""What tells blocks apart of which two of the same are a pair: the round, and where it was."""
"""A share between 0 and 1. A float is read as the decimal it prints as."""


@dataclass(frozen=True)
class Estimate:
    """A number with its two-sided interval, of 95 % unless said otherwise; ``None``: without."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def half_width(self) -> float | None:
        """Half the length of the interval, in the unit of the value."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2

    def excludes(self, value: float) -> bool:
        """Whether there is an interval and ``value`` lies outside of it."""
        if self.low is None or self.high is None:
            return False
        return not self.low <= value <= self.high


def _exact(p: Share) -> Fraction:
    """``p`` as it is written: 0.95 is 19/20, not the nearest binary fraction."""
    share = p if isinstance(p, Fraction) else Fraction(str(p))
    if not 0 < share < 1:
        raise ValueError(f"p must lie between 0 and 1 (0.95 for p95), not {p}")
    return share


def percentile(samples: Samples, p: Share) -> float:
    """The smallest sample with at least ``p`` of the samples at or below it.

    Nearest rank: the answer is always one of the samples. ``samples`` is a
    flat sequence in any order. Raises ``ValueError`` for an empty one.
    """
    ordered = np.sort(np.asarray(samples))
    if ordered.size == 0:
        raise ValueError("no percentile of no samples")
    rank = math.ceil(_exact(p) * ordered.size)
    return float(ordered[rank - 1])


@lru_cache
def least_samples(p: Share) -> int:
    """How many samples a 95 % interval of the ``p`` percentile takes at least.

    The interval from the smallest to the largest sample misses the percentile
    above with probability p^n and below with (1 - p)^n; neither may exceed
    0.025. p50 6, p90 36, p95 72, p99 368.
    """
    heavier = max(_exact(p), 1 - _exact(p))
    count = max(1, math.floor(math.log(_TAIL) / math.log(heavier)))
    # Logarithms only bring us near: the boundary itself is decided exactly.
    while heavier**count > _TAIL:
        count += 1
    return count


def supported(p: Share, n: int) -> bool:
    """Whether ``n`` samples can say anything about the ``p`` percentile."""
    return n >= least_samples(p)


@lru_cache
def least_queries(p: Share, over: int = 1, confidence: float = 0.99) -> int:
    """How many queries, ``over`` of them above a bound, show that the percentile is below it.

    MLPerf's early stopping: the fewest n of which at most ``over`` would lie
    above the ``p`` percentile by chance with probability 1 - ``confidence`` at
    most. With one over the bound, p90 64, p99 662; with none, p99 459.
    """
    above = float(1 - _exact(p))
    low, high = over, 2 * over + 2  # low is never enough: all of them would lie above
    while bdtr(over, high, above) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if bdtr(over, middle, above) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def order_statistic_ranks(n: int, p: Share) -> tuple[int, int] | None:
    """Ranks (from 1) between which the ``p`` percentile lies with 95 % confidence.

    Each side errs with at most 2.5 %, whatever the distribution; ``None``
    where ``n`` samples do not reach that far.
    """
    if not supported(p, n):
        return None
    # at_most[k]: the chance that no more than k of n samples lie below the percentile.
    at_most = bdtr(np.arange(n + 1), n, float(_exact(p)))
    low = int(np.searchsorted(at_most, float(_TAIL), side="right"))
    high = int(np.searchsorted(at_most, 1 - float(_TAIL), side="left")) + 1
    return low, high


def order_statistic_interval(samples: Samples, p: Share) -> tuple[float, float] | None:
    """Distribution-free 95 % interval of the ``p`` percentile: two of the samples.

    For independent samples. ``None`` where there are too few of them.
    """
    ordered = np.sort(np.asarray(samples))
    ranks = order_statistic_ranks(ordered.size, p)
    if ranks is None:
        return None
    low, high = ranks
    return float(ordered[low - 1]), float(ordered[high - 1])


@dataclass(frozen=True)
class Spread:
    """A mean, or a difference of two: its value, standard error and degrees of freedom."""

    value: float
    error: float
    freedom: float

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Student's t interval, two-sided."""
        half = float(stdtrit(self.freedom, (1 + confidence) / 2)) * self.error
        return self.value - half, self.value + half

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the claim that the true value lies above ``bound``."""
        distance = self.value - bound
        if self.error == 0:
            return 0.0 if distance > 0 else 1.0
        return float(stdtr(self.freedom, -distance / self.error))

    def p_below(self, bound: float) -> float:
        """The same for below."""
        return Spread(-self.value, self.error, self.freedom).p_above(-bound)


def _mean(values: Sequence[float]) -> Spread | None:
    """The mean of ``values``; ``None`` for fewer than three."""
    if len(values) < LEAST_BLOCKS:
        return None
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return Spread(mean, math.sqrt(variance / len(values)), len(values) - 1)


def t_interval(
    values: Sequence[float], confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Student's t interval of the mean of ``values``; ``None`` for fewer than three.

    Two blocks would give a factor of 12.7 on one difference: not an interval
    that anybody should print.
    """
    found = _mean(values)
    return None if found is None else found.interval(confidence)


def most_by_chance(n: int, share: float, tail: float = float(_TAIL)) -> int:
    """The least count of ``n`` that events of chance ``share`` exceed with at most ``tail``.

    Of 200 true 95 % intervals 16 may miss: more than that happens once in forty times.
    """
    exceeded = 1 - bdtr(np.arange(n + 1), n, share)
    return int(np.argmax(exceeded <= tail))


def geometric_estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Geometric mean of positive ``values`` with its t interval over logarithms.

    Raises ``ValueError`` for no values, or for one that is not positive.
    """
    if not values or min(values) <= 0:
        raise ValueError(f"a geometric mean needs positive values, not {list(values)}")
    logarithms = [math.log(value) for value in values]
    value = math.exp(math.fsum(logarithms) / len(logarithms))
    interval = t_interval(logarithms, confidence)
    if interval is None:
        return Estimate(value)
    return Estimate(value, math.exp(interval[0]), math.exp(interval[1]))


def ratio_interval(
    numerators: Mapping[Pairing, float], denominators: Mapping[Pairing, float]
) -> Estimate | None:
    """Geometric mean of the ratios, paired by round, with its t interval.

    Both map a round to that block's estimate (its median, say). A round that
    only one of them has is left out; ``None`` where they share none. Pairing
    takes out what the whole machine did in that round.
    """
    rounds = sorted(numerators.keys() & denominators.keys())
    if not rounds:
        return None
    return geometric_estimate([numerators[i] / denominators[i] for i in rounds])


def told_apart(again: Estimate | None) -> float | None:
    """The smallest ratio that could have been told from 1; ``None`` where that is unknown.

    ``again`` is the ratio of an A/A pair: two measurements of the same. The far end of its
    interval, up or down: by so much they may differ.
    """
    if again is None or again.low is None or again.high is None:
        return None
    return max(again.high, 1 / again.low)


# --- comparing two sets of blocks

Position = Literal["above", "below", "within"]
"""Where a ratio lies: above 1 + margin, below 1 / (1 + margin), or between the two."""


def paired_log_ratio(
    numerators: Mapping[Pairing, float], denominators: Mapping[Pairing, float]
) -> Spread | None:
    """Logarithm of the ratio over the rounds that both have; ``None`` for fewer than three.

    Both map a round to that block's estimate. Raises ``ValueError`` for one that
    is not positive.
    """
    rounds = sorted(numerators.keys() & denominators.keys())
    above = _logarithms([numerators[i] for i in rounds])
    below = _logarithms([denominators[i] for i in rounds])
    return _mean([a - b for a, b in zip(above, below, strict=True)])


def unpaired_log_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread | None:
    """Logarithm of the ratio of two independent sets of blocks, by Welch's approximation.

    Their variances may differ (Welch 1947). ``None`` for fewer than three on
    either side; raises ``ValueError`` for an estimate that is not positive.
    """
    above, below = _mean(_logarithms(numerators)), _mean(_logarithms(denominators))
    if above is None or below is None:
        return None
    first, second = above.error**2, below.error**2
    # Where neither varies the formula is 0/0; then the interval is a point whatever it says.
    weight = first**2 / above.freedom + second**2 / below.freedom
    freedom = (first + second) ** 2 / weight if weight else above.freedom + below.freedom
    return Spread(above.value - below.value, math.sqrt(first + second), freedom)


def _logarithms(values: Sequence[float]) -> list[float]:
    if any(value <= 0 for value in values):
        raise ValueError(f"a ratio needs positive values, not {list(values)}")
    return [math.log(value) for value in values]


def ratio_estimate(log_ratio: Spread, confidence: float = CONFIDENCE) -> Estimate:
    """The ratio itself with its interval."""
    low, high = log_ratio.interval(confidence)
    return Estimate(math.exp(log_ratio.value), math.exp(low), math.exp(high))


def position(ratio: Estimate, margin: float) -> Position | None:
    """Where the whole interval of ``ratio`` lies; ``None`` if across a bound, or absent."""
    if ratio.low is None or ratio.high is None:
        return None
    if ratio.low > 1 + margin:
        return "above"
    if ratio.high < 1 / (1 + margin):
        return "below"
    return "within" if ratio.low > 1 / (1 + margin) and ratio.high < 1 + margin else None


def position_p_value(log_ratio: Spread, margin: float) -> float:
    """The level from which on ``position`` is told, of the two-sided interval.

    Each claim is tested with half the level: above and below by one test each,
    within by two one-sided ones. Of the three the best counts.
    """
    bound = math.log1p(margin)
    within = max(log_ratio.p_above(-bound), log_ratio.p_below(bound))
    return min(1.0, 2 * min(log_ratio.p_above(bound), log_ratio.p_below(-bound), within))


def holm_levels(p_values: Sequence[float], alpha: float = FAMILY_ERROR) -> tuple[float, ...]:
    """The level at which each of several tests is decided, so that all together err with ``alpha``.

    In the order of ``p_values``. A test is positive where its p-value is at most
    its level: the smallest p-value has ``alpha / n``, the next ``alpha / (n - 1)``,
    and so on; from the first that is above it, all others share its level.
    """
    count = len(p_values)
    levels = [alpha] * count
    level, passing = alpha, True
    for place, test in enumerate(sorted(range(count), key=p_values.__getitem__)):
        level = alpha / (count - place) if passing else level
        levels[test] = level
        passing = passing and p_values[test] <= level
    return tuple(levels)
