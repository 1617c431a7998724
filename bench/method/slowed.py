"""A measuring child whose model is slower by a known share: the truth that experiments know.

``python -m bench.method.slowed SHARE PER_S SINCE_S DESCRIPTOR BYTES`` serves as
``bench.worker`` does, and spins after each inference for a share of what that inference
took: a ratio to the same model without it is one plus that share, whatever else the
machine does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from bench import worker
from runtimes import Array, Loaded

Clock = Callable[[], int]
"""Nanoseconds on a scale that all processes of the machine share."""


@dataclass(frozen=True)
class Slowdown:
    """``share`` 0.05: slower by 5 %; by ``per_s`` more with each second since ``since_s``,
    on the system's monotonic clock."""

    share: float = 0.0
    per_s: float = 0.0
    since_s: float = 0.0

    @property
    def worker(self) -> tuple[str, ...]:
        """The module that serves a child so, with its words."""
        return ("bench.method.slowed", *map(repr, (self.share, self.per_s, self.since_s)))

    def at(self, now_s: float) -> float:
        """The share at a time on the monotonic clock."""
        return self.share + self.per_s * (now_s - self.since_s)


def slowed(loaded: Loaded, slowdown: Slowdown, clock: Clock) -> Loaded:
    """``loaded``, with a spin after each inference."""
    run = loaded.run

    def slower(images: Array) -> Array:
        begun = clock()
        answer = run(images)
        done = clock()
        end = done + int((done - begun) * slowdown.at(done / 1e9))
        while clock() < end:
            pass
        return answer

    return replace(loaded, run=slower)


def main() -> None:
    """Serve like ``bench.worker``, slower."""
    slowdown = Slowdown(*map(float, sys.argv[1:4]))
    worker.main(lambda loaded: slowed(loaded, slowdown, time.monotonic_ns))


if __name__ == "__main__":
    main()
