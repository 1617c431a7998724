"""What machines of a fleet do in tests: quick, or slow enough to be killed. They run in workers.

Each leaves a mark in a folder (``DEPLOYBENCH_MARKS``), by which a test sees how far it is.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import on_host
from bench.on_host import Made, Order, Task
from bench.parcel import Fetch, Parcel
from bench.record import Answers, FileFacts, Measurement, Memory, Parity, Peaks

MARKS = "DEPLOYBENCH_MARKS"
SLOW_S = 30.0
"""Longer than a test waits before it kills the node."""


def mark(name: str, folder: Path | None = None) -> bool:
    """Leave a mark, which names the node's own process; whether it is the first of this name."""
    try:
        with ((folder or Path(os.environ[MARKS])) / name).open("x") as file:
            file.write(str(os.getppid()))
    except FileExistsError:
        return False
    return True


def marked(folder: Path, name: str, limit_s: float = 120.0) -> int:
    """Wait for a mark; returns the process of the node on which it was left."""
    end = time.monotonic() + limit_s
    while not (folder / name).exists() or not (text := (folder / name).read_text()):
        assert time.monotonic() < end, f"{name} was not seen in {limit_s:.0f} s"
        time.sleep(0.05)
    return int(text)


def measure(task: Task, fetch: Fetch) -> Measurement:
    """A made-up block, at once. No two are alike: one that is recorded twice must be seen."""
    del fetch
    case = task.case
    return Measurement(
        case,
        task.number,
        "ok",
        file=FileFacts(task.artifact.key, "0", "onnx", 1_000_000, 1, 1, 0, 1, 1.0, 0),
        latencies_ns=(1_000_000 + secrets.randbelow(100_000),) * 20,
        warmup_settled=True,
        memory=Memory(1, 2, 3),
        parity=Parity(0.0, 1.0, 1.0, 16, True) if task.number == 0 else None,
        block_s=0.1,
        machine=on_host.machine(),
        sampled=Answers((0,), (0,), (0,)) if task.question is not None else None,
    )


def slow_first_measure(task: Task, fetch: Fetch) -> Measurement:
    """The first block of all takes very long, and never comes."""
    if mark("measuring"):
        time.sleep(SLOW_S)
    return measure(task, fetch)


def endless_second_round(task: Task, fetch: Fetch) -> Measurement:
    """The second round never ends by itself; the process that measures it leaves its number."""
    if task.number == 1:
        (Path(os.environ[MARKS]) / "worker").write_text(str(os.getpid()))
        mark("measuring")
        time.sleep(3600)
    return measure(task, fetch)


def deadly_measure(task: Task, fetch: Fetch) -> Measurement:
    """One case kills whoever measures it."""
    if task.case.recipe == "int8-static":
        os._exit(1)
    return measure(task, fetch)


def slow_first_build(order: Order, store: str, fetch: Fetch) -> Made:
    """The first build never comes."""
    if mark("building"):
        time.sleep(SLOW_S)
    return on_host.build(order, store, fetch)


def waiting_build(order: Order, store: str, fetch: Fetch) -> Made:
    """The first build is not begun before a test has left a mark."""
    if mark("building"):
        marked(Path(os.environ[MARKS]), "joined")
    return on_host.build(order, store, fetch)


def full_take(name: str, sent: Parcel, pieces: Sequence[Any], store: str, fetch: Fetch) -> None:
    """Nobody has room for a folder."""
    raise OSError(errno.ENOSPC, "No space left on device", f"{store}/{name}")


def deadly_answer(measured: Measurement, task: Task, fetch: Fetch) -> tuple[Answers | None, str]:
    """One case kills whoever asks it."""
    if task.case.recipe == "int8-static":
        os._exit(1)
    return answer(measured, task, fetch)


def slow_first_take(
    name: str, sent: Parcel, pieces: Sequence[Any], store: str, fetch: Fetch
) -> None:
    """The first folder never arrives."""
    if mark("taking"):
        time.sleep(SLOW_S)
    on_host.take(name, sent, pieces, store, fetch)


def slow_first_answer(
    measured: Measurement, task: Task, fetch: Fetch
) -> tuple[Answers | None, str]:
    """The first answers never come."""
    if mark("answering"):
        time.sleep(SLOW_S)
    return answer(measured, task, fetch)


def answer(measured: Measurement, task: Task, fetch: Fetch) -> tuple[Answers | None, str]:
    """Always the first class."""
    del measured
    question = fetch(task.question)
    labels = question.images.labelled.labels
    return Answers((0,) * len(labels), tuple(int(label > 0) for label in labels)), ""


def peak(threads: int, store: str) -> tuple[Peaks, tuple[str, ...]]:
    """No figure."""
    del store
    return Peaks(threads, {}, 1e9), ()
