"""A cluster that does at once what it is asked, where it is asked, and a kind that runs on it.

What machines run is a test's own function, which learns from ``MadeUp.here`` where it runs and
raises what ``bench.cluster`` would raise for it.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from bench import blocks, fleet_measure
from bench.case import Case
from bench.files import Source
from bench.fleet_board import Board
from bench.fleet_running import Running, Work
from bench.kinds import Kind, Machine, Node
from bench.labelled import Question
from bench.on_host import Task
from bench.options import Options
from bench.parcel import Fetch
from bench.record import (
    Answers,
    FileFacts,
    Fleet,
    Measurement,
    Memory,
    Parity,
    Peaks,
    Recorder,
)
from tests.bench.made_up import fake_artifact, header


class Later:
    """A reply whose function runs when somebody waits for it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.reference = self
        self.get = call


class MadeUp:
    """Nodes that answer, but for those that are ``gone``."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.here = threading.local()
        self.abandoned = False

    def answers(self, node: Node) -> bool:
        """Whether it is still there."""
        return node.id not in self.gone

    def on(self, node: Node, cpus: int, function: Callable[..., Any], *arguments: Any) -> Later:
        """A function on a node."""
        del cpus

        def call() -> Any:
            self.here.node = node
            return function(*arguments)

        return Later(call)

    def reserve(self, node: Node) -> _Reserved:
        """A node, whole."""
        return _Reserved(self, node)

    def abandon(self) -> None:
        """Nothing runs that could be ended."""
        self.abandoned = True


class _Reserved:
    def __init__(self, cluster: MadeUp, node: Node) -> None:
        self._cluster = cluster
        self._node = node

    def call(self, function: Callable[..., Any], *arguments: Any) -> Later:
        return self._cluster.on(self._node, 0, function, *arguments)

    def free(self) -> None:
        return None


def measure(task: Task, fetch: Fetch) -> Measurement:
    """A block that went well, whose case may be asked about labelled images."""
    del fetch
    return Measurement(
        task.case,
        task.number,
        "ok",
        file=FileFacts(task.artifact.key, "0", "onnx", 1, 1, 1, 0, 1, 1.0, 0),
        latencies_ns=(1_000_000,) * 40,
        warmup_settled=True,
        memory=Memory(1, 2, 3),
        parity=Parity(0.0, 1.0, 1.0, 16, True) if task.number == 0 else None,
        sampled=Answers((0,), (0,), (0,)),
    )


def answer(measured: Measurement, task: Task, fetch: Fetch) -> tuple[Answers | None, str]:
    """One image, and it is right."""
    del measured, task, fetch
    return Answers((0,), (0,)), ""


def peak(threads: int, store: str) -> tuple[Peaks, tuple[str, ...]]:
    """No figure."""
    del store
    return Peaks(threads, {}, 1e9), ()


WORK = Work(measure, answer, peak)


def running(
    folder: Path,
    cases: Sequence[Case],
    machines: Sequence[Machine],
    stack: ExitStack,
    work: Work = WORK,
    asked: bool = False,
    rounds: int = 3,
) -> Running:
    """The run of one kind, "small", whose files are all there. ``asked``: about labelled images."""
    names = tuple(machine.own.machine for machine in machines)
    head = header(fleet=Fleet("f", "small", names))
    recorder = stack.enter_context(Recorder.open(folder, head))
    options = Options(threads=(1,), blocks=rounds, out=folder, store=folder / "store")
    about = Question(cast(Any, None), cast(Any, None), (), True, folder) if asked else None
    sources = {
        case: Source(replace(fake_artifact(folder), key=str(case)), question=about)
        for case in cases
    }
    kind = Kind("small", tuple(machines))
    effort = blocks.effort_of(options)
    return Running(kind, options, tuple(cases), recorder, effort, sources, work=work)


def measured(cluster: MadeUp, one: Running, **more: Any) -> str:
    """Measure all of it; returns what was said."""
    said = io.StringIO()
    board = Board(Console(file=said, width=400))
    fleet_measure.hand_out(one, board)
    fleet_measure.measure_all(cast(Any, cluster), [one], board, threading.Event(), **more)
    return said.getvalue()
