"""Raw latencies -> as many numbers as a picture can show: pure functions.

Every figure in a table is over all inferences; only what is drawn is thinned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench import stats

POINTS = 40_000
"""So many are drawn in a whole page at most, as long as each block has ``LEAST``."""
LEAST, MOST = 40, 400
"""Of a block."""
SHARES = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
    *(0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995),
)
"""Of the inferences, at which a distribution is drawn; its two ends besides."""
_DIGITS = 4


def points_of_a_block(blocks: int) -> int:
    """How many latencies of each of ``blocks`` blocks are drawn at most: an even number."""
    return max(LEAST, min(MOST, POINTS // max(1, blocks))) // 2 * 2


def thinned(latencies_ns: Sequence[int], points: int) -> tuple[float, ...]:
    """Latencies in ms, in their order: all, or of each stretch its fastest and its slowest.

    There are ``points`` / 2 stretches, so that no outlier is lost: taking each tenth
    would lose nine of ten.
    """
    if len(latencies_ns) <= points:
        return tuple(map(milliseconds, latencies_ns))
    found: list[int] = []
    for stretch in np.array_split(np.asarray(latencies_ns), points // 2):
        ends = sorted((int(np.argmin(stretch)), int(np.argmax(stretch))))
        found += [int(stretch[place]) for place in ends]
    return tuple(map(milliseconds, found))


def distribution(latencies_ns: Sequence[int]) -> tuple[float, ...]:
    """The fastest, the percentile of each of ``SHARES`` by nearest rank, the slowest, in ms."""
    middle = (stats.percentile(latencies_ns, share) for share in SHARES)
    return tuple(map(milliseconds, (min(latencies_ns), *middle, max(latencies_ns))))


def milliseconds(nanoseconds: float) -> float:
    """With four digits, which no screen shows more of."""
    return float(f"{nanoseconds / 1e6:.{_DIGITS}g}")
