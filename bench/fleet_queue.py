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
"""Machines, or processes on them, that may be lost with one block: it may be what kills them."""


@dataclass
class _Held:
    """What one machine has taken: the rest of a unit, and the block that it measures now."""

    unit: deque[Job] = field(default_factory=deque)
    now: Job | None = None


class Queue:
    """Safe for one thread a machine. Every block is handed out once, or again if it was lost.

    A unit that nobody has begun is anybody's: a slow machine keeps only what it is at.
    """

    def __init__(self, jobs: Sequence[Job], machines: int = 1) -> None:
        self._lock = threading.Lock()
        self._units = _units(jobs, machines)
        self._held: dict[str, _Held] = {}
        self._lost: dict[Job, int] = {}
        self._deadly: set[Case] = set()
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

    def retry(self, machine: str, blamed: bool = True) -> tuple[Job, ...]:
        """A machine could not measure the block that it had taken, but goes on with what it held.

        ``blamed``: the block may be the reason. Returns what is given up: where as many machines
        or processes as may be were lost with a block, that one and all others of its case that
        nobody is at. They are not handed out again.
        """
        with self._lock:
            return self._put_back(self._held.setdefault(machine, _Held()), blamed)

    def lose(self, machine: str, blamed: bool = True) -> tuple[Job, ...]:
        """A machine is gone: what it held goes to others of its kind. Returns as ``retry`` does."""
        with self._lock:
            held = self._held.setdefault(machine, _Held())
            given_up = self._put_back(held, blamed)
            del self._held[machine]
            if held.unit:
                self._units.appendleft(held.unit)
            return given_up

    def _put_back(self, held: _Held, blamed: bool) -> tuple[Job, ...]:
        job, held.now = held.now, None
        if job is None:
            return ()
        held.unit.appendleft(job)
        if blamed:
            self._lost[job] = self._lost.get(job, 0) + 1
        if self._lost.get(job, 0) >= MOST_LOST:
            self._deadly.add(job[1])
        return self._given_up(job) if job[1] in self._deadly else ()

    def _given_up(self, job: Job) -> tuple[Job, ...]:
        """Take out all that is left of a case; ``job``, which showed what it does, comes first."""
        units = [*self._units, *(held.unit for held in self._held.values())]
        others = [one for unit in units for one in unit if one[1] == job[1] and one != job]
        for unit in units:
            kept = [one for one in unit if one[1] != job[1]]
            unit.clear()
            unit.extend(kept)
        self._units = deque(unit for unit in self._units if unit)
        self.left -= 1 + len(others)
        return job, *others

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
