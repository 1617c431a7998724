"""A piece of work as a thread does it: one round of one model."""

from __future__ import annotations

from collections.abc import Callable

from bench import launch
from bench.dashboard import measuring
from bench.dashboard.measuring import Unusable
from bench.dashboard.models import Model
from bench.dashboard.pool import CannotLoad, NoRoom, Pool, Warm
from bench.dashboard.runs import Run
from bench.record import Measurement

FAILURES = (launch.ChildDied, CannotLoad, NoRoom, Unusable, OSError)
"""What can become of a model without anything being wrong with the page."""


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
