"""What the machines of a fleet measure and answer, and how it is written down at once.

A thread for each machine takes from the queue of its kind; a machine that is lost gives back what
it had. Nothing here plans, builds or writes tables: ``bench.fleet`` does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

from bench import blocks, kinds, on_host, peaks
from bench.block import Effort, beside
from bench.blocks import Told
from bench.case import Case, crossover
from bench.cluster import Cluster, HostLost, Reserved, fetch
from bench.files import Source
from bench.fleet_board import Board
from bench.fleet_build import said_store
from bench.fleet_queue import MOST_LOST, Job, Queue
from bench.kinds import Kind, Machine
from bench.on_host import Task
from bench.options import Options
from bench.parcel import Fetch
from bench.record import Answers, Measurement, Peaks, Recorder, current_blocks

_PAUSE_S = 0.2
_POLL_S = 0.5
"""How often the main thread looks whether somebody wants to stop."""


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

    def settled(self) -> bool:
        """Whether nothing is left, nor can come back from a machine that is lost."""
        with self.lock:
            return self.queue.settled() and not self.to_answer and not self.answering


# --- what is left


def hand_out(one: Running, board: Board) -> None:
    """Make the queue of what a kind does not have yet."""
    usual = list(crossover(tuple(one.sources), one.options.blocks, one.options.seed))
    left = blocks.left(usual, one.recorder.measurements, one.sources)
    one.open_rounds = _counts(left)
    board.planned(one.kind.name, len(left), one.kind.machines)
    for number, case in left:
        if one.sources[case].artifact is None:
            _record(one, blocks.without_file(number, case, one.sources[case]), None, board)
    there = [job for job in left if one.sources[job[1]].artifact is not None]
    one.queue = Queue(there, len(one.kind.machines))
    # An earlier start may have been ended before its answers came.
    for case, own in current_blocks(one.recorder.measurements).items():
        source = one.sources.get(case)
        if source and blocks.unanswered(own[0], source) and own[0].answers is None:
            one.to_answer.append(own[0])
    one.recorder.forget()
    if not one.kind.machines:
        _fail_rest(one, "all were lost before anything was measured", board)


def _counts(jobs: Iterable[Job]) -> dict[Case, int]:
    counts: dict[Case, int] = {}
    for _, case in jobs:
        counts[case] = counts.get(case, 0) + 1
    return counts


# --- machines at work


def measure_all(
    cluster: Cluster, running: Sequence[Running], board: Board, stop: threading.Event
) -> None:
    """A thread for each machine; a slow one holds nobody up. Raises what one of them raised."""
    pairs = [(one, machine) for one in running for machine in one.kind.machines]
    # Several nodes may be one machine, which measures one thing at a time all the same.
    turns = {machine.own.machine: threading.Lock() for _, machine in pairs}
    sites = [
        _Site(cluster, one, machine, turns[machine.own.machine], board, stop)
        for one, machine in pairs
    ]
    with ThreadPoolExecutor(max(1, len(sites))) as pool:
        futures: set[Future[None]] = {pool.submit(site.work) for site in sites}
        try:
            while futures:
                done, futures = wait(futures, _POLL_S, FIRST_EXCEPTION)
                for future in done:
                    future.result()
        except BaseException:
            stop.set()
            cluster.abandon()
            raise


@dataclass(frozen=True)
class _Site:
    """One machine at work, in a thread of the driver's; ``turn`` is held while it measures."""

    cluster: Cluster
    one: Running
    machine: Machine
    turn: threading.Lock
    board: Board
    stop: threading.Event

    def work(self) -> None:
        """All that the machine measures and answers, until nothing is left or it is lost."""
        try:
            while not self.stop.is_set() and not self.one.settled():
                self._measure()
                self._answer()
                # Another machine may be lost, and what it has come back.
                self.stop.wait(_PAUSE_S)
            self.board.doing(self.machine, "done")
        except HostLost as exc:
            if self.stop.is_set():
                return
            self.board.doing(self.machine, "lost")
            self.board.say(f"{self.one.kind.name}: {self.machine.shown} is lost: {exc}")
            _give_back(self.one, self.machine, str(exc), self.board)

    def _measure(self) -> None:
        """Blocks, one after the other, while nobody else uses the machine."""
        job = self.one.queue.take(self.machine.node.id)
        if job is None:
            return
        self.board.doing(self.machine, "waiting for all of its cores")
        reserved = self.cluster.reserve(self.machine.node)
        try:
            self._measure_peaks(reserved)
            while job is not None and not self.stop.is_set():
                self._measure_block(reserved, job)
                job = self.one.queue.take(self.machine.node.id)
            # One disturbed moment before the run would make every share of the attainable too high.
            if not self.stop.is_set():
                self._measure_peaks(reserved)
        finally:
            reserved.free()

    def _measure_block(self, reserved: Reserved, job: Job) -> None:
        number, case = job
        with self.turn:
            self.board.doing(self.machine, f"round {number + 1}: {case}")
            task = _task(self.one, case, number)
            block = reserved.call(self.one.work.measure, task, fetch).get()
        _record(self.one, block, self.machine, self.board)
        self.one.queue.done(self.machine.node.id)

    def _measure_peaks(self, reserved: Reserved) -> None:
        """What the machine reaches, with each number of threads that its rows have."""
        one = self.one
        threads = sorted({case.threads for case in one.sources if case.threads <= one.kind.cores})
        store = said_store(one.options)
        with self.turn:
            found = [reserved.call(one.work.peak, n, store).get() for n in threads]
        _keep_peaks(one, found, self.board)

    def _answer(self) -> None:
        """Ask children about all labelled images: as ordinary tasks, on cores that are free."""
        while not self.stop.is_set():
            with self.one.lock:
                if not self.one.to_answer:
                    return
                block = self.one.to_answer.pop(0)
                self.one.answering += 1
            try:
                done = self._answered(block)
            except HostLost:
                with self.one.lock:
                    self.one.to_answer.insert(0, block)
                    self.one.answering -= 1
                raise
            with self.one.lock:
                self.one.recorder.append(done)
                self.one.told.add(done)
                self.one.answering -= 1

    def _answered(self, block: Measurement) -> Measurement:
        """The block with what a child of its case says, or why it says nothing."""
        self.board.doing(self.machine, f"accuracy: {block.case}")
        task = _task(self.one, block.case, block.round)
        cores = min(block.case.threads, self.machine.node.cpus)
        with self.turn:
            reply = self.cluster.on(
                self.machine.node, cores, self.one.work.answer, block, task, fetch
            )
            answers, reason = reply.get()
        done = replace(block, answers=answers)
        return beside(done, reason) if reason else done


def _task(one: Running, case: Case, number: int) -> Task:
    source = one.sources[case]
    assert source.artifact is not None
    with one.lock:
        effort = blocks.asked_of(source, case, one.effort, one.told)
    store = said_store(one.options)
    bare = replace(effort, question=None)
    return Task(case, number, source.artifact, bare, one.options, store, one.questions.get(case))


def _record(one: Running, block: Measurement, machine: Machine | None, board: Board) -> None:
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


def _keep_peaks(one: Running, found: Iterable[tuple[Peaks, Sequence[str]]], board: Board) -> None:
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
            write_peaks(one)


def write_peaks(one: Running) -> None:
    """The peaks into the record: a header is changed by writing it again."""
    known = {row.threads: row for row in one.recorder.header.peaks}
    found = tuple({**known, **one.peaks}.values())
    if found != one.recorder.header.peaks:
        one.recorder.amend(replace(one.recorder.header, peaks=found))


def _give_back(one: Running, machine: Machine, why: str, board: Board) -> None:
    """What a lost machine had goes to the others of its kind, or fails where there are none."""
    given_up = one.queue.lose(machine.node.id)
    with one.lock:
        one.kind = kinds.without(one.kind, machine.node.id)
    if given_up is not None:
        number, case = given_up
        text = f"{MOST_LOST} machines were lost while they measured it, the last: {why}"
        _record(one, Measurement(case, number, "failed", text), None, board)
    if one.kind.machines:
        return
    _fail_rest(one, f"the last one: {why}", board)


def _fail_rest(one: Running, why: str, board: Board) -> None:
    """What nobody is left to measure becomes rows that say so."""
    for number, case in one.queue.rest():
        text = f"no machine of {one.kind.name} is left: {why}"
        _record(one, Measurement(case, number, "failed", text), None, board)
