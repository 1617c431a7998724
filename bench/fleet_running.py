"""The run of one kind of machine while a fleet measures, and how it is written down at once.

Several threads share it: what they change is changed under its lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from bench import blocks, kinds, on_host, peaks
from bench.block import Effort
from bench.blocks import Told
from bench.case import Case
from bench.files import Source
from bench.fleet_board import Board
from bench.fleet_build import said_store
from bench.fleet_queue import Queue
from bench.header import without_paths
from bench.kinds import Kind, Machine
from bench.on_host import Task
from bench.options import Options
from bench.parcel import Fetch
from bench.record import Answers, Fleet, Measurement, Peaks, Recorder


@dataclass(frozen=True)
class Work:
    """The functions that machines are asked to run: those of ``bench.on_host``, or fakes."""

    measure: Callable[[Task, Fetch], Measurement]
    answer: Callable[[Measurement, Task, Fetch], tuple[Answers | None, str]]
    peak: Callable[[int, str], tuple[Peaks, tuple[str, ...]]]


def _real_work() -> Work:
    return Work(on_host.measure, on_host.answer, on_host.peak)


@dataclass
class Running:
    """The run of one kind: what is recorded, and what is left to do."""

    kind: Kind
    options: Options
    cases: tuple[Case, ...]
    """Those of the plan, and those that are measured a second time under another name."""
    recorder: Recorder
    effort: Effort
    sources: dict[Case, Source] = field(default_factory=dict)
    told: Told = field(default_factory=Told)
    queue: Queue = field(default_factory=lambda: Queue(()))
    to_answer: list[Measurement] = field(default_factory=list)
    """First blocks whose cases have not been asked about all labelled images."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    questions: dict[Case, object] = field(default_factory=dict)
    """References to what each case is asked."""
    open_rounds: dict[Case, int] = field(default_factory=dict)
    peaks: dict[int, Peaks] = field(default_factory=dict)
    """By threads, the largest of all its machines so far."""
    work: Work = field(default_factory=_real_work)
    answering: int = 0
    """Cases whose answers are awaited."""
    lost: dict[str, str] = field(default_factory=dict)
    """Machines of the kind that could not go on, as a record names them -> why."""
    lost_asking: dict[Case, int] = field(default_factory=dict)
    """Machines or processes that were lost while a case was asked about labelled images."""
    unanswered: set[Case] = field(default_factory=set)
    """Cases that were given up being asked."""

    def settled(self) -> bool:
        """Whether nothing is left, nor can come back from a machine that is lost."""
        with self.lock:
            return self.queue.settled() and not self.to_answer and not self.answering

    def leave_out(self, machine: Machine, why: str) -> None:
        """A machine of the kind can't go on; the record says so in the end (``write_header``)."""
        with self.lock:
            self.kind = kinds.without(self.kind, machine.node.id)
            self.lost[machine.own.machine] = without_paths(why, self.options)

    def take_in(self, machine: Machine) -> None:
        """A machine of the kind that has joined late; the record names it at once."""
        with self.lock:
            self.kind = replace(self.kind, machines=(*self.kind.machines, machine))
            fleet = self.recorder.header.fleet
            name = machine.own.machine
            if fleet and (name not in fleet.machines or name in fleet.lost):
                machines = tuple(dict.fromkeys((*fleet.machines, name)))
                # An earlier start may have lost it.
                lost = {own: why for own, why in fleet.lost.items() if own != name}
                fleet = replace(fleet, machines=machines, lost=lost)
                self.recorder.amend(replace(self.recorder.header, fleet=fleet))


def task_of(one: Running, case: Case, number: int) -> Task:
    """What a machine is sent to measure or answer a case."""
    source = one.sources[case]
    assert source.artifact is not None
    with one.lock:
        effort = blocks.asked_of(source, case, one.effort, one.told)
    store = said_store(one.options)
    bare = replace(effort, question=None)
    return Task(case, number, source.artifact, bare, one.options, store, one.questions.get(case))


# --- what is written down


def record(one: Running, block: Measurement, machine: Machine | None, board: Board) -> None:
    """Write one block down at once, and note what it leaves to be asked."""
    source = one.sources[block.case]
    with one.lock:
        block = blocks.with_known(block, source, one.told)
        one.recorder.append(block)
        one.told.add(block)
        if blocks.unanswered(block, source) and block.answers is None:
            one.to_answer.append(block)
        one.open_rounds[block.case] -= 1
        last = one.open_rounds[block.case] == 0
    board.measured(one.kind.name, machine, block, last)


def keep_peaks(one: Running, found: Iterable[tuple[Peaks, Sequence[str]]], board: Board) -> None:
    """Keep the larger of each figure of the kind.

    The first ones are written down at once, what raises them at the end: a header is changed by
    writing the whole file again, which a thousand machines must not do twice each.
    """
    with one.lock:
        known = {row.threads: row for row in one.recorder.header.peaks}
        for row, said in found:
            for text in said:
                board.say(f"{one.kind.name}: {text}")
            best = one.peaks.get(row.threads) or known.get(row.threads)
            one.peaks[row.threads] = peaks.larger(best, row) if best else row
        if not one.peaks.keys() <= known.keys():
            write_header(one)


def write_header(one: Running) -> None:
    """Peaks and lost machines into the record: a header is changed by writing it again."""
    known = {row.threads: row for row in one.recorder.header.peaks}
    found = tuple({**known, **one.peaks}.values())
    head = replace(one.recorder.header, peaks=found, fleet=_with_lost(one))
    if head != one.recorder.header:
        one.recorder.amend(head)


def _with_lost(one: Running) -> Fleet | None:
    fleet = one.recorder.header.fleet
    return fleet and replace(fleet, lost={**fleet.lost, **one.lost})
