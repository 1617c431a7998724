"""Two rows on the same images, of which some turned: what that proves.

The exact test of McNemar (Psychometrika 12, 1947, 153-157) over the images that only one of
the two has right, and the score interval of the difference of two paired proportions by Tango
(Statistics in Medicine 17, 1998, 891-908). Pure functions of counts: records, which keep such
counts, may use it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from scipy.special import bdtr, ndtri

from bench.stats import CONFIDENCE, FAMILY_ERROR, Estimate

POWER = 0.8
"""How likely a drop must be to be seen before we say that it could have been."""
_NEGLIGIBLE_SD = 9
"""Standard deviations beyond which a binomial count is left out of a sum."""
_DROP_STEPS = 24
"""Halvings in the search for the smallest drop: to a ten-thousandth of a point."""


@dataclass(frozen=True)
class Turned:
    """How many of the same images a row and its parent differ in.

    ``lost`` are those that the parent has right and the row wrong, ``won`` the other way
    round.
    """

    images: int
    lost: int
    won: int

    @property
    def difference(self) -> Estimate:
        """Accuracy of the row less that of its parent, with Tango's score interval."""
        return Estimate(
            (self.won - self.lost) / self.images,
            *paired_interval(self.won, self.lost, self.images),
        )

    @property
    def p_value(self) -> float:
        """Of McNemar's exact test, two-sided."""
        return mcnemar(self.lost, self.won)

    @property
    def visible_drop(self) -> float | None:
        """The smallest drop that these images could have shown; see ``visible_drop``."""
        return visible_drop(self.images, self.lost + self.won)


def mcnemar(lost: int, won: int) -> float:
    """Two-sided p-value of McNemar's exact test: of ``lost + won`` fair tosses.

    Equals ``scipy.stats.binomtest(lost, lost + won, 0.5)``.
    """
    return min(1.0, 2 * float(bdtr(min(lost, won), lost + won, 0.5)))


def paired_interval(
    won: int, lost: int, images: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Interval of ``(won - lost) / images`` (Tango 1998): all differences that a score test keeps.

    It needs no correction where nothing, or everything, was lost; among the intervals
    for paired proportions it is one of the two that Fagerland, Lydersen and Laake
    recommend (Statistics in Medicine 33, 2014, 2850-2875).
    """
    critical = float(ndtri((1 + confidence) / 2))
    value = (won - lost) / images
    high = _end(lambda far: _score(won, lost, images, far) > -critical, value, 1.0)
    low = _end(lambda far: _score(won, lost, images, far) < critical, value, -1.0)
    return low, high


def _end(kept: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where ``kept`` ends between ``inside`` and ``outside``; ``outside`` if it does not."""
    if kept(outside):
        return outside
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if kept(middle) else (inside, middle)
    return inside


def _score(won: int, lost: int, images: int, difference: float) -> float:
    """Tango's statistic for the true difference: standard normal if that is it."""
    a = 2 * images
    b = (2 * images - won + lost) * difference - won - lost
    c = -lost * difference * (1 - difference)
    # The likeliest share of lost images under that difference.
    share = max(0.0, (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a))
    variance = images * (2 * share + difference * (1 - difference))
    distance = won - lost - images * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


@lru_cache
def visible_drop(
    images: int, discordant: int, power: float = POWER, level: float = FAMILY_ERROR
) -> float | None:
    """The smallest true drop of accuracy (a share) that such a comparison would likely have shown.

    Shown: McNemar's exact test is two-sided significant at ``level`` and points
    downwards; likely: with probability ``power`` at least. An image is told apart (right
    in one of the two only) with the share ``discordant / images`` that was seen, or with
    that of the drop itself where this is larger, so that all of them are losses. Exact:
    the conditional power summed over the binomial number of such images (Duffy,
    Biometrics 40, 1984, 1005-1015). ``None``: not even the loss of every image would.
    """
    seen = discordant / images
    if _power(images, seen, 1.0, level) < power:
        return None
    low, high = 0.0, 1.0
    for _ in range(_DROP_STEPS):
        middle = (low + high) / 2
        low, high = (
            (low, middle) if _power(images, seen, middle, level) >= power else (middle, high)
        )
    return high


def _power(images: int, seen: float, drop: float, level: float) -> float:
    """How likely a drop is shown where at least the share ``seen`` is told apart."""
    share = max(seen, drop)
    if share == 0:
        return 0.0
    spread = _NEGLIGIBLE_SD * math.sqrt(images * share * (1 - share)) + _NEGLIGIBLE_SD
    first = max(0, math.floor(images * share - spread))
    told_apart = np.arange(first, min(images, math.ceil(images * share + spread)) + 1)
    chance = bdtr(told_apart, images, share)
    chance[1:] -= chance[:-1].copy()
    most_won = np.array([_most_won(int(count), level) for count in told_apart])
    shown = bdtr(np.maximum(most_won, 0), told_apart, (share - drop) / (2 * share))
    return float(np.sum(chance * np.where(most_won < 0, 0.0, shown)))


@cache
def _most_won(told_apart: int, level: float) -> int:
    """How many of the images told apart may be won for a significant loss; -1: none may."""
    low, high = -1, told_apart // 2
    while low < high:
        middle = (low + high + 1) // 2
        if mcnemar(told_apart - middle, middle) <= level:
            low = middle
        else:
            high = middle - 1
    return low
