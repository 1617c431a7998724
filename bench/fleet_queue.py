"""What is left to measure on one kind of machine, and which machine of it gets what.

The blocks of one table in one round go to one machine: their ratios are paired, and a pair of two
machines would compare the machines. Different rounds may be measured on different machines, so
that a row's interval covers what another machine of its kind would change.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.case import Case
from bench.rows import family_of

Job = tuple[int, Case]
"""Round and case."""
MOST_LOST = 2
"""Machines that may be lost while they measure one block: it may be what kills them."""


@dataclass
class _Held:
    """What one machine has taken: the rest of a unit, and the block that it measures now."""

    unit: deque[Job] = field(default_factory=deque)
    now: Job | None = None


class Queue:
    """Safe for one thread a machine. Every block is handed out once, or again if it was lost."""

    def __init__(self, jobs: Sequence[Job], machines: int = 1) -> None:
        self._lock = threading.Lock()
        self._units = _units(jobs, machines)
        self._held: dict[str, _Held] = {}
        self._lost: dict[Job, int] = {}
        self.left = len(jobs)

    def take(self, machine: str) -> Job | None:
        """The next block for a machine; ``None``: there is none left to hand out."""
        with self._lock:
            held = self._held.setdefault(machine, _Held())
            if not held.unit:
                if not self._units:
                    return None
                held.unit = self._units.popleft()
            held.now = held.unit.popleft()
            return held.now

    def settled(self) -> bool:
        """Whether every block is recorded, and nobody can lose one any more."""
        with self._lock:
            return self.left == 0

    def done(self, machine: str) -> None:
        """The block that a machine had taken is recorded."""
        with self._lock:
            self._held[machine].now = None
            self.left -= 1

    def lose(self, machine: str) -> Job | None:
        """A machine is gone: what it held goes to others of its kind.

        Returns the block that it measured if it is given up, because as many as may be were lost
        with it; that one is not handed out again.
        """
        with self._lock:
            held = self._held.pop(machine, _Held())
            given_up = None
            if held.now is not None:
                self._lost[held.now] = self._lost.get(held.now, 0) + 1
                if self._lost[held.now] < MOST_LOST:
                    held.unit.appendleft(held.now)
                else:
                    given_up = held.now
                    self.left -= 1
            if held.unit:
                self._units.appendleft(held.unit)
            return given_up

    def rest(self) -> tuple[Job, ...]:
        """What nobody can take any more, because no machine is left; it is taken out."""
        with self._lock:
            rest = tuple(job for unit in self._units for job in unit)
            self._units.clear()
            self.left -= len(rest)
            return rest


def _units(jobs: Sequence[Job], machines: int) -> deque[deque[Job]]:
    """Jobs that one machine measures in a row, in the order in which their first ones stand.

    Whole rounds where that gives every machine one, as ``bench.run`` would measure them.
    """
    rounds = len({number for number, _ in jobs})
    units: dict[tuple[object, ...], deque[Job]] = {}
    for number, case in jobs:
        table = () if machines <= rounds else (family_of(case), case.weights)
        units.setdefault((number, *table), deque()).append((number, case))
    return deque(units.values())
