"""Several models at once: what running in parallel does to the latency of each.

They begin when the last of them has warmed up, and each goes on until the slowest has run its
least number: what is kept of a model was measured while all the others ran.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bench.dashboard import measuring
from bench.dashboard.measuring import Stopped, Unusable
from bench.dashboard.models import Model
from bench.dashboard.pool import Pool, Warm
from bench.dashboard.rounds import FAILURES
from bench.dashboard.runs import Run

LEAST = 3
"""Inferences of each model."""
FIRST_S, MORE_S = 2.0, 0.5
"""So long a model is timed at first, and again and again until the slowest has run enough."""

Latencies = tuple[int, ...]
"""Nanoseconds."""
Said = TypeVar("Said")


class Together:
    """How many models have still to run their least number; any thread may tell and ask."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._lock = threading.Lock()

    def one_less(self) -> None:
        """For a model that has run enough, or failed: nobody waits for it."""
        with self._lock:
            self._left -= 1

    @property
    def over(self) -> bool:
        """Whether nobody has to go on for another's sake."""
        with self._lock:
            return self._left <= 0


def at_once(pool: Pool, run: Run, models: Sequence[Model]) -> dict[str, Latencies | Exception]:
    """The latencies of each model while all the others that have some ran, or why it has none."""
    taken: dict[str, Warm] = {}
    found: dict[str, Latencies | Exception] = {}
    try:
        for model in models:
            try:
                taken[model.name] = pool.take(model)
            except FAILURES as exc:
                found[model.name] = exc
        warmed = _each(taken, lambda one: _warmed(one, run))
        found |= {name: said for name, said in warmed.items() if said is not None}
        going = {name: one for name, one in taken.items() if name not in found}
        together = Together(len(going))
        found |= _each(going, lambda one: timed(one, together, lambda: run.wanted))
    finally:
        for name, one in taken.items():
            if _well(found.get(name)):
                pool.give(one)
            else:
                pool.discard(one)
    return found


def timed(warm: Warm, together: Together, wanted: Callable[[], bool]) -> Latencies:
    """One model's latencies until all have run enough; what ended later is left out.

    Raises :class:`Stopped` where ``wanted`` says no between two questions.
    """
    try:
        kept = _timed(warm, FIRST_S, LEAST, wanted)
    finally:
        together.one_less()
    while not together.over:
        more = _timed(warm, MORE_S, 1, wanted)
        if not together.over:
            kept += more
    return kept


def _timed(warm: Warm, seconds: float, least: int, wanted: Callable[[], bool]) -> Latencies:
    if not wanted():
        raise Stopped
    return tuple(measuring.inferred(warm, least, seconds)["latencies_ns"])


def _warmed(warm: Warm, run: Run) -> None:
    measuring.answer(warm, run.picture)
    if not run.wanted:
        raise Stopped
    measuring.warmed(warm)


def _each(models: Mapping[str, Warm], step: Callable[[Warm], Said]) -> dict[str, Said | Exception]:
    """What becomes of each, each in a thread that waits for its child; back when all are."""

    def tried(one: Warm) -> Said | Exception:
        try:
            return step(one)
        except Exception as exc:  # whatever it is, it is this model's: its card tells it
            return exc

    with ThreadPoolExecutor(max(1, len(models))) as threads:
        return dict(zip(models, threads.map(tried, models.values()), strict=True))


def _well(said: Latencies | Exception | None) -> bool:
    """Whether a child can be asked again: of any other exception an answer may still come."""
    return isinstance(said, (tuple, Stopped, Unusable))
