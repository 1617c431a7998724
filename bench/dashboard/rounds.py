"""Pieces of work as a thread does them: one round of one model, or several models at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from bench import launch
from bench.dashboard import measuring
from bench.dashboard.measuring import ROUNDS, Stopped, Unusable
from bench.dashboard.models import Model
from bench.dashboard.pool import CannotLoad, NoRoom, Pool, Warm
from bench.dashboard.runs import Run
from bench.record import Measurement

LEAST_BESIDE = 3
FAILURES = (launch.ChildDied, CannotLoad, NoRoom, Unusable, OSError)
"""What can become of a model without anything being wrong with the page."""
_LOG_PLACE = re.compile(r" \(its output: [^)]*\)")


def measured(
    pool: Pool,
    run: Run,
    model: Model,
    number: int,
    answered: Callable[[Warm, measuring.Outputs], None],
) -> tuple[Measurement, str]:
    """A round's block, and how a child died on the way to it (empty: none did).

    ``answered`` is called with the outputs as soon as they are there. Raises ``Stopped`` and
    ``FAILURES``.
    """
    found: list[Measurement] = []

    def attempt(warm: Warm) -> None:
        answered(warm, measuring.answer(warm, run.picture))
        runs = measuring.runs_of_round(run.runs)
        block = measuring.timed(warm, number, runs, lambda: run.wanted)
        found.append(measuring.with_parity(warm, block) if number == 0 else block)

    died = measuring.lent(pool, model, attempt)
    return found[-1], died


def at_once(pool: Pool, run: Run, models: Sequence[Model]) -> dict[str, Measurement | Exception]:
    """All models timed at once, each in a thread that waits for its child."""
    warm: dict[str, Warm] = {}
    found: dict[str, Measurement | Exception] = {}
    for model in models:
        try:
            warm[model.name] = pool.take(model)
            measuring.answer(warm[model.name], run.picture)
        except FAILURES as exc:
            found[model.name] = exc
    ready = {name: one for name, one in warm.items() if name not in found}

    def timed(one: Warm) -> Measurement | Exception:
        try:
            return measuring.timed(one, ROUNDS, LEAST_BESIDE, lambda: run.wanted, alone=False)
        except (*FAILURES, Stopped) as exc:
            return exc

    with ThreadPoolExecutor(max(1, len(ready))) as threads:
        found |= zip(ready, threads.map(timed, ready.values()), strict=True)
    for name, one in warm.items():
        if isinstance(found[name], launch.ChildDied):
            pool.discard(one)
        else:
            pool.give(one)
    return found


def reason(exc: BaseException) -> str:
    """What a card says of a failure."""
    return plain(str(exc)) or type(exc).__name__


def plain(reason: str) -> str:
    """Without where a child's log stands: that is for who runs the server, not for its users."""
    return _LOG_PLACE.sub("", reason)
