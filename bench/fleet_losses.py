"""What becomes of the work where a machine, or a process on it, is lost.

A machine that is gone, or can't go on, leaves its kind with the reason; what it had goes to the
others. A process that dies on a machine that lives is the doing of what it ran, until too many
have died there: its case is tried once more, and then fails with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.block import beside
from bench.fleet_board import Board
from bench.fleet_queue import MOST_LOST, Job
from bench.fleet_running import Running, record
from bench.kinds import Machine
from bench.record import Measurement

MOST_DIED = 6
"""Processes that may die on a machine one after another: three cases by themselves, or it is the
machine. The last one of its kind goes on all the same where a case is to blame."""
_ASKED = "accuracy: "


def give_up(one: Running, jobs: Sequence[Job], why: str, board: Board) -> None:
    """Blocks that no machine gets again become rows that say so; the first one shows why."""
    if not jobs:
        return
    first, _ = jobs[0]
    text = f"{MOST_LOST} processes or machines were lost while they measured it, the last: {why}"
    for number, case in jobs:
        own = text if number == first else f"given up in round {first + 1}: {text}"
        record(one, Measurement(case, number, "failed", own), None, board)


def lose(one: Running, machine: Machine, why: str, board: Board, blamed: bool) -> None:
    """What a machine that can't go on had goes to the others of its kind, or fails without one.

    ``blamed``: it was at its block, which may be the reason.
    """
    given_up = one.queue.lose(machine.node.id, blamed)
    one.leave_out(machine, why)
    give_up(one, given_up, why, board)
    if not one.kind.machines:
        fail_rest(one, f"the last one: {why}", board)


def fail_rest(one: Running, why: str, board: Board) -> None:
    """What nobody is left to measure or answer becomes rows that say so."""
    text = f"no machine of {one.kind.name} is left: {why}"
    for number, case in one.queue.rest():
        record(one, Measurement(case, number, "failed", text), None, board)
    with one.lock:
        blocks, one.to_answer = one.to_answer, []
        for block in blocks:
            _leave_unanswered(one, block, text)


def lose_answers(one: Running, block: Measurement, why: str, blamed: bool) -> None:
    """The answers that were awaited never come: the case is asked again, unless it is to blame.

    What was timed is kept in any case.
    """
    with one.lock:
        one.answering -= 1
        if blamed:
            one.lost_asking[block.case] = one.lost_asking.get(block.case, 0) + 1
        if one.lost_asking.get(block.case, 0) < MOST_LOST:
            one.to_answer.insert(0, block)
            return
        text = f"{MOST_LOST} processes or machines were lost while they asked it, the last: {why}"
        _leave_unanswered(one, block, text)


def _leave_unanswered(one: Running, block: Measurement, why: str) -> None:
    one.recorder.append(beside(unasked(block), _ASKED + why))
    one.unanswered.add(block.case)


def unasked(block: Measurement) -> Measurement:
    """A block that is asked (again), without the reason why an earlier try has failed."""
    before, _, _ = f"; {block.reason}".partition(f"; {_ASKED}")
    return replace(block, reason=before.removeprefix("; "))
