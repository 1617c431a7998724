"""What a person sees while a fleet measures: a line a machine, rows as they finish."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench.kinds import Machine
from bench.record import Measurement
from bench.stats import percentile
from bench.text import minutes

_MOST_LINES = 24
"""Machines with a line of their own; of a larger fleet the kinds must do."""


class Board:
    """Shows one fleet's run; every thread may say something."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:.0f} of {task.fields[shown]}"),
            TextColumn("{task.fields[state]}", markup=False),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            refresh_per_second=1,
        )
        self._lock = threading.Lock()
        self._kinds: dict[str, TaskID] = {}
        self._machines: dict[str, TaskID] = {}
        self._begun: dict[str, tuple[float, int]] = {}
        self._left: dict[str, int] = {}

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, markup=False)

    def planned(self, kind: str, blocks: int, machines: Sequence[Machine]) -> None:
        """A kind has so many blocks to measure."""
        self.say(f"{kind}: {blocks} block{'' if blocks == 1 else 's'} to measure")
        with self._lock:
            self._kinds[kind] = self._added(kind, blocks, str(blocks))
            self._begun[kind] = (time.monotonic(), blocks)
            self._left[kind] = blocks
            # How many of them each will measure nobody knows: their bars add up to the kind's.
            of_kind = f"its kind's {blocks}" if len(machines) > 1 else str(blocks)
            for machine in machines:
                if len(self._machines) < _MOST_LINES:
                    task = self._added(f"  {machine.shown}", blocks, of_kind, "waiting")
                    self._machines[machine.node.id] = task

    def _added(self, name: str, blocks: int, shown: str, state: str = "") -> TaskID:
        """A bar that is full after so many blocks, which the line calls ``shown``."""
        return self._bar.add_task(name, total=max(1, blocks), state=state, shown=shown)

    def doing(self, machine: Machine, text: str) -> None:
        """What a machine begins."""
        with self._lock:
            if machine.node.id in self._machines:
                self._bar.update(self._machines[machine.node.id], state=text)

    def measured(self, kind: str, machine: Machine | None, block: Measurement, last: bool) -> None:
        """One block is recorded; ``last``: of its case."""
        with self._lock:
            self._left[kind] -= 1
            self._bar.update(self._kinds[kind], advance=1, state=self._time_left(kind))
            if machine is not None and machine.node.id in self._machines:
                self._bar.update(self._machines[machine.node.id], advance=1)
        if last:
            self.say(f"{kind}  {block.case}  {_figure(block)}")

    def _time_left(self, kind: str) -> str:
        begun, whole = self._begun[kind]
        done = whole - self._left[kind]
        per_block = (time.monotonic() - begun) / max(1, done)
        return f"about {minutes(per_block * self._left[kind])} left"

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()


def _figure(block: Measurement) -> str:
    """A block in a few words; the tables say more."""
    if block.status != "ok":
        return f"{block.status}: {block.reason}"
    if not block.latencies_ns:
        return "ok"
    return f"p50 {percentile(block.latencies_ns, 0.5) / 1e6:.3g} ms"
