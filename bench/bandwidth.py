"""Read bandwidth of the memory, as a child of its own: ``python -m bench.bandwidth``.

The kernel is numpy's ``bitwise_or.reduce`` over 64-bit integers: it only reads, with
vector instructions, and does next to nothing with what it read. Every thread goes
through its own part of one array that is larger than the caches.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

LEAST_BYTES = 256 * 10**6
MOST_BYTES = 1024 * 10**6
_TIMES_CACHE = 2
_FREE_SHARE = 0.25
_LEAST_PASSES = 3
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print bytes a second, the best of several passes."""
    parser = argparse.ArgumentParser("python -m bench.bandwidth", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--bytes", type=int, default=LEAST_BYTES, metavar="N")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S")
    options = parser.parse_args(arguments)
    print(read_bandwidth(options.threads, options.bytes, options.seconds, time.perf_counter))
    return 0


def array_bytes(available_bytes: int | None, caches: Path = _CACHES) -> int:
    """How large the array has to be: twice the last cache, within bounds and what is free."""
    wanted = min(max(_TIMES_CACHE * last_cache_bytes(caches), LEAST_BYTES), MOST_BYTES)
    return wanted if available_bytes is None else min(wanted, int(_FREE_SHARE * available_bytes))


def last_cache_bytes(caches: Path = _CACHES) -> int:
    """The largest cache of the first CPU as the kernel tells it; 0 where it doesn't."""
    sizes = [file.read_text().strip() for file in caches.glob("index*/size")]
    return max(
        (int(text[:-1]) * _UNITS[text[-1]] for text in sizes if text[-1:] in _UNITS), default=0
    )


def read_bandwidth(
    threads: int, size_bytes: int, seconds: float, clock: Callable[[], float]
) -> float:
    """Bytes a second: the fastest of the passes within ``seconds``, at least three."""
    # Written once, so that no page is the kernel's page of zeros.
    parts = [np.ones(max(size_bytes // 8 // threads, 1), np.uint64) for _ in range(threads)]
    total = sum(part.nbytes for part in parts)
    fastest, begun, passes = float("inf"), clock(), 0
    with ThreadPoolExecutor(threads) as pool:
        while passes < _LEAST_PASSES or clock() - begun < seconds:
            started = clock()
            list(pool.map(np.bitwise_or.reduce, parts))
            fastest = min(fastest, clock() - started)
            passes += 1
    return total / fastest


if __name__ == "__main__":
    sys.exit(main())
