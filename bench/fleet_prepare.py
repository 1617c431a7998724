"""The resized images of a fleet's run, which every machine has ready before it measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench import on_host
from bench.cluster import Cluster, HostLost, ProcessDied, Reply, fetch
from bench.fleet_queue import MOST_LOST
from bench.kinds import Machine
from bench.labelled import Question
from bench.on_host import Sent

LeaveOut = Callable[[Machine, str], None]


def prepare(
    cluster: Cluster,
    machines: Sequence[Machine],
    questions: Sequence[Question],
    data: Sent,
    store: str,
    leave_out: LeaveOut,
) -> None:
    """Have the images resized once in every store, by one of the machines that see it.

    A machine that is gone or can't do it is left out, and another one of the same store is asked.
    So is one whose process dies, which is tried ``MOST_LOST`` times on each.
    """
    waiting: dict[str, list[Machine]] = {}
    for machine in machines:
        waiting.setdefault(machine.own.store_id, []).append(machine)
    died: dict[str, int] = {}
    while waiting:
        asked: list[tuple[list[Machine], Reply[None]]] = [
            (
                own,
                cluster.on(own[0].node, 0, on_host.prepare, questions, data, store, fetch),
            )
            for own in waiting.values()
        ]
        waiting = {}
        for (first, *others), reply in asked:
            try:
                reply.get()
            except HostLost as exc:
                died[first.node.id] = died.get(first.node.id, 0) + 1
                if _may_try_again(exc, died[first.node.id], cluster, first):
                    others.append(first)
                else:
                    leave_out(first, f"resizing images: {exc}")
                if others:
                    waiting[first.own.store_id] = others


def _may_try_again(exc: HostLost, died: int, cluster: Cluster, machine: Machine) -> bool:
    return isinstance(exc, ProcessDied) and died < MOST_LOST and cluster.answers(machine.node)
