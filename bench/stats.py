"""Percentiles, intervals and ratios: each rule written once.

Pure functions over numpy and ``scipy.special``. The rules are those of
METHOD.md: nearest-rank percentiles, distribution-free intervals from order
statistics, Student's t over blocks (Hyndman & Fan 1996, type 1; David &
Nagaraja, *Order Statistics*, 7.1). The measuring child never imports this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, stdtrit

CONFIDENCE = 0.95
_TAIL = Fraction(1, 40)
"""What may lie outside a two-sided 95 % interval, on either side."""
LEAST_BLOCKS = 3

Samples = Sequence[float] | npt.NDArray[np.integer] | npt.NDArray[np.floating]
Share = float | Fraction
"""A share between 0 and 1. A float is read as the decimal it prints as."""


@dataclass(frozen=True)
class Estimate:
    """A number with its two-sided 95 % interval; ``None`` where there is none."""

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


def t_interval(
    values: Sequence[float], confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Student's t interval of the mean of ``values``; ``None`` for fewer than three.

    Two blocks would give a factor of 12.7 on one difference: not an interval
    that anybody should print.
    """
    if len(values) < LEAST_BLOCKS:
        return None
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    factor = float(stdtrit(len(values) - 1, (1 + confidence) / 2))
    half = factor * math.sqrt(variance / len(values))
    return mean - half, mean + half


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
    numerators: Mapping[int, float], denominators: Mapping[int, float]
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
