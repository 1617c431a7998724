"""What the machines of a fleet measure and answer.

A thread for each machine takes from the queue of its kind; a machine that is lost gives back what
it had. Nothing here plans, builds or writes tables: ``bench.fleet`` does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from bench import blocks, fleet_losses
from bench.block import beside
from bench.case import Case, crossover
from bench.cluster import Cluster, HostLost, HostTrouble, ProcessDied, Reserved, fetch
from bench.fleet_board import Board
from bench.fleet_build import said_store
from bench.fleet_queue import Job, Queue
from bench.fleet_running import Running, keep_peaks, record, task_of
from bench.kinds import Machine
from bench.record import Measurement, current_blocks

_PAUSE_S = 0.2
_POLL_S = 0.5
"""How often the main thread looks whether somebody wants to stop."""
_LOOK_S = 5.0
"""How often it looks whether the cluster has changed."""


# --- what is left


def hand_out(one: Running, board: Board) -> None:
    """Make the queue of what a kind does not have yet."""
    usual = list(crossover(tuple(one.sources), one.options.blocks, one.options.seed))
    left = blocks.left(usual, one.recorder.measurements, one.sources)
    one.open_rounds = _counts(left)
    board.planned(one.kind.name, len(left), one.kind.machines)
    for number, case in left:
        if one.sources[case].artifact is None:
            record(one, blocks.without_file(number, case, one.sources[case]), None, board)
    there = [job for job in left if one.sources[job[1]].artifact is not None]
    one.queue = Queue(there, len(one.kind.machines))
    # An earlier start may have been ended before its answers came.
    for case, own in current_blocks(one.recorder.measurements).items():
        source = one.sources.get(case)
        if source and blocks.unanswered(own[0], source) and own[0].answers is None:
            one.to_answer.append(own[0])
    one.recorder.forget()
    if not one.kind.machines:
        last = list(one.lost.values())[-1:]
        why = ": ".join(["all were lost before anything was measured", *last])
        fleet_losses.fail_rest(one, why, board)


def _counts(jobs: Iterable[Job]) -> dict[Case, int]:
    counts: dict[Case, int] = {}
    for _, case in jobs:
        counts[case] = counts.get(case, 0) + 1
    return counts


# --- machines at work


def measure_all(
    cluster: Cluster,
    running: Sequence[Running],
    board: Board,
    stop: threading.Event,
    look: Callable[[], None] = lambda: None,
) -> None:
    """A thread for each machine; a slow one holds nobody up. Raises what one of them raised.

    ``look`` is called from time to time, to say how the cluster has changed.
    """
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
            _wait(futures, look)
        except BaseException:
            stop.set()
            cluster.abandon()
            raise


def _wait(futures: set[Future[None]], look: Callable[[], None]) -> None:
    looked = time.monotonic()
    while futures:
        done, futures = wait(futures, _POLL_S, FIRST_EXCEPTION)
        for future in done:
            future.result()
        if time.monotonic() - looked >= _LOOK_S:
            look()
            looked = time.monotonic()


@dataclass
class _Site:
    """One machine at work, in a thread of the driver's; ``turn`` is held while it measures.

    ``busy``: it is at a block, or at a case's answers, and whatever happens may be their doing.
    ``died`` processes on it, one after another, while nothing was measured or answered.
    """

    cluster: Cluster
    one: Running
    machine: Machine
    turn: threading.Lock
    board: Board
    stop: threading.Event
    busy: bool = False
    died: int = 0

    def work(self) -> None:
        """All that the machine measures and answers, until nothing is left or it is lost."""
        try:
            while not self.stop.is_set() and not self.one.settled():
                self._go_on()
                # Another machine may be lost, and what it has come back.
                self.stop.wait(_PAUSE_S)
            self.board.doing(self.machine, "done")
        except HostLost as exc:
            if self.stop.is_set():
                return
            self.board.doing(self.machine, "lost")
            self.board.say(f"{self.one.kind.name}: {self.machine.shown} is lost: {exc}")
            blamed = self.busy and not isinstance(exc, HostTrouble)
            fleet_losses.lose(self.one, self.machine, str(exc), self.board, blamed)

    def _go_on(self) -> None:
        """Measure and answer. A process that dies is replaced where its machine lives on."""
        self.busy = False
        try:
            self._measure()
            self._answer()
        except ProcessDied as exc:
            if self.stop.is_set():
                raise
            if not self.cluster.answers(self.machine.node):
                raise HostLost(f"its node is gone: {exc}") from exc
            self._replace_process(exc)

    def _replace_process(self, exc: ProcessDied) -> None:
        """Blame the block that it was at, unless too many have died here: then the machine."""
        blamed, self.busy = self.busy, False
        given_up = self.one.queue.retry(self.machine.node.id, blamed)
        fleet_losses.give_up(self.one, given_up, str(exc), self.board)
        self.died += 1
        alone = len(self.one.kind.machines) == 1
        if self.died >= fleet_losses.MOST_DIED and not (blamed and alone):
            text = f"{self.died} processes died on it one after another, the last: {exc}"
            raise HostLost(text) from exc
        name = f"{self.one.kind.name}: {self.machine.shown}"
        self.board.say(f"{name} lives, but a process on it died: {exc}; it goes on with another")

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
            task = task_of(self.one, case, number)
            self.busy = True
            block = reserved.call(self.one.work.measure, task, fetch).get()
            self.busy = False
        record(self.one, block, self.machine, self.board)
        self.one.queue.done(self.machine.node.id)
        self.died = 0

    def _measure_peaks(self, reserved: Reserved) -> None:
        """What the machine reaches, with each number of threads that its rows have."""
        one = self.one
        threads = sorted({case.threads for case in one.sources if case.threads <= one.kind.cores})
        store = said_store(one.options)
        with self.turn:
            found = [reserved.call(one.work.peak, n, store).get() for n in threads]
        keep_peaks(one, found, self.board)

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
            except HostLost as exc:
                blamed = not (self.stop.is_set() or isinstance(exc, HostTrouble))
                fleet_losses.lose_answers(self.one, block, str(exc), blamed)
                raise
            with self.one.lock:
                self.one.recorder.append(done)
                self.one.told.add(done)
                self.one.answering -= 1
            self.died = 0

    def _answered(self, block: Measurement) -> Measurement:
        """The block with what a child of its case says, or why it says nothing."""
        self.board.doing(self.machine, f"accuracy: {block.case}")
        task = task_of(self.one, block.case, block.round)
        cores = min(block.case.threads, self.machine.node.cpus)
        with self.turn:
            reply = self.cluster.on(
                self.machine.node, cores, self.one.work.answer, block, task, fetch
            )
            self.busy = True
            answers, reason = reply.get()
            self.busy = False
        done = replace(fleet_losses.unasked(block), answers=answers)
        return beside(done, reason) if reason else done
