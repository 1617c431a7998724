"""What a person sees while a run goes on: a bar with the time left, rows as they finish."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from bench import plots, report_family, row_text
from bench.case import Case
from bench.files import Event
from bench.record import Measurement, Recorder
from bench.text import minutes
from export.printable import paragraph

_FIRST_GUESS_S = 4.0


class Progress:
    """Shows one run. Everything that is printed on the way passes through here."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[left]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            refresh_per_second=1,  # the cores belong to what is measured
        )
        self._task = self._bar.add_task("starting", total=None, left="")
        self._left: list[tuple[int, Case]] = []
        self._planned: tuple[Case, ...] = ()
        self._seconds: dict[Case, float] = {}
        self._more_s: list[float] = []
        self._shown: set[Case] = set()
        self._begun = time.monotonic()

    def say(self, text: str) -> None:
        """A line that is no row; whoever's words are in it, it moves no cursor."""
        self.console.print(paragraph(text), markup=False)

    def building(self, event: Event) -> None:
        """A file is being made, was made, or could not be."""
        if event.kind == "note":
            self.say(event.text)
        elif event.kind == "building" and event.wanted is not None:
            name = f"{event.wanted.variant}/{event.wanted.recipe}"
            self._bar.update(self._task, description=f"building {name} ({event.text})")
        elif event.kind == "failed" and event.wanted is not None:
            self.say(f"no file for {event.wanted.variant}/{event.wanted.recipe}: {event.text}")
        elif event.kind == "built" and not event.found and event.artifact is not None:
            size = f"{event.artifact.size_bytes / 1e6:.1f} MB"
            name = f"{event.artifact.variant}/{event.artifact.recipe}"
            self.say(f"built {name} ({event.artifact.format}): {size}")

    def planned(self, left: Sequence[tuple[int, Case]], why: str = "") -> None:
        """These blocks will be measured."""
        self._left = list(left)
        self._planned = tuple(dict.fromkeys(case for _, case in left))
        self._bar.update(self._task, total=max(1, len(left)), completed=0)
        count = f"{len(left)} block{'' if len(left) == 1 else 's'}"
        self.console.print(f"{count} to measure{why}", markup=False)

    def starting(self, number: int, case: Case) -> None:
        """One block begins."""
        self._begun = time.monotonic()
        left = f"about {minutes(self._estimate())} left"
        self._bar.update(self._task, description=f"round {number + 1}: {case}", left=left)

    def classifying(self, case: Case) -> None:
        """What was timed is now asked about all labelled images."""
        self._bar.update(self._task, description=f"accuracy: {case}")

    def measured(self, block: Measurement, measurements: Sequence[Measurement]) -> None:
        """One block ended; a case is shown as a row at its first block and at its last."""
        whole_s = time.monotonic() - self._begun
        self._seconds[block.case] = whole_s if block.block_s is None else block.block_s
        if block.round == 0:
            self._more_s.append(whole_s - self._seconds[block.case])
        self._left.remove((block.round, block.case))
        self._bar.advance(self._task)
        last = all(case != block.case for _, case in self._left)
        if last or block.case not in self._shown:
            line = row_text.row_line(block.case, measurements, self._planned)
            self.console.print(line if last else f"{line}  (so far)", markup=False)
        self._shown.add(block.case)

    def _estimate(self) -> float:
        """Seconds left: each case as long as its last block took, unknown ones as the mean.

        First blocks are followed by labelled images: as long as they were on the average.
        """
        known = self._seconds.values()
        mean = sum(known) / len(known) if known else _FIRST_GUESS_S
        more = sum(self._more_s) / len(self._more_s) if self._more_s else 0.0
        firsts = sum(number == 0 for number, _ in self._left)
        return sum(self._seconds.get(case, mean) for _, case in self._left) + firsts * more

    def stop(self) -> None:
        """Take the bar away, so that what follows stands alone."""
        self._bar.stop()

    def summary(self, recorder: Recorder, page: Path, interrupted: bool) -> None:
        """The tables, and where they were written."""
        shown = report_family.tables(recorder.header, recorder.measurements, compact=True)
        self.console.print(f"\n{shown}\n", markup=False)
        if disturbed := report_family.disturbed(recorder.header, recorder.measurements):
            self.console.print(disturbed, markup=False)
        self.console.print(f"all columns: {page}\nrecords: {page.parent / 'records'}", markup=False)
        if reason := plots.not_drawn():
            self.console.print(f"plots were not drawn: {reason}", markup=False)
        if interrupted:
            count = f"{len(recorder.measurements)} blocks are kept, {len(self._left)} are left"
            self.console.print(f"interrupted: {count}; the same command goes on from here")

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
